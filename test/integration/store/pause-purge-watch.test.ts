import { expect, test } from 'vitest';
import { keys } from '../../../src/store/keys.js';
import { ended } from '../../helpers/store-diffs.js';
import { failure, StoreFixture, T0 } from '../../helpers/store-fixture.js';

const fixture = new StoreFixture({ limits: { EXACT_LIST: 2 } });

test('pause: jobs are taken and given to nobody until resume gives them out', async () => {
  const p = await fixture.pool();
  await p.worker();
  const paused = await p.during(() => p.r1.jobs.pause(p.name, true));
  expect(paused).toEqual({ value: { reply: true, assignments: [], more: false }, diff: { events: '+ pool.paused', 'meta.paused': '+ 1' } });
  expect((await p.job()).assignments).toEqual([]);
  expect((await p.tick()).assignments).toEqual([]);
  const resumed = await p.during(() => p.r1.jobs.pause(p.name, false));
  expect([resumed.value.reply, p.given(resumed.value.assignments)]).toEqual([true, ['j1 F1 w1 1']]);
  expect(resumed.diff).toMatchObject({ events: '+ pool.resumed', 'meta.paused': '- 1' });
});

test('pause and resume again say that they changed nothing', async () => {
  const p = await fixture.pool();
  await p.worker();
  expect(await p.during(() => p.r1.jobs.pause(p.name, false))).toMatchObject({ value: { reply: false }, diff: {} });
  await p.r1.jobs.pause(p.name, true);
  expect(await p.during(() => p.r1.jobs.pause(p.name, true))).toMatchObject({ value: { reply: false }, diff: {} });
});

test('purge: ends what is queued, waiting before scheduled, and leaves what runs', async () => {
  const p = await fixture.pool();
  await p.leased('j0');
  await p.job('j1', { priority: 3 });
  await p.job('j2', { payload: Buffer.from('in') });
  await p.job('j3', { notBefore: T0 + 1_000 });
  const { value, diff } = await p.during(() => p.r1.jobs.purge(p.name, 'queued', 10));
  expect(value).toBe(3);
  expect(diff).toEqual({
    ...ended('j1', 'cancelled', 0, 'waiting'),
    ...ended('j2', 'cancelled', 0, 'waiting'),
    ...ended('j3', 'cancelled', 0, 'scheduled'),
    events: '+ pool.purged queued count=3',
    'job:j2:payload': '- in',
    'later.j3': '- t+1000',
    'meta.cancelled': '+ 3',
    'waiting:0': '- j2',
    'waiting:3': '- j1',
  });
});

test('purge: up to its limit a call, tombstones go along, and fewer than the limit is the end', async () => {
  const p = await fixture.pool();
  for (let i = 0; i < 5; i++) await p.job(`j${i}`);
  await p.r1.jobs.cancel(p.name, ['j1']);
  expect([await p.r1.jobs.purge(p.name, 'queued', 3), await p.waiting()]).toEqual([3, ['j3', 'j4']]);
  expect([await p.r1.jobs.purge(p.name, 'queued', 3), await p.waiting()]).toEqual([2, []]);
  expect(await p.raw.hget(keys.meta(p.name), 'tombstones')).toBe('0');
  expect(await p.diff(() => p.r1.jobs.purge(p.name, 'queued', 3))).toEqual({});
});

test('purge: dead letters are forgotten with their keys', async () => {
  const p = await fixture.pool();
  const lease = await p.leased('j1', 'w1', { job: { payload: Buffer.from('in'), metadata: { a: 'b' } } });
  await p.finish([p.result(lease, failure({ retryable: false }))]);
  expect(await p.r1.jobs.purge(p.name, 'buried', 10)).toBe(1);
  expect([...(await p.dump()).keys()].filter((path) => path.includes('j1'))).toEqual([]);
});

test('watch: the state of each; what has ended takes no waiter', async () => {
  const p = await fixture.pool();
  const done = await p.leased('j2');
  await p.finish([p.result(done)]);
  const { value, diff } = await p.during(() => p.r1.jobs.watch(p.name, ['j2', 'j9', 'j2']));
  expect([value, diff]).toEqual([['succeeded', undefined, 'succeeded'], {}]);
});

test('watch: each replica once, and four at most', async () => {
  const p = await fixture.pool();
  await p.job();
  const others = [await fixture.store('r3'), await fixture.store('r4'), await fixture.store('r5')];
  for (const store of [p.r1, p.r1, p.r2, ...others]) expect(await store.jobs.watch(p.name, ['j1'])).toEqual(['waiting']);
  expect(await p.raw.hget(keys.job(p.name, 'j1'), 'waiter')).toBe('r1 r2 r3 r4');
});
