import { expect, test } from 'vitest';
import { keys } from '../../../src/store/keys.js';
import { StoreFixture, T0, type TestPool } from '../../helpers/store-fixture.js';

const fixture = new StoreFixture();

/** One job through one worker; its fence, as it stands in Redis. */
async function oneFence(p: TestPool, jobId: string): Promise<string> {
  await p.job(jobId);
  const lease = await p.lease({ pool: p.name, id: 'w1', boot: 'w1-b1', link: '1' }, jobId);
  await p.finish([p.result(lease)]);
  return lease.fence;
}

test('a fence is the µs of its lease, in all 16 digits, wherever it stands', async () => {
  const p = await fixture.pool();
  await p.worker();
  const us = T0 * 1_000 + 123_457;
  await p.raw.set('muster:test:clock', String(us));
  const { assignments } = await p.job();
  const all = [
    assignments[0]?.fence,
    await p.raw.hget(keys.held(p.name, 'w1'), 'j1'),
    await p.raw.hget(keys.job(p.name, 'j1'), 'fence'),
    await p.raw.hget(keys.meta(p.name), 'fence'),
  ];
  expect(all).toEqual(all.map(() => String(us)));
  expect(String(us)).toMatch(/^\d{16}$/);
});

test('within one µs each lease has the next number', async () => {
  const p = await fixture.pool();
  await p.worker('w1', { slots: 3 });
  await p.r1.jobs.pause(p.name, true);
  for (const id of ['j1', 'j2', 'j3']) await p.job(id);
  const { assignments } = await p.r1.jobs.pause(p.name, false);
  expect(assignments.map(({ fence }) => Number(fence) - T0 * 1_000)).toEqual([0, 1, 2]);
});

test('fences grow though the clock runs back an hour', async () => {
  const p = await fixture.pool();
  await p.at(3_600_000);
  await p.worker();
  const first = await oneFence(p, 'j1');
  await p.at(0);
  await p.r1.workers.beat(p.name, [], false);
  expect(await oneFence(p, 'j2')).toBe(String(Number(first) + 1));
  expect(await oneFence(p, 'j3')).toBe(String(Number(first) + 2));
});

test('fences grow though Redis lost what it knew, for a caller who has seen higher', async () => {
  const p = await fixture.pool();
  await p.at(3_600_000);
  await p.worker();
  const first = await oneFence(p, 'j1');
  await p.at(0);
  await p.raw.hdel(keys.meta(p.name), 'fence');
  await p.r1.workers.beat(p.name, [], false);
  expect(await oneFence(p, 'j2')).toBe(String(Number(first) + 1));
});

test('each pool has its own', async () => {
  const p = await fixture.pool();
  await p.worker();
  const first = await oneFence(p, 'j1');
  const q = await fixture.pool();
  await q.worker();
  expect(await oneFence(q, 'j1')).toBe(first);
});

test('Redis’ own clock gives µs too', async () => {
  const store = await fixture.store('r9', { testClock: false });
  const p = await fixture.pool();
  await p.worker('w1', {}, store);
  const before = Date.now();
  const { assignments } = await p.submit([p.spec()], { by: store });
  const ms = Number(assignments[0]?.fence) / 1_000;
  expect(ms).toBeGreaterThan(before - 60_000);
  expect(ms).toBeLessThan(before + 60_000);
  expect(assignments[0]?.fence).toMatch(/^\d{16}$/);
});
