import { Redis } from 'ioredis';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { JobState } from '../../../src/grpc/generated/muster/v1/job.js';
import { runToEnd } from '../../../src/sdk/run.js';
import { keys } from '../../../src/store/keys.js';
import { uniquePool } from '../../helpers/redis.js';
import { RedisPair } from '../../helpers/redis-pair.js';
import { until } from '../../helpers/until.js';
import { type Running, startReplica, text } from './support.js';
import { runnerWorker } from './workers.js';

/** Two replicas whose MUSTER_REDIS_URL names a Sentinel; the worker's home is the first, clients call the second. */
let pair: RedisPair;
/** To the one that becomes the master. */
let redis: Redis;
let home: Running;
let other: Running;
let pool: string;
let jobs = 0;

beforeEach(async () => {
  pool = uniquePool();
  pair = await RedisPair.start();
  redis = new Redis(pair.replica.url);
  [home, other] = await Promise.all([startReplica(pair.url), startReplica(pair.url)]);
  await runnerWorker(home.target, pool, 'w');
  await run();
}, 60_000);

afterEach(async () => {
  await Promise.all([home.stop(), other.stop()]);
  redis.disconnect();
  await pair.stop();
});

/** A job that its submitter's replica gives to the other's worker: a call, a hint and a result. */
async function run(): Promise<void> {
  const id = `j${jobs++}`;
  const { state } = await runToEnd(other.api, { pool, id, work: { $case: 'kind', value: 'echo' }, payload: text(id) });
  expect(state).toBe(JobState.JOB_STATE_SUCCEEDED);
}

/** Sweeps are made, and jobs run, at the new master. */
async function followed(): Promise<void> {
  const sweptAt = async () => Number(await redis.get(keys.swept));
  const at = await until(sweptAt);
  await until(async () => (await sweptAt()) > at, { timeoutMs: 20_000, what: 'a sweep' });
  const succeeded = async () => Number(await redis.hget(keys.meta(pool), 'succeeded'));
  const before = await succeeded();
  await run();
  expect(await succeeded()).toBe(before + 1);
}

test('the master is gone: the replicas go to the one that the Sentinel makes', async () => {
  await pair.inStep();
  pair.master.kill();
  await pair.promoted();
  await followed();
}, 90_000);

test('the master is demoted and goes on answering: the replicas leave it', async () => {
  await pair.failover();
  await pair.promoted();
  await until(async () => (await pair.roleOfFirst()) === 'slave', { timeoutMs: 40_000, what: 'the first to be demoted' });
  await followed();
}, 90_000);
