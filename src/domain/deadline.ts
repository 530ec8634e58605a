import { type Clock, LONGEST_TIMER_MS } from './clock.js';

/** grpc-js rounds a deadline up to whole seconds or minutes on the wire: so much room is left below what 32 bits count. */
const ROUNDING_MS = 600_000;

/**
 * The deadline of a gRPC call that may take `ms`, as call options. A server on grpc-js counts it in 32 bits and takes one of 25 days for passed: a
 * call that may take longer has none, and its caller ends it. Throws RangeError for what is not a number.
 */
export function deadlineIn(clock: Pick<Clock, 'now'>, ms: number): { deadline?: number } {
  if (Number.isNaN(ms)) throw new RangeError('a deadline must be a number of ms');
  return ms > LONGEST_TIMER_MS - ROUNDING_MS ? {} : { deadline: clock.now() + Math.max(0, ms) };
}

const UNITS_MS: Record<string, number> = { n: 1e-6, u: 1e-3, m: 1, S: 1_000, M: 60_000, H: 3_600_000 };

/** Takes a grpc-timeout that grpc-js would take for passed out of a call's headers: its caller cancels the call when it wants no more. */
export function withoutEndlessTimeout(headers: Record<string, unknown>): void {
  const [, amount = '', unit = ''] = /^(\d{1,8})\s*([HMSmun])$/.exec(String(headers['grpc-timeout'])) ?? [];
  if (Number(amount) * (UNITS_MS[unit] ?? 0) > LONGEST_TIMER_MS) delete headers['grpc-timeout'];
}
