import { afterAll, beforeAll, expect, test } from 'vitest';
import { parseRedisUrl } from '../../../src/domain/redis-url.js';
import { JobState } from '../../../src/grpc/generated/muster/v1/job.js';
import { runToEnd } from '../../../src/sdk/run.js';
import { keys } from '../../../src/store/keys.js';
import { CalmCluster } from '../../../src/store/prompt-cluster.js';
import { Load } from '../../helpers/load.js';
import { uniquePool } from '../../helpers/redis.js';
import { RedisCluster } from '../../helpers/redis-cluster.js';
import { until } from '../../helpers/until.js';
import { muster } from '../../unit/cli/harness.js';
import { jobIn, type Running, startReplica, submit, text } from './support.js';
import { runnerWorker, type TestRunner } from './workers.js';

/** Two replicas on a Redis Cluster of three masters, and a pool on each; the workers' home is the first, clients call the second. */
let cluster: RedisCluster;
let home: Running;
let other: Running;
let pools: string[];
const workers = new Map<string, TestRunner>();

beforeAll(async () => {
  cluster = await RedisCluster.start();
  [home, other] = await Promise.all([startReplica(cluster.url), startReplica(cluster.url)]);
  pools = await poolsOnEach();
  for (const pool of pools) workers.set(pool, await runnerWorker(home.target, pool, 'w', { slots: 4 }));
}, 60_000);

afterAll(async () => {
  for (const worker of workers.values()) await worker.close();
  await Promise.all([home?.stop(), other?.stop()]);
  await cluster?.stop();
});

async function poolsOnEach(): Promise<string[]> {
  const found = new Map<unknown, string>();
  while (found.size < 3) {
    const pool = uniquePool();
    found.set(await cluster.ownerOf(keys.meta(pool)), pool);
  }
  return [...found.values()];
}

/** A job that its submitter's replica gives to the other's worker: two calls, and a hint each way. */
async function run(pool: string, id: string): Promise<void> {
  const { state } = await runToEnd(other.api, { pool, id, work: { $case: 'kind', value: 'echo' }, payload: text(id) });
  expect(state).toBe(JobState.JOB_STATE_SUCCEEDED);
}

/** Is each replica's channel of that pool listened to at the node that has its slot, and only once? */
async function heard(pool: string): Promise<boolean> {
  const channels = [home, other].map(({ id }) => keys.home(pool, id));
  const counts = (await cluster.at(keys.meta(pool), (redis) => redis.call('PUBSUB', 'SHARDNUMSUB', ...channels))) as (string | number)[];
  return counts[1] === 1 && counts[3] === 1;
}

/** Jobs that ran more than once, of those that the pool's worker noted. */
function twice(pool: string): string[] {
  const starts = (workers.get(pool)?.notes ?? []).filter(({ event }) => event === 'start').map(({ jobId }) => jobId);
  return starts.filter((id, i) => starts.indexOf(id) !== i);
}

async function well(): Promise<void> {
  const audit = await muster(['audit', '--redis-url', cluster.url]);
  expect([audit.code, audit.text, audit.story]).toEqual([0, '', 'no invariant is broken']);
  expect(await cluster.refusals()).toEqual([]);
}

test('jobs flow in pools on every master, hints go the short way, and doctor and audit see all of it', async () => {
  await Promise.all(pools.flatMap((pool) => Array.from({ length: 20 }, (_, i) => run(pool, `j${i}`))));
  expect(await Promise.all(pools.map(heard))).toEqual([true, true, true]);
  expect(pools.flatMap(twice)).toEqual([]);
  const names = (await other.api.listPools({})).pools.map(({ name }) => name);
  expect(names).toEqual(expect.arrayContaining(pools));
  await until(() => cluster.at(keys.swept, (redis) => redis.get(keys.swept)), { timeoutMs: 20_000, what: 'a sweep' });
  const doctor = await muster(['doctor', '--redis-url', cluster.url]);
  expect([doctor.code, doctor.text.split('\n').filter((line) => line.startsWith('error'))]).toEqual([0, []]);
  await well();
});

test('a connection to the Cluster that is told to connect anew in the middle of a connect comes about all the same', async () => {
  const target = parseRedisUrl(cluster.url);
  if (target.kind !== 'cluster') throw new Error('no Cluster');
  const { nodes, username, password } = target;
  const redis = new CalmCluster(nodes, { lazyConnect: true, redisOptions: { username, password, disableClientInfo: true } });
  redis.on('error', () => {});
  redis.connect().catch(() => undefined);
  redis.disconnect(true);
  await until(() => redis.status === 'ready', { what: 'the connection' });
  redis.disconnect();
});

test('a channel that is lost is found again', async () => {
  const [pool = ''] = pools;
  const killed = await cluster.at(keys.meta(pool), (redis) => redis.call('CLIENT', 'KILL', 'TYPE', 'pubsub'));
  expect(Number(killed)).toBeGreaterThanOrEqual(2);
  await until(() => heard(pool), { what: 'the channels' });
  await run(pool, 'heard');
});

test('a slot that is moved while jobs run: nothing is half done, and jobs and hints go on at its new node', { timeout: 40_000 }, async () => {
  const [pool = '', bystander = ''] = pools;
  const load = new Load({ api: other.api, pool, clients: 4, kind: 'echo', as: 'end', payload: () => 'x' });
  await until(() => load.count >= 20, { what: 'jobs before' });
  const from = await cluster.ownerOf(keys.meta(pool));
  const moved = await cluster.moveSlot(keys.meta(pool), async () => {
    // Some of the pool's keys are here and some there: its scripts are refused as a whole, other pools' are not.
    await expect(submit(other.api, { pool, id: 'between', work: { $case: 'kind', value: 'echo' } })).rejects.toMatchObject({
      codeName: 'UNAVAILABLE',
    });
    await run(bystander, 'bystander');
  });
  expect(moved.keys).toBeGreaterThan(20);
  expect(await cluster.ownerOf(keys.meta(pool))).not.toBe(from);
  const before = load.count;
  await until(() => load.count >= before + 20, { what: 'jobs after' });
  await load.stop();
  expect({ wrong: load.wrong, broken: load.broken, twice: twice(pool) }).toEqual({ wrong: [], broken: [], twice: [] });
  await until(() => heard(pool), { what: 'the channels at the new node' });
  await well();
});

test('a master is killed: its replica takes over, its pool goes on, nothing that it had is lost or run twice', { timeout: 60_000 }, async () => {
  const [, pool = '', bystander = ''] = pools;
  const worker = workers.get(pool);
  await submit(other.api, { pool, id: 'running', work: { $case: 'kind', value: 'slow' }, payload: text('4000') });
  await jobIn(other.api, pool, 'running', JobState.JOB_STATE_RUNNING);
  await other.api.pausePool({ pool });
  for (let i = 0; i < 20; i++) await submit(other.api, { pool, id: `kept${i}`, work: { $case: 'kind', value: 'echo' }, payload: text('x') });
  await cluster.inStep(keys.meta(pool));
  const { pauseMs } = await cluster.fail(keys.meta(pool));
  console.info(`FIGURE redis-cluster failover: ${pauseMs} ms until the replica had the slots`);
  await until(() => other.api.resumePool({ pool }).then(() => true), { what: 'the pool to go on' });
  const ends = await Promise.all(
    ['running', ...Array.from({ length: 20 }, (_, i) => `kept${i}`)].map((id) => jobIn(other.api, pool, id, JobState.JOB_STATE_SUCCEEDED, 20_000)),
  );
  expect(ends.every(({ attempt }) => attempt === 1)).toBe(true);
  expect(twice(pool)).toEqual([]);
  expect(worker?.notes.filter(({ event }) => event === 'end').length).toBeGreaterThanOrEqual(21);
  await until(() => heard(pool), { what: 'the channels at the new master' });
  await Promise.all([run(pool, 'after'), run(bystander, 'after')]);
  await well();
});
