import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { WorkerState } from '../../../src/grpc/generated/muster/v1/admin.js';
import { runToEnd } from '../../../src/sdk/run.js';
import { keys } from '../../../src/store/keys.js';
import { ownRedis } from '../../helpers/redis.js';
import { until } from '../../helpers/until.js';
import { endOf, getWorker, type Running, startReplica, text } from './support.js';
import { runnerWorker, type TestRunner } from './workers.js';

const POOL = 'swept';
const WORKERS = 4;
let redis: Redis;
let replicas: Running[];
let workers: TestRunner[];
/** Monotonic ms of each sweep that was hinted to the cluster. */
const sweeps: number[] = [];

beforeAll(async () => {
  const { url } = await ownRedis();
  redis = new Redis(url);
  const ear = redis.duplicate();
  await ear.subscribe(keys.sweep);
  ear.on('message', () => void sweeps.push(performance.now()));
  replicas = await Promise.all([1, 2, 3].map(() => startReplica(url)));
  workers = await Promise.all(Array.from({ length: WORKERS }, (_, i) => runnerWorker(replicas[i % 3]?.target ?? '', POOL, `w${i}`)));
  return () => ear.disconnect();
});

afterAll(() => redis.disconnect());

const first = () => replicas[0] as Running;
const interval = () => first().config.HEALTH_INTERVAL_MS;

test('there is one sweep an interval in the whole cluster of three, not one a replica', async () => {
  await until(() => sweeps.length > 0, { what: 'the first sweep' });
  const since = sweeps.length;
  const began = performance.now();
  await until(() => sweeps.length >= since + 6, { timeoutMs: 15_000, what: 'six sweeps' });
  const intervals = (performance.now() - began) / interval();
  console.info(`FIGURE sweepsAnInterval=${(6 / intervals).toFixed(2)}`);
  // Three replicas that swept each for themselves would have needed two intervals.
  expect(intervals).toBeGreaterThan(4.5);
  expect(intervals).toBeLessThan(9);
});

test('after all data of Redis are lost the sweeps come back, and the fleet registers itself again by its pings', async () => {
  const before = await Promise.all(workers.map((_, i) => getWorker(first().api, POOL, `w${i}`)));
  await redis.flushall();
  const began = performance.now();
  const since = sweeps.length;
  const back = async () => {
    for (let i = 0; i < WORKERS; i++) if ((await getWorker(first().api, POOL, `w${i}`)).state !== WorkerState.WORKER_STATE_FREE) return false;
    return true;
  };
  await until(back, { timeoutMs: 15_000, what: 'the fleet to be back' });
  console.info(`FIGURE fleetBackAfterFlushMs=${Math.round(performance.now() - began)}`);
  const after = await Promise.all(workers.map((_, i) => getWorker(first().api, POOL, `w${i}`)));
  expect(after.map(({ id, boot, address }) => [id, boot, address])).toEqual(before.map(({ id, boot, address }) => [id, boot, address]));
  // Three intervals until somebody puts the scheduler there again, one until it fires.
  await until(() => sweeps.length >= since + 3, { timeoutMs: 6 * interval() + 5_000, what: 'sweeps' });
  for (const { api } of replicas)
    expect(endOf(await runToEnd(api, { pool: POOL, work: { $case: 'kind', value: 'echo' }, payload: text('x') }))).toMatchObject({ output: 'x' });
});

test('what is due by the clock is looked for again, too: a delayed job starts', async () => {
  const began = performance.now();
  const job = await runToEnd(first().api, { pool: POOL, work: { $case: 'kind', value: 'echo' }, notBefore: new Date(Date.now() + 200) });
  console.info(`FIGURE delayedAfterFlushMs=${Math.round(performance.now() - began)}`);
  expect(endOf(job)).toMatchObject({ state: 'JOB_STATE_SUCCEEDED', attempt: 1 });
}, 40_000);
