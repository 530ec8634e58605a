import { expect, test } from 'vitest';
import { keys } from '../../../src/store/keys.js';
import { uniquePool } from '../../helpers/redis.js';
import { StoreFixture } from '../../helpers/store-fixture.js';
import { until } from '../../helpers/until.js';

const fixture = new StoreFixture({ testClock: false });
const TIMEOUT_MS = 250;
const UNKNOWN = { code: 'unavailable', reason: 'REDIS_UNKNOWN' };
const AWAY = { code: 'unavailable', reason: 'REDIS_AWAY' };

/** A replica that gives Redis 250 ms, and a pool of its own. */
async function impatient(home: string) {
  const store = await fixture.store(home, { timeoutMs: TIMEOUT_MS });
  const p = await fixture.pool(uniquePool());
  await store.enter(p.name);
  return { store, p };
}

async function elapsedMs(act: () => Promise<unknown>): Promise<number> {
  const begin = performance.now();
  await act();
  return performance.now() - begin;
}

test('scripts that Redis has forgotten are sent again', async () => {
  const { store, p } = await impatient('a1');
  await fixture.raw.script('FLUSH');
  expect((await p.submit([p.spec()], { by: store })).reply).toEqual([{ kind: 'created' }]);
  expect((await p.submit([p.spec()], { by: store })).reply).toEqual([{ kind: 'exists', state: 'waiting' }]);
});

test('a Redis that is silent: calls end by the timeout with an unknown outcome, and the same call again is safe', async () => {
  const { store, p } = await impatient('b1');
  fixture.redis.pause();
  try {
    const ms = await elapsedMs(() => expect(p.submit([p.spec()], { by: store })).rejects.toMatchObject(UNKNOWN));
    expect(ms).toBeGreaterThan(TIMEOUT_MS * 0.9);
    expect(ms).toBeLessThan(TIMEOUT_MS * 4);
    await expect(store.ping()).rejects.toMatchObject({ code: 'unavailable' });
  } finally {
    fixture.redis.resume();
  }
  const { reply } = await until(() => p.submit([p.spec()], { by: store }));
  // What timed out may have run when Redis went on.
  expect(['created', 'exists']).toContain(reply[0]?.kind);
  expect(await fixture.raw.lrange(keys.waiting(p.name, 0), 0, -1)).toEqual(['j1']);
});

test('a Redis that is gone: calls fail at once; when it is back they work, with the same store', async () => {
  const { store, p } = await impatient('c1');
  await p.submit([p.spec('j1')], { by: store });
  fixture.redis.kill();
  await until(async () => (await reason(() => store.ping())) === 'REDIS_AWAY');
  const ms = await elapsedMs(async () => {
    await expect(p.submit([p.spec('j2')], { by: store })).rejects.toMatchObject(AWAY);
    await expect(store.readJobs(p.name, ['j1'], { bodies: true })).rejects.toMatchObject(AWAY);
    await expect(store.enter('another-pool')).rejects.toMatchObject(AWAY);
    await expect(store.locks.acquire(keys.lock('x'), 1_000, 0)).rejects.toMatchObject({ code: 'unavailable' });
  });
  expect(ms).toBeLessThan(TIMEOUT_MS);

  await fixture.redis.restart();
  await until(() => store.ping());
  // It came back empty: the pool is named again before anything of it is written.
  await until(() => store.enter(p.name).then(() => true));
  expect(await store.pools()).toEqual([p.name]);
  expect((await p.submit([p.spec('j1')], { by: store })).reply).toEqual([{ kind: 'created' }]);
});

test('hints arrive again after Redis was gone', async () => {
  const { p } = await impatient('d1');
  fixture.redis.kill();
  await until(async () => (await reason(() => p.r1.ping())) === 'REDIS_AWAY');
  await fixture.redis.restart();
  await until(async () => (await fixture.raw.publish(keys.home(p.name, 'r1'), 'done j1')) === 1, { what: 'r1 to listen again' });
  await until(() => p.hints('r1').includes('done j1'));
});

async function reason(act: () => Promise<unknown>): Promise<string> {
  return act().then(
    () => '',
    (error: { reason?: string }) => error.reason ?? '',
  );
}
