import { type Clock, sleepOn, systemClock } from '../domain/clock.js';

/** A process that waits for a job, or between two tries, must not end for that: unlike systemClock's, these sleeps keep it alive. */
export const sdkClock: Clock = {
  ...systemClock,
  sleep: (ms, signal) => sleepOn(ms, signal, true),
};
