import type { Duration } from '../grpc/generated/google/protobuf/duration.js';

/** What a Duration can hold: 10,000 years. */
const MAX_MS = 315_576_000_000_000;

/** A google.protobuf.Duration of so many ms; fractions count to the nanosecond. Infinity is the longest that there is. Throws RangeError for NaN. */
export function toDuration(wanted: number): Duration {
  const ms = Math.min(Math.max(checkMs(wanted, 'a duration'), -MAX_MS), MAX_MS);
  const seconds = Math.trunc(ms / 1000);
  return { seconds: String(seconds), nanos: Math.round((ms - seconds * 1000) * 1_000_000) };
}

/** A Duration in ms; undefined stays undefined. */
export function fromDuration(duration: Duration | undefined): number | undefined {
  return duration === undefined ? undefined : Number(duration.seconds) * 1000 + duration.nanos / 1_000_000;
}

/** Throws RangeError for what is not a number of ms; Infinity is one. */
export function checkMs(ms: number, name: string): number {
  if (typeof ms !== 'number' || Number.isNaN(ms)) throw new RangeError(`${name} must be a number of ms, and is ${String(ms)}`);
  return ms;
}
