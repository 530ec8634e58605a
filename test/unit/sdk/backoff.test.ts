import { status } from '@grpc/grpc-js';
import { expect, test } from 'vitest';
import { ApiError } from '../../../src/sdk/api-error.js';
import { Backoff } from '../../../src/sdk/backoff.js';
import { sdkClock } from '../../../src/sdk/clock.js';
import { retrying } from '../../../src/sdk/retrying.js';
import { WhileFull } from '../../../src/sdk/submit-many.js';

/** Notes how long it would have slept. */
function noting() {
  const slept: number[] = [];
  const clock = {
    ...sdkClock,
    sleep: async (ms: number) => {
      slept.push(ms);
      await new Promise(setImmediate);
    },
  };
  return { slept, clock };
}

const fails = (code: number, times: number) => {
  let calls = 0;
  const call = async () => {
    if (++calls <= times) throw new ApiError(code, '', 'no');
    return calls;
  };
  return { call, calls: () => calls };
};

test('pauses double up to the cap, are drawn from the whole range below, and begin anew after a success', () => {
  const draws = [1, 0, 0.5, 1, 1, 1];
  const backoff = new Backoff(() => draws.shift() ?? 1, { firstMs: 100, maxMs: 500 });
  expect(Array.from({ length: 4 }, () => backoff.nextMs())).toEqual([100, 0, 200, 500]);
  backoff.reset();
  expect([backoff.nextMs(), backoff.nextMs()]).toEqual([100, 200]);
});

test('a call that breaks is made again after growing pauses, which the calls of one client share', async () => {
  const { slept, clock } = noting();
  const options = { clock, random: () => 1, giveUpMs: 60_000, backoff: new Backoff(() => 1, { firstMs: 100, maxMs: 2_000 }) };
  const { call } = fails(status.UNAVAILABLE, 3);
  expect(await retrying(call, options)).toBe(4);
  expect(slept).toEqual([100, 200, 400]);
  const two = [fails(status.UNAVAILABLE, 2), fails(status.UNAVAILABLE, 2)];
  await Promise.all(two.map(({ call }) => retrying(call, options)));
  expect(slept.slice(3)).toEqual([100, 200, 400, 800]);
});

test('while the replicas have no room, one submission tries after each pause; all follow when it is taken', async () => {
  const { slept, clock } = noting();
  const full = new WhileFull({ clock, random: () => 1, giveUpMs: 60_000 });
  let room = false;
  let calls = 0;
  const submit = async () => {
    calls++;
    if (!room) throw new ApiError(status.RESOURCE_EXHAUSTED, 'BACKLOG_FULL', 'full');
  };
  const all = Array.from({ length: 100 }, () => full.submit(submit));
  for (let i = 0; i < 5; i++) await new Promise(setImmediate);
  const before = calls;
  expect(before).toBeLessThanOrEqual(100 + 6);
  room = true;
  await Promise.all(all);
  expect(calls - before).toBeLessThanOrEqual(101);
  expect(slept.slice(0, 5)).toEqual([250, 500, 1_000, 2_000, 2_000].slice(0, Math.min(5, slept.length)));
});
