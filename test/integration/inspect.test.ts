import { Redis } from 'ioredis';
import { afterAll, expect, test } from 'vitest';
import { keys } from '../../src/store/keys.js';
import { ownRedis } from '../helpers/redis.js';
import { startReplica } from '../helpers/replica.js';
import { openStore } from '../helpers/store.js';
import { muster } from '../unit/cli/harness.js';

const redis = await ownRedis({ appendonly: true, appendfsync: 'everysec' });
const raw = new Redis(redis.url);
raw.on('error', () => undefined);
const store = await openStore({ url: redis.url, home: 'r1' });
afterAll(() => raw.disconnect());

const env = { MUSTER_REDIS_URL: redis.url };

async function worker(pool: string): Promise<void> {
  await store.enter(pool);
  const info = { id: 'w1', boot: 'b1', bootDerived: false, address: { ip: '10.0.0.1', port: 1 }, contract: 'RUNNER' as const, region: '', slots: 1 };
  await store.workers.register({ ...info, pool, labels: {}, kinds: [], version: '' }, false);
}

test('audit: 0 and a word on stderr when all is well; 1 and what is wrong when it is not; one pool alone', async () => {
  await worker('good');
  await worker('bad');
  const well = await muster(['audit'], { env });
  expect([well.code, well.text, well.story]).toEqual([0, '', 'no invariant is broken']);
  expect((await muster(['audit', '-o', 'json'], { env })).json()).toEqual({ findings: [] });

  await raw.lpush(keys.free('bad'), 'w2');
  const broken = await muster(['audit'], { env });
  expect([broken.code, broken.story]).toEqual([1, '']);
  expect(broken.text).toMatch(/^POOL +INVARIANT +SUBJECT +WHAT IS WRONG\nbad +I7 +worker w2 +stands in the free list, and nobody knows it\n$/);
  const json = await muster(['audit', '--pool', 'bad', '-o', 'json', '--redis-url', redis.url]);
  const finding = { pool: 'bad', invariant: 'I7', subject: 'worker w2', what: 'stands in the free list, and nobody knows it' };
  expect([json.code, json.json()]).toEqual([1, { findings: [finding] }]);
  expect((await muster(['audit', '--pool', 'good'], { env })).code).toBe(0);
  const live = await muster(['audit', '--live', '-o', 'json'], { env });
  expect([live.code, live.json()]).toEqual([1, { findings: [finding] }]);
  expect((await muster(['audit', '--live', '--pool', 'good'], { env })).code).toBe(0);
  await raw.lrem(keys.free('bad'), 1, 'w2');
});

test('audit --live does not look at what has ended', async () => {
  await raw.hset(keys.job('bad', 'old'), { state: 'succeeded', finished: '1' });
  expect((await muster(['audit', '--live'], { env })).code).toBe(0);
  expect((await muster(['audit'], { env })).text).toContain('job old');
  await raw.del(keys.job('bad', 'old'));
});

test('audit writes nothing', async () => {
  const writes = async () => /^rdb_changes_since_last_save:(\d+)/m.exec(await raw.info('persistence'))?.[1];
  const before = await writes();
  expect((await muster(['audit'], { env })).code).toBe(0);
  expect(before).toBeDefined();
  expect(await writes()).toBe(before);
});

test('an unknown pool is not found, a wrong name or setting is usage', async () => {
  expect(await muster(['audit', '--pool', 'nowhere'], { env })).toMatchObject({ code: 4, story: expect.stringContaining('no pool nowhere') });
  expect((await muster(['audit', '--pool', 'No'], { env })).code).toBe(2);
  expect((await muster(['doctor'], { env: { ...env, MUSTER_DURABILITY: 'slow' } })).code).toBe(2);
});

test('a Redis that is not there is 3, and the message says why', { timeout: 30_000 }, async () => {
  const gone = await ownRedis();
  await gone.stop();
  for (const command of ['audit', 'doctor']) {
    const ran = await muster([command, '--redis-url', gone.url]);
    expect([ran.code, ran.story]).toEqual([3, expect.stringMatching(/not reachable \(.*ECONNREFUSED.*--redis-url/)]);
  }
});

test('doctor: 1 with no replica, 0 with one; the audit is part of it', async () => {
  const alone = await muster(['doctor'], { env });
  expect(alone.code).toBe(1);
  expect(alone.text).toMatch(/^error +replicas +no replica is alive +`muster serve` starts one$/m);
  const replica = await startReplica(redis.url);
  const well = await muster(['doctor', '-o', 'json'], { env });
  const { checks } = well.json() as { checks: { check: string; level: string; what: string; remedy: string }[] };
  expect(checks.filter(({ level }) => level === 'error')).toEqual([]);
  expect(well.code).toBe(0);
  expect(checks).toContainEqual(expect.objectContaining({ check: 'durability', level: 'ok' }));

  await raw.lpush(keys.free('bad'), 'w2');
  const broken = await muster(['doctor'], { env });
  expect([broken.code, broken.text]).toEqual([1, expect.stringMatching(/^error +invariants +1 broken +`muster audit` lists them$/m)]);
  await raw.lrem(keys.free('bad'), 1, 'w2');
  const relied = await muster(['doctor'], { env: { ...env, MUSTER_DURABILITY: 'durable' } });
  expect([relied.code, relied.text]).toEqual([1, expect.stringMatching(/^error +durability .* set appendonly yes and appendfsync always/m)]);
  await replica.stop();
});

test('a replica that is relied on for durability does not start on less, and says what to do', async () => {
  await expect(startReplica(redis.url, { DURABILITY: 'durable' })).rejects.toMatchObject({
    reason: 'DURABILITY',
    message: expect.stringMatching(/once a second.*set appendonly yes and appendfsync always/),
  });
  await raw.config('SET', 'appendfsync', 'always');
  await (await startReplica(redis.url, { DURABILITY: 'durable' })).stop();
});

test('where CONFIG is forbidden INFO has to do', async () => {
  const [without, with_] = [
    await ownRedis({ extraArgs: ['--rename-command', 'CONFIG', ''] }),
    await ownRedis({ appendonly: true, appendfsync: 'always', extraArgs: ['--rename-command', 'CONFIG', ''] }),
  ];
  await expect(startReplica(without.url, { DURABILITY: 'durable' })).rejects.toMatchObject({ reason: 'DURABILITY' });
  await (await startReplica(without.url)).stop();
  // It cannot be seen that it is enough, nor that it is not.
  await expect(startReplica(with_.url, { DURABILITY: 'durable' })).rejects.toMatchObject({
    reason: 'DURABILITY',
    message: expect.stringMatching(/does not tell whether it is synced.*MUSTER_DURABILITY_UNCHECKED=true/),
  });
  await (await startReplica(with_.url, { DURABILITY: 'durable', DURABILITY_UNCHECKED: true })).stop();
  const ran = await muster(['doctor', '--redis-url', with_.url, '-o', 'json'], { env: { MUSTER_DURABILITY: 'durable' } });
  const { checks } = ran.json() as { checks: object[] };
  expect(checks).toContainEqual(expect.objectContaining({ check: 'durability', level: 'error', what: expect.stringContaining('does not tell') }));
});
