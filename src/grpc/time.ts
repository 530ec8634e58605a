import { invalid } from '../domain/errors.js';
import type { Duration } from './generated/google/protobuf/duration.js';

/** The longest duration, and the farthest time ahead, that a caller may name: 366 days. */
export const MAX_DURATION_MS = 366 * 86_400_000;
/** The end of year 9999, where google.protobuf.Timestamp ends. */
const MAX_TIME_MS = 253_402_300_799_999;
const NANOS_A_MS = 1_000_000;

/**
 * A caller's duration in whole ms, rounded up so that a short one does not become "none"; undefined when unset.
 * Refuses what is malformed, negative, above 366 days, or zero (unless `zero` allows it).
 */
export function durationMs(duration: Duration | undefined, field: string, options: { zero?: boolean } = {}): number | undefined {
  if (duration === undefined) return undefined;
  const { nanos } = duration;
  const seconds = /^-?\d{1,19}$/.test(duration.seconds) ? Number(duration.seconds) : Number.NaN;
  if (Number.isNaN(seconds) || !Number.isInteger(nanos) || Math.abs(nanos) > 999_999_999) {
    throw invalid(field, 'is not a duration: seconds must be whole and nanos less than 1,000,000,000');
  }
  if (seconds < 0 || nanos < 0) throw invalid(field, 'must not be negative');
  const ms = seconds * 1000 + Math.ceil(nanos / NANOS_A_MS);
  if (ms > MAX_DURATION_MS) throw invalid(field, 'must be at most 366 days');
  if (ms === 0 && options.zero !== true) throw invalid(field, 'must be above zero; leave it unset for the default');
  return ms;
}

/** A worker's duration in whole ms, brought within 0 and 366 days: for news that must not be lost over a number. undefined when unset or none. */
export function boundedMs(duration: Duration | undefined): number | undefined {
  if (duration === undefined) return undefined;
  const ms = Number(duration.seconds) * 1000 + Math.ceil(duration.nanos / NANOS_A_MS);
  return Number.isNaN(ms) ? undefined : Math.min(Math.max(ms, 0), MAX_DURATION_MS);
}

/** ms as a duration. What is not a time (negative, NaN) is zero. */
export function toDuration(ms: number): Duration {
  const whole = ms > 0 ? Math.min(Math.round(ms), MAX_TIME_MS) : 0;
  return { seconds: String(Math.floor(whole / 1000)), nanos: (whole % 1000) * NANOS_A_MS };
}

/** A caller's time in ms since 1970; 0 when unset. Refuses what is no date, before 1970, or more than 366 days after `nowMs`. */
export function dateMs(date: Date | undefined, field: string, nowMs: number): number {
  if (date === undefined) return 0;
  const ms = date.getTime();
  if (Number.isNaN(ms) || ms < 0) throw invalid(field, 'must be a date from 1970 on');
  if (ms > nowMs + MAX_DURATION_MS) throw invalid(field, 'must be at most 366 days ahead');
  return ms;
}

/** ms since 1970 as a date; undefined for 0, which stands for "none". */
export function toDate(ms: number): Date | undefined {
  return ms > 0 ? new Date(Math.min(ms, MAX_TIME_MS)) : undefined;
}

/** A wait ends this long before its caller's deadline, so that the caller gets the state of the job and not an error. */
const BEFORE_DEADLINE_MS = 100;

/**
 * How much a peer may have rounded its timeout up before it sent it, for a timeout of at most so many ms. gRPC's C core, which Python, C++,
 * Ruby, PHP, and C# use, sends three digits.
 */
const ROUNDED_MS: [timeoutMs: number, byMs: number][] = [
  [1_000, 0],
  [10_000, 10],
  [100_000, 100],
  [1_000_000, 1_000],
  [10_000_000, 10_000],
  [100_000_000, 100_000],
];

/** The C core also sends an earlier timeout again, which its peer has in its header table, if that one is no more than so much longer. */
const SENT_AGAIN = 0.03;

/** How long to wait at most for an answer that must reach a caller whose deadline is so many ms away. Infinity without a deadline. */
export function waitUntilDeadlineMs(deadlineMs: number): number {
  const rounded = ROUNDED_MS.find(([timeoutMs]) => deadlineMs <= timeoutMs)?.[1] ?? deadlineMs * 0.01;
  if (!Number.isFinite(deadlineMs)) return deadlineMs;
  return Math.max(0, deadlineMs * (1 - SENT_AGAIN) - rounded - BEFORE_DEADLINE_MS);
}
