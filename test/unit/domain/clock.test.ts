import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { type Clock, LONGEST_TIMER_MS, systemClock } from '../../../src/domain/clock.js';
import { deadlineIn, withoutEndlessTimeout } from '../../../src/domain/deadline.js';
import { durationMs, toDuration as toProtoDuration } from '../../../src/grpc/time.js';
import { sdkClock } from '../../../src/sdk/clock.js';
import { fromDuration, toDuration } from '../../../src/sdk/duration.js';

const DAY_MS = 86_400_000;

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

const CLOCKS: [string, Clock][] = [
  ['systemClock', systemClock],
  ['sdkClock', sdkClock],
];
/** Around what 32 bits hold, and far beyond. */
const LONG = [LONGEST_TIMER_MS - 1, LONGEST_TIMER_MS, LONGEST_TIMER_MS + 1, 25 * DAY_MS, 40 * DAY_MS, 50 * DAY_MS, 366 * DAY_MS];

test.each(CLOCKS.flatMap(([name, clock]) => LONG.map((ms) => [name, ms, clock] as const)))('%s waits %i ms, not 1 ms less', async (_, ms, clock) => {
  const over: string[] = [];
  clock.after(ms, () => over.push('after'));
  void clock.sleep(ms).then(() => over.push('sleep'));
  await vi.advanceTimersByTimeAsync(ms - 1);
  expect(over).toEqual([]);
  await vi.advanceTimersByTimeAsync(1);
  expect(over.sort()).toEqual(['after', 'sleep']);
});

test.each(CLOCKS.flatMap(([name, clock]) => [0, -1, -25 * DAY_MS, Number.NEGATIVE_INFINITY, Number.NaN].map((ms) => [name, ms, clock] as const)))(
  '%s: a wait of %f ms is over at once',
  async (_, ms, clock) => {
    const over: string[] = [];
    clock.after(ms, () => over.push('after'));
    void clock.sleep(ms).then(() => over.push('sleep'));
    await vi.advanceTimersByTimeAsync(1);
    expect(over.sort()).toEqual(['after', 'sleep']);
  },
);

test.each(CLOCKS)('%s: a wait for ever ends when it is told to, and not before', async (_, clock) => {
  const over: string[] = [];
  const stop = clock.after(Number.POSITIVE_INFINITY, () => over.push('after'));
  const abort = new AbortController();
  void clock.sleep(Number.POSITIVE_INFINITY, abort.signal).then(() => over.push('sleep'));
  await vi.advanceTimersByTimeAsync(400 * DAY_MS);
  expect(over).toEqual([]);
  stop();
  abort.abort();
  await vi.advanceTimersByTimeAsync(400 * DAY_MS);
  expect(over).toEqual(['sleep']);
  expect(vi.getTimerCount()).toBe(0);
});

test('the deadline of a call: what a server on grpc-js would take for passed is none', () => {
  const at = (ms: number) => deadlineIn({ now: () => 1_000 }, ms);
  expect([at(500), at(24 * DAY_MS), at(-5)]).toEqual([{ deadline: 1_500 }, { deadline: 1_000 + 24 * DAY_MS }, { deadline: 1_000 }]);
  for (const ms of [25 * DAY_MS, 50 * DAY_MS, 366 * DAY_MS, 1e300, Number.POSITIVE_INFINITY]) expect(at(ms)).toEqual({});
  expect(() => at(Number.NaN)).toThrow(RangeError);
});

test.each([
  ['100m', true],
  ['2147483S', true],
  ['2147484S', false],
  ['3000000S', false],
  ['4294968S', false],
  ['35791M', true],
  ['36000M', false],
  ['596H', true],
  ['600H', false],
  ['99999999H', false],
  ['99999999n', true],
  ['99999999u', true],
  ['99999999m', true],
  ['soon', true],
  ['', true],
])('grpc-timeout %s stays: %s', (timeout, stays) => {
  const headers: Record<string, unknown> = { 'grpc-timeout': timeout };
  withoutEndlessTimeout(headers);
  expect('grpc-timeout' in headers).toBe(stays);
});

test('durations: what is not a number is refused, the longest is whole seconds', () => {
  expect(() => toDuration(Number.NaN)).toThrow(RangeError);
  for (const ms of [Number.POSITIVE_INFINITY, 1e300, Number.MAX_SAFE_INTEGER]) expect(toDuration(ms).seconds).toMatch(/^\d{1,12}$/);
  for (const ms of LONG) expect(fromDuration(toDuration(ms))).toBe(ms);
  for (const ms of LONG) expect(durationMs(toProtoDuration(ms), 'f')).toBe(ms);
  for (const seconds of ['9223372036854775807', '-9223372036854775808', '99999999999999999999', 'x', '1e9', 'NaN', 'Infinity', '']) {
    expect(() => durationMs({ seconds, nanos: 0 }, 'f')).toThrow('f');
  }
});
