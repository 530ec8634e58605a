import { expect, test } from 'vitest';
import type { RetryPolicy } from '../../../src/domain/job.js';
import { keys } from '../../../src/store/keys.js';
import { backsOff, roomy, unleased } from '../../helpers/store-diffs.js';
import { failure, type Leased, StoreFixture, success, T0, type TestPool } from '../../helpers/store-fixture.js';

const fixture = new StoreFixture();

const policy = (fields: Partial<RetryPolicy>) => ({
  job: { retry: { maxAttempts: 9, initialBackoffMs: 1_000, maxBackoffMs: 60_000, multiplier: 2, fatalCodes: [], ...fields } },
});

/** When the job is due again, in ms from now; undefined when it is not scheduled. */
async function delay(p: TestPool, nowMs = 0): Promise<number | undefined> {
  const due = await p.raw.zscore(keys.later(p.name), 'j1');
  return due === null ? undefined : Number(due) - T0 - nowMs;
}

/** Fails the attempt, waits out its backoff, and answers the next lease. */
async function nextAttempt(p: TestPool, lease: Leased, nowMs: number): Promise<{ lease: Leased; nowMs: number; delayMs: number }> {
  await p.finish([p.result(lease, failure())]);
  const delayMs = (await delay(p, nowMs)) ?? 0;
  const next = nowMs + delayMs;
  await p.pass(nowMs, next);
  return { lease: await p.lease(lease, 'j1'), nowMs: next, delayMs };
}

test('a retryable failure: again after the backoff, less a tenth at most', async () => {
  const p = await fixture.pool();
  const lease = await p.leased();
  const { value, diff } = await p.during(() => p.finish([p.result(lease, failure())]));
  expect(value.reply).toMatchObject([{ verdict: 'accepted', state: 'scheduled', attempt: 1 }]);
  expect(diff).toEqual({
    ...backsOff('j1', '2 test retryable: no', 900),
    ...unleased('j1', 'w1', 'F1'),
    ...roomy('w1'),
    free: '+ w1',
    'job:j1.done': '+ F1',
  });
});

test.each([
  [0, 900],
  [500, 1_000],
  [999, 1_099],
])('the backoff is spread by the fence: at %i µs it is %i ms', async (us, expected) => {
  const p = await fixture.pool();
  await p.raw.set('muster:test:clock', String(T0 * 1_000 + us));
  const lease = await p.leased();
  await p.finish([p.result(lease, failure())]);
  expect(await delay(p)).toBe(expected);
});

test('the backoff grows by its multiplier up to its ceiling, and the last attempt buries', async () => {
  const p = await fixture.pool();
  let at = {
    lease: await p.leased('j1', 'w1', policy({ maxAttempts: 5, initialBackoffMs: 1_000, maxBackoffMs: 5_000, multiplier: 3 })),
    nowMs: 0,
    delayMs: 0,
  };
  const delays: number[] = [];
  for (let i = 0; i < 4; i++) {
    at = await nextAttempt(p, at.lease, at.nowMs);
    delays.push(at.delayMs);
  }
  expect(delays).toEqual([900, 2_700, 4_500, 4_500]);
  const { value } = await p.during(() => p.finish([p.result(at.lease, failure())]));
  expect(value.reply).toMatchObject([{ verdict: 'accepted', state: 'failed', attempt: 5 }]);
});

test('a delay that the worker asked for stands as it is', async () => {
  const p = await fixture.pool();
  const lease = await p.leased();
  await p.finish([p.result(lease, { ...failure(), retryAfterMs: 12_345 })]);
  expect(await delay(p)).toBe(12_345);
});

test('without a backoff the job is at the head of its queue again', async () => {
  const p = await fixture.pool();
  const lease = await p.leased('j1', 'w1', policy({ initialBackoffMs: 0 }));
  await p.r1.jobs.pause(p.name, true);
  await p.job('j2');
  await p.finish([p.result(lease, failure())]);
  expect([await delay(p), await p.waiting()]).toEqual([undefined, ['j1', 'j2']]);
});

test('a multiplier of 1 keeps the backoff as it is', async () => {
  const p = await fixture.pool();
  const first = await nextAttempt(p, await p.leased('j1', 'w1', policy({ multiplier: 1 })), 0);
  const second = await nextAttempt(p, first.lease, first.nowMs);
  expect([first.delayMs, second.delayMs]).toEqual([900, 900]);
});

test.each([
  [7, [1, 7, 14], 'failed'],
  [1, [11, 14], 'scheduled'],
  [14, [14], 'failed'],
  [4, [], 'scheduled'],
])('code %i with fatal codes %j: %s', async (code, fatalCodes, state) => {
  const p = await fixture.pool();
  const lease = await p.leased('j1', 'w1', policy({ fatalCodes }));
  await p.finish([p.result(lease, failure({ code }))]);
  expect(await p.state()).toBe(state);
});

test('one attempt at most: the first failure buries', async () => {
  const p = await fixture.pool();
  const lease = await p.leased('j1', 'w1', policy({ maxAttempts: 1 }));
  await p.finish([p.result(lease, failure())]);
  expect(await p.state()).toBe('failed');
});

test('the failure of an earlier attempt does not outlive a job that ended well', async () => {
  const p = await fixture.pool();
  const { lease } = await nextAttempt(p, await p.leased(), 0);
  expect(await p.diff(() => p.finish([p.result(lease, success())]))).toMatchObject({
    'ttl job:j1': '+ 3600 s',
    'ttl job:j1:error': '604800 s → 3600 s',
  });
});

test('nor one that is cancelled while it backs off', async () => {
  const p = await fixture.pool();
  await p.finish([p.result(await p.leased(), failure())]);
  expect(await p.diff(() => p.r1.jobs.cancel(p.name, ['j1']))).toMatchObject({ 'ttl job:j1': '+ 3600 s', 'ttl job:j1:error': '604800 s → 3600 s' });
});
