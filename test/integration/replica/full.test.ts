import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { keys } from '../../../src/store/keys.js';
import { ownRedis } from '../../helpers/redis.js';
import { until } from '../../helpers/until.js';
import { type Running, startReplica } from './support.js';

let redis: Redis;
let replica: Running;

beforeAll(async () => {
  const { url } = await ownRedis();
  redis = new Redis(url);
  replica = await startReplica(url, { HOME_BEAT_MS: 1_000 });
});

afterAll(() => redis.disconnect());

test('a replica whose Redis is full stays on the list of replicas', async () => {
  const key = keys.replica(replica.id);
  await until(() => redis.exists(key), { what: 'the replica to be on the list' });
  await redis.config('SET', 'maxmemory', '1');
  await expect(redis.set('x', 'y')).rejects.toThrow(/^OOM/);
  // Whoever sets it anew sets less.
  const longMs = 600_000;
  await redis.pexpire(key, longMs);
  await until(async () => (await redis.pttl(key)) < longMs / 2, { what: 'the replica to keep its record' });
  expect((await replica.api.listReplicas({})).replicas.map(({ id }) => id)).toEqual([replica.id]);
  await redis.config('SET', 'maxmemory', '0');
});
