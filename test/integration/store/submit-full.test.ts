import { expect, test } from 'vitest';
import { keys } from '../../../src/store/keys.js';
import { failure, StoreFixture, type TestPool } from '../../helpers/store-fixture.js';

// Lists of more than two entries count as long, so that what leaves early stays as a tombstone.
const fixture = new StoreFixture({ limits: { EXACT_LIST: 2 } });

async function tombstones(p: TestPool): Promise<string | null> {
  return p.raw.hget(keys.meta(p.name), 'tombstones');
}

test('tombstones do not count in the backlog, but a list of twice its bound is full', async () => {
  const p = await fixture.pool();
  await p.submit(
    ['j1', 'j2', 'j3', 'j4'].map((id) => p.spec(id)),
    { max: 4 },
  );
  await p.r1.jobs.cancel(p.name, ['j1', 'j2', 'j3', 'j4']);
  expect([await p.waiting(), await tombstones(p)]).toEqual([['j1', 'j2', 'j3', 'j4'], '4']);
  const more = ['j5', 'j6', 'j7', 'j8'].map((id) => p.spec(id));
  expect((await p.submit(more, { max: 4 })).reply).toEqual(more.map(() => ({ kind: 'created' })));
  expect((await p.submit([p.spec('j9')], { max: 4 })).reply).toEqual([{ kind: 'full' }]);
  await p.r1.jobs.cancel(p.name, ['j8']);
  // Three live ones of four, but eight entries of eight.
  expect((await p.submit([p.spec('j9')], { max: 4 })).reply).toEqual([{ kind: 'full' }]);
});

test('at maxmemory new work is refused, and results, beats, ticks and workers that are known are not', async () => {
  const p = await fixture.pool();
  const lease = await p.leased('j1', 'w1');
  const dead = await p.leased('j2', 'w2');
  await p.finish([p.result(dead, failure({ retryable: false }))]);
  await p.raw.config('SET', 'maxmemory', '1');
  try {
    const before = await p.dump();
    const full = { code: 'resource_exhausted', reason: 'REDIS_FULL', retryAfterMs: 5_000 };
    await expect(p.job('j3')).rejects.toMatchObject(full);
    await expect(p.worker('w3')).rejects.toMatchObject(full);
    await expect(p.r1.jobs.retry(p.name, [{ id: 'j2' }])).rejects.toMatchObject(full);
    expect(await p.dump()).toEqual(before);

    expect((await p.r1.workers.register(p.info('w2', { boot: 'w2-b2' }), true)).reply).toMatchObject({ kind: 'ok', state: 'free' });
    expect((await p.r1.workers.beat(p.name, [{ worker: 'w1', link: '1', lease }], false)).reply).toEqual(['ok']);
    expect((await p.r1.workers.workerBeat(p.name, 'w1', 'w1-b1', [])).known).toBe('ok');
    expect((await p.finish([p.result(lease)])).reply).toMatchObject([{ verdict: 'accepted', state: 'succeeded' }]);
    expect((await p.tick()).reply).toEqual([]);
    expect((await p.r1.workers.drain(p.name, 'w1', true)).reply).toBe('draining');
    expect((await p.r1.workers.deregister(p.name, 'w2', '')).reply).toEqual({ status: 'ok', held: 0 });
  } finally {
    await p.raw.config('SET', 'maxmemory', '0');
  }
});
