import { setTimeout as pause } from 'node:timers/promises';
import { type Clock, systemClock } from '../domain/clock.js';

/** What setTimeout can count; more would fire at once. */
export const TIMER_MAX_MS = 2_147_483_647;

/** A process that waits for a job, or between two tries, must not end for that: unlike systemClock's, these sleeps keep it alive. */
export const sdkClock: Clock = {
  ...systemClock,
  sleep: (ms, signal) => pause(Math.min(ms, TIMER_MAX_MS), undefined, { signal }).catch(() => undefined),
};
