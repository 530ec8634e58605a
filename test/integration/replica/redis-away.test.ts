import { credentials } from '@grpc/grpc-js';
import { Redis } from 'ioredis';
import { beforeEach, describe, expect, test } from 'vitest';
import { HealthClient, HealthCheckResponse_ServingStatus as Serving } from '../../../src/grpc/generated/grpc/health/v1/health.js';
import { WorkerState } from '../../../src/grpc/generated/muster/v1/admin.js';
import { JobState } from '../../../src/grpc/generated/muster/v1/job.js';
import type { EmbeddedRedis } from '../../../src/lifecycle/embedded-redis.js';
import { toDuration } from '../../../src/sdk/duration.js';
import { jobSpec, runToEnd } from '../../../src/sdk/run.js';
import { keys } from '../../../src/store/keys.js';
import { firstContract } from '../../helpers/first-contract.js';
import { ownRedis, uniquePool } from '../../helpers/redis.js';
import { until } from '../../helpers/until.js';
import { endOf, getJob, getWorker, jobIn, type Running, refusal, startReplica, submit, text } from './support.js';
import { acceptingWorker, register, runnerWorker, type TestRunner } from './workers.js';

/** Redis gone (nobody listens) and Redis silent (connections stay, nothing answers). */
const AWAYS: { how: string; away: (redis: EmbeddedRedis) => void; back: (redis: EmbeddedRedis) => Promise<void> | void }[] = [
  { how: 'gone', away: (redis) => redis.kill(), back: (redis) => redis.restart() },
  { how: 'silent', away: (redis) => redis.pause(), back: (redis) => redis.resume() },
];

/** "Within a second", and what a busy machine adds. REDIS_TIMEOUT_MS is 800. */
const SECOND_MS = 1_000 + 250;

const kind = (value: string) => ({ $case: 'kind', value }) as const;

async function get(port: number, path: string): Promise<number> {
  return (await fetch(`http://127.0.0.1:${port}${path}`, { signal: AbortSignal.timeout(5_000) })).status;
}

function check(target: string): Promise<Serving> {
  const client = new HealthClient(target, credentials.createInsecure());
  return new Promise<Serving>((resolve, reject) => {
    client.check({ service: '' }, (error, answer) => (error ? reject(error) : resolve(answer.status)));
  }).finally(() => client.close());
}

describe.each(AWAYS)('while Redis is $how', ({ away, back }) => {
  let redis: EmbeddedRedis;
  let replica: Running;
  let worker: TestRunner;
  let pool: string;

  beforeEach(async () => {
    pool = uniquePool();
    redis = await ownRedis({ appendonly: true, appendfsync: 'always' });
    replica = await startReplica(redis.url);
    worker = await runnerWorker(replica.target, pool, 'w');
    await runToEnd(replica.api, { pool, id: 'before', work: kind('echo'), payload: text('before') });
    const client = new Redis(redis.url);
    await until(() => client.hget(keys.meta(pool), 'ticked'), { what: 'the first tick' });
    client.disconnect();
  });

  test('every call is UNAVAILABLE within a second, the process is alive and not ready, and all is well again when it is back', async () => {
    const { api, httpPort, target } = replica;
    expect([await get(httpPort, '/readyz'), await get(httpPort, '/livez')]).toEqual([200, 200]);
    const other = await acceptingWorker('w2');
    away(redis);
    const spec = (id: string) => jobSpec({ pool, id, work: kind('echo'), payload: text(id) });
    const calls: Record<string, () => Promise<unknown>> = {
      SubmitJob: () => api.submitJob({ spec: spec('during') }),
      RunJob: () => api.runJob({ spec: spec('during'), wait: toDuration(10_000), cancelOnDisconnect: false }),
      GetJob: () => api.getJob({ pool, id: 'before' }),
      WaitJob: () => api.waitJob({ pool, id: 'before', wait: toDuration(10_000) }),
      CancelJob: () => api.cancelJob({ pool, id: 'before' }),
      ListJobs: () => api.listJobs({ pool, state: JobState.JOB_STATE_SUCCEEDED, pageSize: 0, pageToken: '' }),
      Register: () => register(api, { id: 'w2', pool, port: other.port }),
      Ping: () => api.ping({ id: 'w', pool, boot: worker.boot }),
      Report: () =>
        api.report({
          pool,
          workerId: 'w',
          boot: worker.boot,
          results: [{ jobId: 'x', fence: '1', outcome: { $case: 'output', value: text('x') } }],
          beat: undefined,
        }),
      GetWorker: () => api.getWorker({ pool, id: 'w' }),
      ListReplicas: () => api.listReplicas({}),
      DrainWorker: () => api.drainWorker({ pool, id: 'w' }),
    };
    const took: Record<string, number> = {};
    for (const [name, call] of Object.entries(calls)) {
      const began = performance.now();
      const error = await refusal(call());
      took[name] = Math.round(performance.now() - began);
      expect(error.codeName, name).toBe('UNAVAILABLE');
      expect(error.reason, name).toMatch(/^REDIS_(AWAY|UNKNOWN)$/);
    }
    expect(Object.entries(took).filter(([, ms]) => ms > SECOND_MS)).toEqual([]);
    const legacy = firstContract(target);
    await expect(legacy.ping({ id: 'w' })).rejects.toMatchObject({ code: 14 });
    legacy.close();

    expect([await get(httpPort, '/readyz'), await get(httpPort, '/livez')]).toEqual([503, 200]);
    expect(await check(target)).toBe(Serving.SERVING);

    await back(redis);
    await until(async () => (await get(httpPort, '/readyz')) === 200, { what: 'the replica to be ready again' });
    const began = performance.now();
    expect(endOf(await runToEnd(api, { pool, id: 'during', work: kind('echo'), payload: text('during') }))).toMatchObject({ output: 'during' });
    console.info(`FIGURE redisBackToFirstResultMs=${Math.round(performance.now() - began)}`);
    expect(endOf(await getJob(api, pool, 'before'))).toMatchObject({ state: 'JOB_STATE_SUCCEEDED', output: 'before' });
    await until(async () => (await getWorker(api, pool, 'w')).state === WorkerState.WORKER_STATE_FREE, { what: 'the worker to be free' });
  });

  test('a result that comes in the meantime is kept and accepted when it is back: nothing runs twice', async () => {
    const { api } = replica;
    await submit(api, { pool, id: 'j', work: kind('slow'), payload: text('700') });
    await until(() => worker.notes.some(({ event, jobId }) => event === 'start' && jobId === 'j'));
    away(redis);
    await until(() => worker.notes.some(({ event, jobId }) => event === 'end' && jobId === 'j'), { what: 'the job to end' });
    await back(redis);
    expect(endOf(await jobIn(api, pool, 'j', JobState.JOB_STATE_SUCCEEDED))).toMatchObject({ attempt: 1, output: '700' });
    expect(worker.notes.filter(({ event, jobId }) => event === 'start' && jobId === 'j')).toHaveLength(1);
  });

  test('a job that runs on through an outage longer than a lease is not given out again, and its worker lives', async () => {
    const { api, config } = replica;
    const pulse: number[] = [];
    const waiting = runToEnd(
      api,
      { pool, id: 'j', work: kind('slow'), payload: text(String(config.LEASE_MS + 1_500)) },
      { onRetry: () => void pulse.push(performance.now()) },
    );
    await until(() => worker.notes.some(({ event, jobId }) => event === 'start' && jobId === 'j'));
    const began = performance.now();
    away(redis);
    await until(() => performance.now() - began > config.LEASE_MS + 300, { what: 'a lease to pass' });
    await back(redis);
    expect(endOf(await waiting)).toMatchObject({ state: 'JOB_STATE_SUCCEEDED', attempt: 1, worker: 'w' });
    expect(worker.notes.filter(({ event, jobId }) => event === 'start' && jobId === 'j')).toHaveLength(1);
    await until(async () => (await getWorker(api, pool, 'w')).state === WorkerState.WORKER_STATE_FREE, { what: 'the worker to be free' });
    expect((await getWorker(api, pool, 'w')).boot).toBe(worker.boot);
  });
});
