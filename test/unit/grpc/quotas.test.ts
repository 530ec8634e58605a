import { expect, test } from 'vitest';
import type { Identity } from '../../../src/domain/identity.js';
import { type Counted, Quotas } from '../../../src/grpc/quotas.js';
import { FakeClock, settled } from '../../helpers/fake-clock.js';

const who = (name: string): Identity => ({ name, role: 'client', pools: undefined });
const never = (): Counted => ({ ended: new Promise(() => {}), end: () => {} });

/** A job that the test ends. */
function job() {
  let over = () => {};
  const counted = { ends: 0 };
  const ended = new Promise<void>((resolve) => {
    over = resolve;
  });
  const count = (): Counted => ({ ended, end: () => void counted.ends++ });
  return { count, over: () => over(), counted };
}

async function reason(call: Promise<unknown>): Promise<string> {
  return call.then(
    () => '',
    (error: { reason: string }) => error.reason,
  );
}

const created = async () => ({ created: true });

test('a bucket of one second: so many at once, then as they flow in, never more than it holds; each identity has its own', async () => {
  const clock = new FakeClock(1_000);
  const quotas = new Quotas({ clock, submissions: 10, waiting: 0 });
  const take = async (name: string, n: number) => {
    const reasons = await Promise.all(Array.from({ length: n }, () => reason(quotas.submit(who(name), never, created))));
    return reasons.filter((one) => one === '').length;
  };
  expect(await take('a', 12)).toBe(10);
  expect(await take('b', 3)).toBe(3);
  await clock.pass(250);
  expect(await take('a', 12)).toBe(2);
  await clock.pass(3_600_000);
  expect(await take('a', 12)).toBe(10);
  const refused = await quotas.submit(who('a'), never, created).catch((error: unknown) => error);
  expect(refused).toMatchObject({ code: 'resource_exhausted', reason: 'QUOTA_SUBMISSIONS', retryAfterMs: 100 });
});

test('identities that were not seen for long do not pile up, and those that were keep their state', async () => {
  const clock = new FakeClock(1_000);
  const quotas = new Quotas({ clock, submissions: 1, waiting: 0 });
  for (let i = 0; i < 3_000; i++) await quotas.submit(who(`n${i}`), never, created);
  expect(await reason(quotas.submit(who('n2999'), never, created))).toBe('QUOTA_SUBMISSIONS');
  await clock.pass(1_000);
  expect(await reason(quotas.submit(who('n2999'), never, created))).toBe('');
});

test('jobs count until they end, whether their submission is answered before or after', async () => {
  const quotas = new Quotas({ clock: new FakeClock(), submissions: 0, waiting: 2 });
  const [first, second] = [job(), job()];
  await quotas.submit(who('a'), first.count, created);
  await quotas.submit(who('a'), second.count, created);
  expect(quotas.waitingOf('a')).toBe(2);
  expect(await reason(quotas.submit(who('a'), never, created))).toBe('QUOTA_WAITING');
  expect(await reason(quotas.submit(who('b'), never, created))).toBe('');
  first.over();
  await settled();
  expect([quotas.waitingOf('a'), first.counted.ends]).toEqual([1, 1]);
  expect(await reason(quotas.submit(who('a'), never, created))).toBe('');
});

test('what was refused, broke, or was there before does not count', async () => {
  const quotas = new Quotas({ clock: new FakeClock(), submissions: 0, waiting: 1 });
  const jobs = [job(), job()];
  await quotas.submit(who('a'), jobs[0]?.count ?? never, async () => ({ created: false }));
  await reason(quotas.submit(who('a'), jobs[1]?.count ?? never, () => Promise.reject(new Error('broken'))));
  expect([quotas.waitingOf('a'), ...jobs.map(({ counted }) => counted.ends)]).toEqual([0, 1, 1]);
});

test('without a limit nothing is counted, and nobody is asked to be told; who is not known has no quota', async () => {
  const quotas = new Quotas({ clock: new FakeClock(), submissions: 0, waiting: 0 });
  const told: boolean[] = [];
  const submit = async (one: boolean) => {
    told.push(one);
    return { created: true };
  };
  await quotas.submit(who('a'), () => Promise.reject(new Error()) as never, submit);
  const strict = new Quotas({ clock: new FakeClock(), submissions: 1, waiting: 1 });
  for (let i = 0; i < 3; i++) await strict.submit(undefined, never, submit);
  await strict.submit(who('a'), never, submit);
  expect(told).toEqual([false, false, false, false, true]);
});
