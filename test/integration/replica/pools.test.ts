import { Redis } from 'ioredis';
import { beforeAll, expect, test } from 'vitest';
import { AdminServiceService, PurgeScope } from '../../../src/grpc/generated/muster/v1/admin.js';
import { JobServiceService } from '../../../src/grpc/generated/muster/v1/job.js';
import { WorkerServiceService } from '../../../src/grpc/generated/muster/v1/worker.js';
import { ApiError } from '../../../src/sdk/api-error.js';
import { Client, Worker } from '../../../src/sdk/index.js';
import { jobSpec } from '../../../src/sdk/run.js';
import { emptyFiles } from '../../helpers/descriptors.js';
import { ownRedis } from '../../helpers/redis.js';
import { until } from '../../helpers/until.js';
import { type Running, refusal, startReplica } from './support.js';

let replica: Running;
let redis: Redis;

beforeAll(async () => {
  const { url } = await ownRedis();
  redis = new Redis(url);
  replica = await startReplica(url);
});

const keysOf = async (pool: string) => (await redis.keys('*')).filter((key) => key.includes(`{${pool}}`)).sort();
const seconds = (n: number) => ({ seconds: String(n), nanos: 0 });

/** What each call answers for a pool that does not exist. `makes`: it is one of the few that make it; `no pool`: it names none. */
const CALLS: Record<string, 'makes' | 'no pool' | ((pool: string) => Promise<unknown>)> = {
  submitJob: 'makes',
  batchSubmitJobs: 'makes',
  runJob: 'makes',
  session: 'makes',
  register: 'makes',
  attach: 'makes',
  listPools: 'no pool',
  listReplicas: 'no pool',
  waitJob: (pool) => replica.api.waitJob({ pool, id: 'j1', wait: seconds(1) }),
  getJob: (pool) => replica.api.getJob({ pool, id: 'j1' }),
  listJobs: (pool) => replica.api.listJobs({ pool, state: 0, pageSize: 0, pageToken: '' }),
  cancelJob: (pool) => replica.api.cancelJob({ pool, id: 'j1' }),
  retryJob: (pool) => replica.api.retryJob({ pool, id: 'j1' }),
  ping: (pool) => replica.api.ping({ pool, id: 'w1', boot: '' }).then(({ healthy }) => expect(healthy).toBe(false)),
  deregister: (pool) => replica.api.deregister({ pool, id: 'w1', boot: '', drainTimeout: seconds(1) }),
  report: (pool) => {
    const beat = { held: [{ jobId: 'j1', fence: '1', done: false, progress: Buffer.from('x') }] };
    const results = [{ jobId: 'j1', fence: '1', outcome: { $case: 'output' as const, value: Buffer.from('x') } }];
    return replica.api
      .report({ pool, workerId: 'w1', boot: 'b', results, beat })
      .then(({ settlements }) => expect(settlements[0]?.verdict).toBeGreaterThan(0));
  },
  listWorkers: (pool) => replica.api.listWorkers({ pool, state: 0, pageSize: 0, pageToken: '' }),
  getWorker: (pool) => replica.api.getWorker({ pool, id: 'w1' }),
  drainWorker: (pool) => replica.api.drainWorker({ pool, id: 'w1' }),
  undrainWorker: (pool) => replica.api.undrainWorker({ pool, id: 'w1' }),
  evictWorker: (pool) => replica.api.evictWorker({ pool, id: 'w1', reason: '' }),
  pausePool: (pool) => replica.api.pausePool({ pool }),
  resumePool: (pool) => replica.api.resumePool({ pool }),
  purgePool: async (pool) => {
    await refusal(replica.api.purgePool({ pool, scope: PurgeScope.PURGE_SCOPE_QUEUED }));
    return replica.api.purgePool({ pool, scope: PurgeScope.PURGE_SCOPE_BURIED });
  },
  deletePool: (pool) => replica.api.deletePool({ pool }),
  retryBuried: (pool) => replica.api.retryBuried({ pool }),
  putPoolDescriptors: (pool) => replica.api.putPoolDescriptors({ pool, fileDescriptorSet: emptyFiles({ 'a.proto': [] }) }),
  getPoolDescriptors: (pool) => replica.api.getPoolDescriptors({ pool }),
  watchEvents: async (pool) => {
    for await (const _ of replica.api.watchEvents({ pool, after: '', within: seconds(1) }));
  },
};
/** Their callers go on by what they are told: a worker registers, and a result of a pool that is gone has its verdict. */
const ANSWERED = ['ping', 'report'];

test('every call that names a pool that does not exist is NOT_FOUND with the remedy, and makes no key', async () => {
  const all = [JobServiceService, WorkerServiceService, AdminServiceService].flatMap((service) => Object.keys(service));
  expect(all.sort()).toEqual(Object.keys(CALLS).sort());
  for (const [name, call] of Object.entries(CALLS)) {
    if (typeof call === 'string') continue;
    const pool = `typo-${name.toLowerCase()}`;
    const error = await call(pool).then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    if (ANSWERED.includes(name)) expect(error, name).toBeUndefined();
    else {
      expect(error, name).toBeInstanceOf(ApiError);
      expect({ name, code: (error as ApiError).codeName }).toEqual({ name, code: 'NOT_FOUND' });
      expect((error as ApiError).message, name).toContain(pool);
    }
    expect(await keysOf(pool), name).toEqual([]);
  }
  expect((await replica.api.listPools({})).pools.filter(({ name }) => name.startsWith('typo-'))).toEqual([]);
});

test('a pool of a typing error is purged and deleted; a pool in use is not', async () => {
  const pool = 'deleted';
  await replica.api.submitJob({ spec: jobSpec({ pool, id: 'j1', work: { $case: 'kind', value: 'echo' } }) });
  const refused = await refusal(replica.api.deletePool({ pool }));
  expect({ code: refused.codeName, reason: refused.reason, field: refused.details.fields[0]?.field }).toEqual({
    code: 'FAILED_PRECONDITION',
    reason: 'POOL_IN_USE',
    field: 'pool',
  });
  await replica.api.purgePool({ pool, scope: PurgeScope.PURGE_SCOPE_QUEUED });
  expect(await replica.api.deletePool({ pool })).toEqual({ done: true });
  expect(await keysOf(pool)).toEqual([]);
  await replica.api.submitJob({ spec: jobSpec({ pool, id: 'j1', work: { $case: 'kind', value: 'echo' } }) });
  expect((await replica.api.listPools({})).pools.map(({ name }) => name)).toContain(pool);
});

test('Redis loses its data: workers come back, pools are ticked, waits are answered, and what was written once is there again', async () => {
  const pool = 'flushed';
  const worker = new Worker({ target: replica.target, pool, id: 'w1' }).handle('echo', async (x) => x);
  const client = new Client({ target: replica.target });
  await worker.start({ signals: false });
  expect(await client.run('echo', 1, { pool })).toBe(1);
  await replica.api.submitJob({ spec: jobSpec({ pool: 'lost', id: 'waits', work: { $case: 'kind', value: 'echo' } }) });
  const waiting = refusal(replica.api.waitJob({ pool: 'lost', id: 'waits', wait: seconds(30) }));
  await until(() => redis.hget('muster:{lost}:job:waits', 'waiter'));
  await redis.flushall();
  expect((await waiting).codeName).toBe('NOT_FOUND');
  const after = async () => {
    const [schema, pools, record, ticked] = await Promise.all([
      redis.get('muster:schema'),
      redis.smembers('muster:pools'),
      redis.exists(`muster:replica:${replica.id}`),
      redis.hget(`muster:{${pool}}:meta`, 'ticked'),
    ]);
    return schema !== null && pools.includes(pool) && record === 1 && ticked !== null;
  };
  await until(after, { what: 'the pool to be ticked, without any call by a client' });
  // Its retry needs a tick.
  let tries = 0;
  const again = new Worker({ target: replica.target, pool: 'again', id: 'w1' }).handle('flaky', async (x) => {
    if (tries++ === 0) throw new Error('once more');
    return x;
  });
  await again.start({ signals: false });
  expect(await client.run('echo', 2, { pool })).toBe(2);
  expect(await client.run('flaky', 3, { pool: 'again', retry: { initialBackoffMs: 50 } })).toBe(3);
  expect(await redis.smembers('muster:pools')).not.toContain('lost');
  await Promise.all([worker.stop(), again.stop(), client.close()]);
});
