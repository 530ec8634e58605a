import { expect, test } from 'vitest';
import { systemClock } from '../../../src/domain/clock.js';
import type { Hint } from '../../../src/store/inbox.js';
import { keys } from '../../../src/store/keys.js';
import type { Store } from '../../../src/store/store.js';
import { uniquePool } from '../../helpers/redis.js';
import { StoreFixture } from '../../helpers/store-fixture.js';
import { until } from '../../helpers/until.js';

const fixture = new StoreFixture();

interface Ear {
  store: Store;
  hints: Hint[];
  lost: string[][];
}

async function ear(home: string): Promise<Ear> {
  const hints: Hint[] = [];
  const lost: string[][] = [];
  const store = fixture.unstarted(home);
  const events = { hint: (hint: Hint) => hints.push(hint), resubscribed: (pools: string[]) => lost.push(pools), error: () => undefined };
  await store.start(events, AbortSignal.timeout(10_000));
  return { store, hints, lost };
}

test('hints of the pools that a replica entered arrive, of others and for others not', async () => {
  const { store, hints } = await ear('a1');
  const [mine, other] = [uniquePool(), uniquePool()];
  await store.enter(mine);
  for (const [pool, home] of [
    [other, 'a1'],
    [mine, 'a2'],
    [mine, 'a1'],
  ] as const)
    await fixture.raw.publish(keys.home(pool, home), 'done j1');
  await fixture.raw.publish(keys.home(mine, 'a1'), 'assign j2 123 w1');
  await fixture.raw.publish(keys.home(mine, 'a1'), 'cancel j3 124 w1');
  await until(() => hints.length >= 3);
  expect(hints).toEqual([
    { kind: 'done', pool: mine, jobId: 'j1' },
    { kind: 'assign', pool: mine, jobId: 'j2', fence: '123', worker: 'w1' },
    { kind: 'cancel', pool: mine, jobId: 'j3', fence: '124', worker: 'w1' },
  ]);
});

test('a sweep is heard by all', async () => {
  const [a, b] = [await ear('b1'), await ear('b2')];
  await a.store.publishSweep();
  await until(() => a.hints.length > 0 && b.hints.length > 0);
  expect([a.hints, b.hints]).toEqual([[{ kind: 'sweep' }], [{ kind: 'sweep' }]]);
  expect(Math.abs(Number(await fixture.raw.get(keys.swept)) - systemClock.now())).toBeLessThan(60_000);
});

test('what is no hint is nothing', async () => {
  const { store, hints } = await ear('c1');
  const pool = uniquePool();
  await store.enter(pool);
  for (const message of ['', 'done', 'assign j1', 'assign j1 1', 'other j1 1 w1', 'done last'])
    await fixture.raw.publish(keys.home(pool, 'c1'), message);
  await until(() => hints.length > 0);
  expect(hints).toEqual([{ kind: 'done', pool, jobId: 'last' }]);
});

test('a lost subscription is there again by itself, and says for which pools hints may be missing', async () => {
  const { store, hints, lost } = await ear('d1');
  const pools = [uniquePool(), uniquePool()];
  for (const pool of pools) await store.enter(pool);
  await fixture.raw.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
  await until(() => lost.length > 0, { what: 'resubscribed' });
  expect(lost).toEqual([pools]);
  await until(async () => (await fixture.raw.publish(keys.home(pools[1] ?? '', 'd1'), 'done j1')) === 1);
  await until(() => hints.length > 0);
  expect(hints[0]).toEqual({ kind: 'done', pool: pools[1], jobId: 'j1' });
});

test('entering again is cheap and subscribes once', async () => {
  const { store } = await ear('e1');
  const pool = uniquePool();
  await Promise.all([store.enter(pool), store.enter(pool), store.enter(pool)]);
  const [, count] = (await fixture.raw.pubsub('NUMSUB', keys.home(pool, 'e1'))) as [string, number];
  expect(Number(count)).toBe(1);
  expect(await fixture.raw.sismember(keys.pools, pool)).toBe(1);
});

test('one pool more than there may be is refused, those that are there are not', async () => {
  const store = await fixture.store('f1', { maxPools: (await fixture.raw.scard(keys.pools)) + 1 });
  const [first, second] = [uniquePool(), uniquePool()];
  await store.enter(first);
  await expect(store.enter(second)).rejects.toMatchObject({ code: 'resource_exhausted', reason: 'TOO_MANY_POOLS' });
  const again = await fixture.store('f2', { maxPools: 1 });
  await again.enter(first);
});
