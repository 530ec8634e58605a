import { describe, expect, it } from 'vitest';
import { MusterError } from '../../../src/domain/errors.js';
import { dateMs, durationMs, MAX_DURATION_MS, toDate, toDuration, waitUntilDeadlineMs } from '../../../src/grpc/time.js';

const DAYS_366 = 31_622_400;

describe('durationMs', () => {
  it.each([
    ['1', 0, 1000],
    ['0', 1_000_000, 1],
    ['0', 1, 1],
    ['0', 999_999_999, 1000],
    ['1', 500_000_001, 1501],
    [String(DAYS_366), 0, MAX_DURATION_MS],
    [String(DAYS_366 - 1), 999_999_999, MAX_DURATION_MS],
  ])('%s s and %i ns are %i ms: exact, or rounded up', (seconds, nanos, ms) => {
    expect(durationMs({ seconds, nanos }, 'wait')).toBe(ms);
  });

  it('is undefined when unset', () => expect(durationMs(undefined, 'wait')).toBeUndefined());

  it.each([
    ['0', 0, 'above zero'],
    ['-1', 0, 'negative'],
    ['0', -1, 'negative'],
    ['1', -1, 'negative'],
    ['-9223372036854775808', 0, 'negative'],
    [String(DAYS_366), 1, 'at most 366 days'],
    ['9223372036854775807', 0, 'at most 366 days'],
    ['0', 1_000_000_000, 'not a duration'],
    ['0', Number.NaN, 'not a duration'],
    ['', 0, 'not a duration'],
    ['1e3', 0, 'not a duration'],
  ])('refuses %s s and %d ns, naming the field', (seconds, nanos, remedy) => {
    const run = () => durationMs({ seconds, nanos }, 'spec.retention');
    expect(run).toThrow(MusterError);
    expect(run).toThrow(`spec.retention: `);
    expect(run).toThrow(remedy);
  });

  it('takes zero where zero means something', () => expect(durationMs({ seconds: '0', nanos: 0 }, 'wait', { zero: true })).toBe(0));
});

describe('toDuration', () => {
  it.each([0, 1, 999, 1000, 1001, 300_000, MAX_DURATION_MS])('%i ms come back as they were', (ms) => {
    expect(durationMs(toDuration(ms), 'x', { zero: true })).toBe(ms);
  });
  it('makes zero of what is no time', () => {
    for (const ms of [-1, Number.NaN, Number.NEGATIVE_INFINITY]) expect(toDuration(ms)).toEqual({ seconds: '0', nanos: 0 });
  });
  it('is bounded', () => expect(toDuration(Number.POSITIVE_INFINITY).seconds).toMatch(/^\d{12}$/));
});

describe('dates', () => {
  const now = 1_800_000_000_000;
  it('0 stands for none, both ways', () => {
    expect(dateMs(undefined, 'x', now)).toBe(0);
    expect(toDate(0)).toBeUndefined();
    expect(toDate(Number.NaN)).toBeUndefined();
  });
  it('takes the past, and up to 366 days ahead', () => {
    for (const ms of [1, now, now + MAX_DURATION_MS]) expect(dateMs(new Date(ms), 'x', now)).toBe(ms);
    expect(() => dateMs(new Date(now + MAX_DURATION_MS + 1), 'spec.not_before', now)).toThrow('spec.not_before: must be at most 366 days ahead');
  });
  it('refuses what is no date', () => {
    for (const ms of [Number.NaN, -1]) expect(() => dateMs(new Date(ms), 'spec.not_before', now)).toThrow('spec.not_before: must be a date');
  });
  it('ends where Timestamp ends', () => expect(toDate(8.64e15)?.getUTCFullYear()).toBe(9999));
});

/** The timeout in ms that gRPC's C core puts into `grpc-timeout`: three digits, rounded up. */
function sentByCore(ms: number): number {
  let unit = 1;
  for (const next of [10, 100, 1_000, 10_000, 100_000, 1_000_000]) if (ms >= next * 100) unit = next;
  return Math.ceil(ms / unit) * unit;
}

describe('the wait before a deadline', () => {
  it('ends before the caller gives up, however its library rounded the timeout', () => {
    expect([999, 1_001, 10_001, 100_001, 1_000_001].map(sentByCore)).toEqual([999, 1_010, 10_100, 101_000, 1_010_000]);
    for (let ms = 200; ms < 40_000_000; ms = Math.ceil(ms * 1.003)) {
      // The last one is an earlier timeout that is sent again.
      for (const sent of [ms, sentByCore(ms), sentByCore(ms) / 0.97]) {
        const wait = waitUntilDeadlineMs(sent);
        expect(ms - wait, `timeout ${ms} ms, sent as ${sent}`).toBeGreaterThanOrEqual(99.9);
        expect(wait, `timeout ${ms} ms, sent as ${sent}`).toBeGreaterThanOrEqual(ms * 0.93 - 101);
      }
    }
  });

  it('is none at all for a deadline that is too near, and endless without one', () => {
    expect([0, 50, 100, Number.POSITIVE_INFINITY].map(waitUntilDeadlineMs)).toEqual([0, 0, 0, Number.POSITIVE_INFINITY]);
  });
});
