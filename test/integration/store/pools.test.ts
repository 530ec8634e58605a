import { expect, test } from 'vitest';
import { systemClock, systemRandom } from '../../../src/domain/clock.js';
import type { Matching } from '../../../src/jobs/matching.js';
import { Ticker } from '../../../src/jobs/ticker.js';
import { keys } from '../../../src/store/keys.js';
import type { Store } from '../../../src/store/store.js';
import { uniquePool } from '../../helpers/redis.js';
import { scanKeys } from '../../helpers/store-dump.js';
import { failure, StoreFixture, T0, TestPool } from '../../helpers/store-fixture.js';

const IDLE_MS = 60_000;
const fixture = new StoreFixture({ limits: { POOL_IDLE_MS: IDLE_MS } });
const METHOD = { job: { kind: '', method: '/a.B/C' }, info: { contract: 'METHOD' } } as const;

const keysOf = (name: string) => scanKeys(fixture.raw, `muster:{${name}}:`);

function tickerOf(store: Store): Ticker {
  const matching = { call: async <T>(_pool: string, run: () => Promise<{ reply: T }>) => (await run()).reply } as unknown as Matching;
  const rest = { clock: systemClock, random: systemRandom, tickMs: 500, onDeadHomes: async () => undefined, onError: () => undefined };
  return new Ticker({ store, matching, finishedKept: 100, buriedKept: 100, ...rest });
}

test('of a pool that does not exist no script makes anything, but after `enter`', async () => {
  const name = uniquePool();
  const { jobs, workers } = fixture.r1;
  const ref = { pool: name, id: 'w1', boot: 'b1', link: '1' };
  const lease = { pool: name, worker: 'w1', jobId: 'j1', fence: '1', link: '1' };
  const p = new TestPool(fixture, name);
  const calls: [string, () => Promise<unknown>][] = [
    ['tick', () => jobs.tick(name, { limit: 10, finishedKept: 10, buriedKept: 10 })],
    ['match', () => jobs.match(name)],
    ['retry', () => jobs.retry(name, [{ id: 'j1' }], 'op')],
    ['purge queued', () => jobs.purge(name, 'queued', 10, 'op')],
    ['purge buried', () => jobs.purge(name, 'buried', 10, 'op')],
    ['pause', () => jobs.pause(name, true, 'op')],
    ['resume', () => jobs.pause(name, false, 'op')],
    ['delete', () => jobs.deletePool(name, 10, 'op')],
    ['cancel', () => jobs.cancel(name, ['j1'])],
    ['watch', () => jobs.watch(name, ['j1'])],
    ['mine', () => jobs.mine(name, 0, 10)],
    ['accept', () => jobs.accept(name, [lease])],
    ['finish', () => jobs.finish(name, [{ ...lease, boot: 'b1', outcome: failure() }], true)],
    ['release', () => jobs.release(name, [{ ...lease, blocked: false, unreached: false, reason: 'x' }])],
    ['drain', () => workers.drain(name, 'w1', true, 'op')],
    ['deregister', () => workers.deregister(name, 'w1', 'b1', 1_000)],
    ['bury', () => workers.bury({ ...ref, boot: '' }, 0, 'x', 'op')],
    ['suspect', () => workers.suspect(ref, 1, 'x')],
    ['probed', () => workers.probed(ref, 0, true, [{ what: 'lost', jobId: 'j1', fence: '1' }])],
    ['adopt', () => workers.adopt(ref)],
    ['detach', () => workers.detach(ref, 'x', 15_000)],
    ['resize', () => workers.resize(ref, 2)],
    ['standing', () => workers.standing(name, [ref])],
    ['orphans', () => workers.orphans(name, '0', 10)],
    ['forget homes', () => workers.forgetHomes(name, ['r1'])],
    ['worker beat', () => workers.workerBeat(name, 'w1', 'b1', [{ jobId: 'j1', fence: '1', done: false, progress: Buffer.from('x') }])],
    ['descriptors', () => fixture.r1.writeDescriptors(name, Buffer.from('x'), 'op').catch((error: { reason: string }) => error.reason)],
  ];
  for (const [what, call] of calls) {
    await call();
    expect(await keysOf(name), what).toEqual([]);
  }
  const entering: [string, () => Promise<unknown>][] = [
    ['submit', () => jobs.submit(name, [{ spec: p.spec(), wait: true }], 10)],
    ['register', () => workers.register(p.info(), false)],
    ['attach', () => workers.attach({ pool: name, id: 'w1', region: '', slots: 1, labels: {}, kinds: [], version: '', boot: 'b1' }, [])],
    ['beat', () => workers.beat(name, [{ worker: 'w1', link: '1', ageMs: 0 }], false)],
  ];
  for (const [what, call] of entering) {
    await expect(call(), what).rejects.toMatchObject({ code: 'unavailable', reason: 'NO_POOL' });
    expect(await keysOf(name), what).toEqual([]);
  }
});

test('an empty pool is forgotten after POOL_IDLE_MS, not 1 ms before, and comes back with the next job', async () => {
  const p = await fixture.pool();
  const ticker = tickerOf(p.r2);
  await ticker.runOnce();
  await p.at(IDLE_MS - 1);
  await ticker.runOnce();
  expect(await keysOf(p.name)).toContain(keys.meta(p.name));
  await p.at(IDLE_MS);
  await ticker.runOnce();
  expect(await keysOf(p.name)).toEqual([]);
  expect(await p.r1.pools()).not.toContain(p.name);
  // r1 does not know that it is gone.
  expect(p.r1.isKnown(p.name)).toBe(true);
  expect((await p.r1.within(p.name, '*', () => p.job())) as { reply: unknown }).toMatchObject({ reply: [{ kind: 'created' }] });
  expect(await p.r1.pools()).toContain(p.name);
});

test.each<[string, (p: TestPool) => Promise<unknown>]>([
  ['a worker', (p) => p.worker()],
  ['a job that waits', (p) => p.job()],
  ['a job that is scheduled', (p) => p.job('j1', { notBefore: T0 + 10 * IDLE_MS })],
  ['a job that runs', (p) => p.leased()],
  ['a job that ended', async (p) => p.finish([p.result(await p.leased())]).then(() => p.r1.workers.deregister(p.name, 'w1', ''))],
  ['a dead worker', async (p) => p.r1.workers.bury({ ...(await p.worker()), boot: '' }, 0, 'evicted')],
  ['a pause', (p) => p.r1.jobs.pause(p.name, true)],
])('a pool with %s is not forgotten', async (_, make) => {
  const p = await fixture.pool();
  await make(p);
  for (const ms of [0, 1, IDLE_MS + 1, 2 * IDLE_MS + 1]) {
    await p.at(ms);
    await p.tick();
  }
  expect(await p.raw.exists(keys.meta(p.name))).toBe(1);
});

test('what comes between two ticks starts the time anew', async () => {
  const p = await fixture.pool();
  await p.tick();
  await p.at(IDLE_MS - 1);
  await p.job();
  await p.tick();
  await p.r1.jobs.cancel(p.name, ['j1']);
  await p.raw.del(keys.job(p.name, 'j1'));
  await p.at(IDLE_MS);
  await p.tick();
  expect(await p.raw.zcard(keys.finished(p.name))).toBe(0);
  await p.at(IDLE_MS + 1);
  await p.tick();
  await p.at(2 * IDLE_MS);
  expect((await p.tick()).reply).toEqual([]);
  await p.at(2 * IDLE_MS + 1);
  expect((await p.tick()).reply).toBe('gone');
});

test('a pool that a submission makes again while it is taken off the list stays on it', async () => {
  const p = await fixture.pool();
  await p.job();
  await p.r2.unlist(p.name);
  expect(await p.r1.pools()).toContain(p.name);
});

test('a pool with workers or unfinished jobs cannot be deleted; one without is, in bounded steps, and nothing of it stays', async () => {
  const p = await fixture.pool();
  const refused = async () => p.r1.deletePool(p.name, 2, 'op').catch((error: { code: string; message: string }) => `${error.code} ${error.message}`);
  const lease = await p.leased('j0', 'w1', { info: { slots: 2, labels: { a: 'b' } } });
  expect(await refused()).toMatch(/^failed_precondition pool: .* has 1 workers: stop or evict its workers first$/);
  await p.finish([p.result(lease, failure({ retryable: false }))]);
  await p.r1.writeDescriptors(p.name, Buffer.from('set'));
  await p.r1.workers.bury({ ...lease, id: 'w1', boot: '' }, 0, 'evicted');
  for (let i = 1; i <= 5; i++) await p.job(`j${i}`, { payload: Buffer.from('in'), metadata: { a: 'b' }, totalTimeoutMs: 5_000, priority: i % 4 });
  expect(await refused()).toMatch(/^failed_precondition pool: .* has 5 unfinished jobs: purge/);
  await p.r1.jobs.purge(p.name, 'queued', 100);
  await p.tick();
  const steps: boolean[] = [];
  do steps.push(await p.r1.deletePool(p.name, 2, 'op'));
  while (!steps.at(-1));
  expect(steps).toEqual([false, false, true]);
  expect(await keysOf(p.name)).toEqual([]);
  expect(await p.r1.pools()).not.toContain(p.name);
  expect(await refused()).toMatch(/^not_found pool: there is no pool/);
  expect(await p.raw.hexists(keys.creators, p.name)).toBe(0);
});

test('a slot in quarantine of a METHOD worker keeps its pool', async () => {
  const p = await fixture.pool();
  await p.leased('j1', 'w1', METHOD);
  await p.r1.jobs.cancel(p.name, ['j1']);
  await expect(p.r1.deletePool(p.name, 10, 'op')).rejects.toMatchObject({ code: 'failed_precondition', reason: 'POOL_IN_USE' });
});

test('an identity makes so many pools and no more; others, and those that it has, are not touched by it', async () => {
  const store = await fixture.store('quota', { poolsEach: 2 });
  const [a, b, c, d] = [uniquePool(), uniquePool(), uniquePool(), uniquePool()] as const;
  await store.enter(a, 'mallory');
  await store.enter(b, 'mallory');
  await expect(store.enter(c, 'mallory')).rejects.toMatchObject({ code: 'resource_exhausted', reason: 'QUOTA_POOLS' });
  expect(await store.pools()).not.toContain(c);
  await store.enter(c, 'alice');
  await store.enter(d);
  for (const pool of [a, c, d]) await (await fixture.store(`q-${pool}`, { poolsEach: 2 })).enter(pool, 'mallory');
  while (!(await store.deletePool(a, 10, 'op'))) {
    // Until it is done.
  }
  await store.enter(uniquePool(), 'mallory');
});

test('Redis that loses its data: the next job or worker makes its pool again, on the list too', async () => {
  const p = await fixture.pool();
  const worker = await p.worker();
  const link = { worker: worker.id, link: worker.link };
  await fixture.raw.flushall();
  await fixture.setClockMs(T0);
  await expect(p.r1.workers.beat(p.name, [{ ...link, ageMs: 0 }], false)).rejects.toMatchObject({ reason: 'NO_POOL' });
  expect(p.r1.isKnown(p.name)).toBe(false);
  expect(p.r2.isKnown(p.name)).toBe(true);
  await p.r2.within(p.name, '*', () => p.r2.workers.register(p.info(), false));
  expect(await p.r1.pools()).toEqual([p.name]);
});
