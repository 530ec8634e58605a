import { expect, test } from 'vitest';
import { type Clock, systemClock } from '../../../src/domain/clock.js';
import { Assignment, type Result } from '../../../src/grpc/generated/muster/v1/common.js';
import { Attempts } from '../../../src/sdk/attempts.js';
import { Newest, Remembered } from '../../../src/sdk/memory.js';

function handClock(): Clock & { at: number } {
  const clock = { ...systemClock, at: 0, monotonic: () => clock.at };
  return clock;
}

const result = (jobId: string, bytes: number): Result => ({ jobId, fence: '1', outcome: { $case: 'output', value: Buffer.alloc(bytes) } });

test('1024 results are remembered; the oldest is forgotten with the next', () => {
  const memory = new Remembered(handClock());
  for (let index = 0; index < 1_024; index++) memory.add(`${index}`, result(`${index}`, 1));
  expect(memory.get('0')).toBeDefined();
  memory.add('1024', result('1024', 1));
  expect(memory.get('0')).toBeUndefined();
  expect(memory.get('1')).toBeDefined();
});

test('64 MiB of results are remembered, and the newest however large', () => {
  const memory = new Remembered(handClock());
  const half = 32 * 1024 * 1024;
  memory.add('a', result('a', half));
  memory.add('b', result('b', half));
  expect(memory.get('a')).toBeDefined();
  memory.add('c', result('c', 1));
  expect([memory.get('a'), memory.get('b')]).toEqual([undefined, expect.anything()]);
  memory.add('d', result('d', half * 3));
  expect([memory.get('b'), memory.get('c'), memory.get('d')]).toEqual([undefined, undefined, expect.anything()]);
});

test('a result is unfetched only if nobody who asked got it, and for a minute', () => {
  const clock = handClock();
  const memory = new Remembered(clock);
  memory.add('a', result('a', 1));
  expect(memory.unfetched()).toEqual([]);
  memory.setFetched('a', false);
  clock.at = 59_999;
  expect(memory.unfetched()).toEqual([{ jobId: 'a', fence: '1' }]);
  clock.at = 60_000;
  expect(memory.unfetched()).toEqual([]);
  clock.at = 0;
  memory.setFetched('a', true);
  memory.setFetched('a', false);
  expect(memory.unfetched()).toEqual([]);
});

test('fences compare as numbers, and an equal one is no older one', () => {
  const newest = new Newest();
  expect([newest.see('j', '9'), newest.see('j', '10'), newest.see('j', '10'), newest.see('j', '9')]).toEqual([true, true, true, false]);
  newest.start('j', '10');
  expect([newest.started('j', '10'), newest.see('j', '11'), newest.started('j', '11')]).toEqual([true, true, false]);
});

test("16384 jobs' fences are kept, the one not seen for longest goes first", () => {
  const newest = new Newest();
  for (let index = 0; index < 16_384; index++) newest.see(`${index}`, '5');
  newest.see('0', '5');
  newest.see('more', '5');
  expect([newest.see('1', '4'), newest.see('0', '4')]).toEqual([true, false]);
});

test('an attempt whose result was forgotten is answered as lost, never run again', async () => {
  let runs = 0;
  const attempts = new Attempts(1, { k: () => Promise.resolve(Buffer.alloc(++runs > 0 ? 1 : 0)) });
  const run = (jobId: string) => attempts.execute(Assignment.fromPartial({ jobId, fence: '1', kind: 'k' }));
  for (let index = 0; index <= 1_024; index++) {
    await run(`${index}`);
    await attempts.idle();
  }
  const again = await run('0');
  expect(again.outcome).toMatchObject({ $case: 'failure', value: { reason: 'result_forgotten', retryable: true } });
  expect(runs).toBe(1_025);
});
