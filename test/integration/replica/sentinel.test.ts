import { Redis } from 'ioredis';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { JobState } from '../../../src/grpc/generated/muster/v1/job.js';
import { runToEnd } from '../../../src/sdk/run.js';
import { keys } from '../../../src/store/keys.js';
import { uniquePool } from '../../helpers/redis.js';
import { RedisPair } from '../../helpers/redis-pair.js';
import { Submitter } from '../../helpers/submitter.js';
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
/** A replica leaves the old master 100 ms before the other is promoted; a busy machine may be late. */
const LOST_MAX = 10;

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
  expect(await succeeded()).toBeGreaterThan(before);
}

test('the master is gone: the replicas go to the one that the Sentinel makes', async () => {
  await pair.inStep();
  pair.master.kill();
  await pair.promoted();
  await followed();
}, 90_000);

/** Jobs that a client was told are taken, and that the new master does not know. */
async function lostOf(ids: readonly string[]): Promise<string[]> {
  const known = await Promise.all(ids.map((id) => redis.exists(keys.job(pool, id))));
  return ids.filter((_, i) => known[i] === 0);
}

test('SENTINEL FAILOVER, in which the old master goes on answering for ten seconds: next to nothing is lost, and what may be is logged', async () => {
  const replicas = [home, other];
  const submitters = replicas.map(({ api }) => new Submitter(api, pool, 4));
  const acknowledged = () => submitters.reduce((sum, one) => sum + one.acknowledged.length, 0);
  await until(() => acknowledged() >= 100, { what: 'the load to run' });
  const statuses = new Set<number>();
  const ready = async () => {
    const { status } = await fetch(`http://127.0.0.1:${home.httpPort}/readyz`);
    statuses.add(status);
    return status === 200;
  };
  const began = performance.now();
  await pair.failover();
  await until(async () => !(await ready()), { what: 'a replica that cannot write not to be ready' });
  const [before, left] = [acknowledged(), performance.now()];
  await until(() => acknowledged() > before + 20 && ready(), { timeoutMs: 20_000, what: 'writes at the new master' });
  const pauseMs = performance.now() - left;
  await until(() => acknowledged() > before + 100, { what: 'the load to go on' });
  await Promise.all(submitters.map((one) => one.stop()));
  const lost = await lostOf(submitters.flatMap((one) => one.acknowledged));
  console.info(
    `FIGURE sentinelFailover lost=${lost.length} of ${acknowledged()}, left after ${Math.round(left - began)} ms, paused ${Math.round(pauseMs)} ms`,
  );
  expect(lost.length).toBeLessThanOrEqual(LOST_MAX);
  for (const { lines } of replicas) {
    expect(lines).toContainEqual(expect.objectContaining({ level: 40, msg: expect.stringContaining('the Sentinels name another master') }));
    const told = { level: 40, msg: expect.stringContaining('may be lost'), from: expect.stringMatching(/^2/), to: expect.stringMatching(/^2/) };
    expect(lines).toContainEqual(expect.objectContaining(told));
  }
  await followed();
}, 90_000);
