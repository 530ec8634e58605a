import { createConnection } from 'node:net';
import { status } from '@grpc/grpc-js';
import { beforeAll, expect, test } from 'vitest';
import { connect, PermanentError } from '../../../src/sdk/index.js';
import { Exposition } from '../../helpers/exposition.js';
import { ownRedis } from '../../helpers/redis.js';
import { type InProcess, startReplica } from '../../helpers/replica.js';
import { until } from '../../helpers/until.js';
import { gate, newClient, rejection, startWorker } from '../sdk/support.js';

const HTTP_ADDR = '127.0.0.1:0';

let redis: Awaited<ReturnType<typeof ownRedis>>;
let replica: InProcess;
beforeAll(async () => {
  redis = await ownRedis();
  replica = await startReplica(redis.url, { HTTP_ADDR, METRICS_CACHE_MS: 10, METRICS_POOLS: 2 });
});

const scrape = (from = replica) => Exposition.at(from.httpPort);

/** A scrape of which that holds. */
function scraped(holds: (metrics: Exposition) => boolean, what: string): Promise<Exposition> {
  return until(
    async () => {
      const metrics = await scrape();
      return holds(metrics) ? metrics : undefined;
    },
    { what },
  );
}

test('pools, workers, slots and jobs are counted as they stand, and so is what was done', async () => {
  const { opened, open } = gate();
  const worker = await startWorker({ target: replica.target, pool: 'a', slots: 3 }, (one) =>
    one
      .handle('wait', () => opened)
      .handle('bad', () => {
        throw new PermanentError('no');
      }),
  );
  const client = newClient({ target: replica.target });
  const waiting = [0, 1, 2, 3].map(() => client.run('wait', 1, { pool: 'a' }));
  const full = await scraped((metrics) => metrics.of('muster_waiting', { pool: 'a' }) === 1, 'one job to wait');
  expect(full.of('muster_running', { pool: 'a' })).toBe(3);
  expect(full.of('muster_slots', { pool: 'a' })).toBe(3);
  expect(full.of('muster_workers', { pool: 'a', state: 'free' })).toBe(0);
  expect(full.of('muster_workers', { pool: 'a', state: 'other' })).toBe(1);
  expect(full.of('muster_links')).toBe(1);
  expect(full.of('muster_heartbeat_age_seconds')).toBeGreaterThan(0);
  expect(full.of('muster_jobs_submitted_total', { pool: 'a' })).toBe(4);
  open();
  await Promise.all(waiting);
  await rejection(client.run('bad', 1, { pool: 'a' }));
  worker.resize(5);
  const after = await scraped(
    (metrics) => metrics.of('muster_slots', { pool: 'a' }) === 5 && metrics.of('muster_running', { pool: 'a' }) === 0,
    '5 slots',
  );
  expect(after.of('muster_workers', { pool: 'a', state: 'free' })).toBe(1);
  expect(after.of('muster_jobs_total', { pool: 'a', outcome: 'succeeded' })).toBe(4);
  expect(after.of('muster_jobs_total', { pool: 'a', outcome: 'failed' })).toBe(1);
  expect(after.of('muster_jobs_total', { pool: 'a', outcome: 'expired' })).toBe(0);
  expect(after.of('muster_dead_letters', { pool: 'a' })).toBe(1);
  expect(after.of('muster_job_seconds_count', { outcome: 'succeeded' })).toBe(4);
  expect(after.of('muster_job_seconds_count', { outcome: 'failed' })).toBe(1);
  expect(after.of('muster_match_seconds_count')).toBe(5);
  // The fourth waited until the gate was opened, the others did not wait.
  expect(after.of('muster_match_seconds_sum')).toBeGreaterThan(0);
  expect(after.of('muster_batch_size_sum', { kind: 'submit' })).toBe(5);
  expect(after.of('muster_batch_size_sum', { kind: 'finish' })).toBe(5);
  expect(after.of('muster_redis_command_seconds_count', { command: 'submit' })).toBeGreaterThan(0);
  expect(after.of('muster_redis_command_seconds_count', { command: 'read_pools' })).toBeGreaterThan(0);
  expect(after.of('muster_redis_up')).toBe(1);
  expect(after.of('muster_build_info', { version: 'test', node_version: process.version })).toBe(1);
  expect(after.of('process_cpu_seconds_total')).toBeGreaterThan(0);
  await worker.stop({ graceMs: 0 });
});

test('calls are counted by method and code, streams when they end', async () => {
  const before = await scrape();
  const get = { grpc_service: 'muster.v1.JobService', grpc_method: 'GetJob' };
  const begun = before.of('grpc_server_started_total', get) ?? 0;
  const api = connect(replica.target);
  expect(await rejection(api.getJob({ pool: 'a', id: 'nobody' }))).toMatchObject({ code: status.NOT_FOUND });
  api.close();
  const session = { grpc_service: 'muster.v1.JobService', grpc_method: 'Session' };
  const attach = { grpc_service: 'muster.v1.WorkerService', grpc_method: 'Attach' };
  const metrics = await scraped((one) => (one.of('grpc_server_handling_seconds_count', attach) ?? 0) > 0, 'the stream of a worker to be over');
  expect(metrics.of('grpc_server_started_total', get)).toBe(begun + 1);
  expect(metrics.of('grpc_server_handled_total', { ...get, grpc_code: 'NOT_FOUND' })).toBe(begun + 1);
  expect(metrics.of('grpc_server_handling_seconds_count', get)).toBe(begun + 1);
  expect(metrics.of('grpc_server_started_total', session)).toBeGreaterThan(0);
  expect(metrics.of('grpc_server_started_total', attach)).toBeGreaterThan(0);
  // Begun by nobody, and there all the same: a rate needs its zero.
  expect(metrics.of('grpc_server_started_total', { ...get, grpc_method: 'RetryJob' })).toBe(0);
});

test('connections are counted while they are open, and what would be counted of those that are turned away begins at zero', async () => {
  const own = await startReplica(redis.url, { HTTP_ADDR });
  const open = async () => (await scrape(own)).of('muster_connections', { listener: 'grpc' });
  expect(await open()).toBe(0);
  const port = Number(own.target.split(':')[1]);
  const sockets = [createConnection(port, '127.0.0.1'), createConnection(port, '127.0.0.1')];
  await until(async () => (await open()) === 2);
  for (const socket of sockets) socket.destroy();
  await until(async () => (await open()) === 0);
  const metrics = await scrape(own);
  const away = (listener: string, reason: string) => metrics.of('muster_connections_refused_total', { listener, reason });
  expect(['full', 'tls', 'silent'].map((reason) => away('grpc', reason))).toEqual([0, 0, 0]);
  // It has no such listener.
  expect(away('legacy', 'full')).toBeUndefined();
});

test('a worker that falls silent is counted as suspect and as dead, with a reason that is one of a few', async () => {
  const api = connect(replica.target);
  await startWorker({ target: replica.target, pool: 'b', id: 'b1' }, (one) => one.handle('x', () => 1));
  await api.evictWorker({ pool: 'b', id: 'b1', reason: 'what people say is free text' });
  api.close();
  const dead = { state: 'dead', reason: 'other' };
  const metrics = await scraped((one) => (one.of('muster_evictions_total', dead) ?? 0) > 0, 'an eviction');
  expect(metrics.text).not.toContain('free text');
});

test('no label can grow: pools are bounded, and nothing names a job or a worker', async () => {
  const client = newClient({ target: replica.target });
  for (const pool of ['zz', 'c', 'd']) await client.submit('k', 1, { pool, id: `id-of-${pool}` });
  const metrics = await scraped((one) => one.of('muster_pools') === 5, 'five pools');
  expect(metrics.of('muster_waiting', { pool: 'a' })).toBeDefined();
  expect(metrics.of('muster_waiting', { pool: 'b' })).toBeDefined();
  expect(metrics.text).not.toMatch(/pool="(zz|c|d)"|id-of-|b1"/);
  const bounded = [
    'pool',
    'state',
    'reason',
    'listener',
    'use',
    'outcome',
    'kind',
    'command',
    'grpc_service',
    'grpc_method',
    'grpc_code',
    'le',
    'version',
    'node_version',
  ];
  const defaults = ['type', 'space', 'major', 'minor', 'patch'];
  expect([...metrics.labels].filter((label) => ![...bounded, ...defaults].includes(label))).toEqual([]);
});

test('scrapers more than one, and impatient ones, cost Redis one reading', async () => {
  const patient = await startReplica(redis.url, { HTTP_ADDR, METRICS_CACHE_MS: 600_000 });
  const counts = await Promise.all(Array.from({ length: 10 }, () => scrape(patient)));
  expect(counts.every((one) => one.of('muster_redis_up') === 1)).toBe(true);
  const before = counts[0]?.of('muster_jobs_submitted_total', { pool: 'a' });
  await newClient({ target: patient.target }).submit('wait', 1, { pool: 'a' });
  expect((await scrape(patient)).of('muster_jobs_submitted_total', { pool: 'a' })).toBe(before);
});

test('with Redis away there are metrics all the same, without those of pools, and it says so', async () => {
  const lost = await ownRedis();
  const alone = await startReplica(lost.url, { HTTP_ADDR, METRICS_CACHE_MS: 10 });
  await newClient({ target: alone.target }).submit('k', 1, { pool: 'a' });
  await until(async () => (await scrape(alone)).of('muster_waiting', { pool: 'a' }) === 1);
  await lost.stop();
  const metrics = await until(async () => {
    const one = await scrape(alone);
    return one.of('muster_redis_up') === 0 ? one : undefined;
  });
  expect(metrics.of('muster_waiting', { pool: 'a' })).toBeUndefined();
  expect(metrics.names).toContain('muster_waiting');
  expect(metrics.of('muster_links')).toBe(0);
});
