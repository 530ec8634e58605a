import { credentials } from '@grpc/grpc-js';
import { beforeAll, describe, expect, test } from 'vitest';
import { HealthClient, HealthCheckResponse_ServingStatus as Serving } from '../../../src/grpc/generated/grpc/health/v1/health.js';
import { WorkerState } from '../../../src/grpc/generated/muster/v1/admin.js';
import { JobState } from '../../../src/grpc/generated/muster/v1/job.js';
import { toDuration } from '../../../src/sdk/duration.js';
import { jobSpec, runToEnd } from '../../../src/sdk/run.js';
import { ownRedis, uniquePool } from '../../helpers/redis.js';
import { until } from '../../helpers/until.js';
import { endOf, getJob, getWorker, jobIn, type Running, refusal, startReplica, submit, text } from './support.js';
import { acceptingWorker, register, runnerWorker } from './workers.js';

let url: string;
let stays: Running;

beforeAll(async () => {
  ({ url } = await ownRedis());
  stays = await startReplica(url);
});

const kind = (value: string) => ({ $case: 'kind', value }) as const;
/** Time enough to look around between "not ready" and refusing calls: 1 s. */
const LONG_LEAD = { STOP_LEAD_MS: 10_000 };

async function check(target: string): Promise<Serving> {
  const client = new HealthClient(target, credentials.createInsecure());
  return new Promise<Serving>((resolve, reject) => {
    client.check({ service: '' }, (error, answer) => (error ? reject(error) : resolve(answer.status)));
  }).finally(() => client.close());
}

describe('a replica that is told to stop', () => {
  test('says so at once, takes no more workers, and still serves calls while balancers look away', async () => {
    const pool = uniquePool();
    const leaves = await startReplica(url, LONG_LEAD);
    const worker = await acceptingWorker('late');
    const stopped = leaves.stop();
    const get = async (path: string) => (await fetch(`http://127.0.0.1:${leaves.httpPort}${path}`)).status;
    expect([await get('/readyz'), await get('/readyz?not_ready=404'), await get('/livez'), await check(leaves.target)]).toEqual([
      503,
      404,
      200,
      Serving.NOT_SERVING,
    ]);
    const error = await refusal(register(leaves.api, { id: 'late', pool, port: worker.port }));
    expect([error.codeName, error.reason]).toEqual(['UNAVAILABLE', 'DRAINING']);
    expect(error.details.retryAfterMs).toBeGreaterThan(0);
    expect(await submit(leaves.api, { pool, id: 'j', work: kind('echo') })).toMatchObject({ state: JobState.JOB_STATE_WAITING });
    const { replicas } = await stays.api.listReplicas({});
    expect(replicas.find(({ id }) => id === leaves.id)).toMatchObject({ draining: true });
    await stopped;
    expect((await refusal(leaves.api.getJob({ pool, id: 'j' }))).codeName).toMatch(/UNAVAILABLE|FAILED_PRECONDITION/);
    expect(endOf(await getJob(stays.api, pool, 'j'))).toMatchObject({ state: 'JOB_STATE_WAITING' });
    expect((await stays.api.listReplicas({})).replicas.map(({ id }) => id)).toEqual([stays.id]);
  });

  test('answers who waits with the present state, and the wait goes on elsewhere', async () => {
    const pool = uniquePool();
    const leaves = await startReplica(url, { STOP_LEAD_MS: 0, STOP_GRACE_MS: 10_000 });
    const waiting = leaves.api.runJob(
      { spec: jobSpec({ pool, id: 'j', work: kind('echo') }), wait: toDuration(60_000), cancelOnDisconnect: true },
      { deadlineMs: 60_000 },
    );
    await until(() => getJob(stays.api, pool, 'j'), { what: 'the job to be there' });
    await leaves.stop();
    expect(endOf((await waiting).job)).toEqual({ state: 'JOB_STATE_WAITING', attempt: 0, worker: '' });
    const goesOn = stays.api.waitJob({ pool, id: 'j', wait: toDuration(10_000) });
    await runnerWorker(stays.target, pool, 'w');
    expect(endOf((await goesOn).job)).toMatchObject({ state: 'JOB_STATE_SUCCEEDED', attempt: 1 });
  });

  test('a long job goes on at the worker and is run once: the next home comes for its result', async () => {
    const pool = uniquePool();
    const leaves = await startReplica(url, { STOP_GRACE_MS: 5_000 });
    const worker = await runnerWorker(leaves.target, pool, 'w');
    const { config } = leaves;
    const tookMs = config.STOP_LEAD_MS + config.STOP_GRACE_MS + 2_500;
    await submit(stays.api, { pool, id: 'long', work: kind('slow'), payload: text(String(tookMs)) });
    await until(() => worker.notes.length === 1, { what: 'the job to run' });
    const began = performance.now();
    await leaves.stop();
    expect(performance.now() - began).toBeLessThan(config.STOP_LEAD_MS + config.STOP_GRACE_MS + 1_500);
    const adopted = await until(async () => {
      const record = await getWorker(stays.api, pool, 'w');
      return record.home === stays.id ? record : undefined;
    });
    expect(adopted.held).toMatchObject([{ jobId: 'long', quarantined: false }]);
    expect(endOf(await runToEnd(stays.api, { pool, id: 'long', work: kind('slow'), payload: text(String(tookMs)) }))).toMatchObject({
      state: 'JOB_STATE_SUCCEEDED',
      attempt: 1,
    });
    expect(worker.notes.map(({ event, how }) => `${event} ${how}`)).toEqual(['start ', 'end done']);
    expect(endOf(await runToEnd(stays.api, { pool, work: kind('echo'), payload: text('next') }))).toMatchObject({ output: 'next', attempt: 1 });
  });

  test('a job of the queue goes to its worker under the new home while the old one still stops', async () => {
    const pool = uniquePool();
    const leaves = await startReplica(url, { STOP_GRACE_MS: 20_000 });
    const worker = await runnerWorker(leaves.target, pool, 'w', { slots: 2 });
    await submit(stays.api, { pool, id: 'long', work: kind('slow'), payload: text('3000') });
    await until(() => worker.notes.length === 1);
    const stopped = leaves.stop();
    await until(async () => (await getWorker(stays.api, pool, 'w')).home === stays.id, { what: 'the new home' });
    expect(endOf(await runToEnd(stays.api, { pool, id: 'short', work: kind('echo') }))).toMatchObject({ attempt: 1, worker: 'w' });
    expect(worker.notes.slice(0, 3).map(({ event, jobId }) => `${event} ${jobId}`)).toEqual(['start long', 'start short', 'end short']);
    await stopped;
    expect(endOf(await jobIn(stays.api, pool, 'long', JobState.JOB_STATE_SUCCEEDED))).toMatchObject({ attempt: 1 });
    expect(worker.notes.filter(({ event }) => event === 'start')).toHaveLength(2);
  });

  test('stopping twice is stopping once, and stopping before it started is fine', async () => {
    const leaves = await startReplica(url);
    await Promise.all([leaves.replica.stop(), leaves.replica.stop(), leaves.stop()]);
    expect((await getWorker(stays.api, 'nobody', 'w').catch((error: Error) => error)) instanceof Error).toBe(true);
  });
});

test('a replica whose Redis is away stops within its grace', async () => {
  const redis = await ownRedis();
  const alone = await startReplica(redis.url);
  const pool = uniquePool();
  const worker = await runnerWorker(alone.target, pool, 'w');
  await submit(alone.api, { pool, id: 'j', work: kind('slow'), payload: text('200') });
  await until(() => worker.notes.length === 1);
  redis.kill();
  const began = performance.now();
  await alone.stop();
  // 3 s of them for BullMQ, which waits for its Redis.
  expect(performance.now() - began).toBeLessThan(alone.config.STOP_LEAD_MS + alone.config.STOP_GRACE_MS + 3_000 + 2_000);
  await redis.restart();
});

test('workers of a replica that stopped are free at another within seconds', async () => {
  const pool = uniquePool();
  const leaves = await startReplica(url);
  for (let i = 0; i < 6; i++) await runnerWorker(leaves.target, pool, `w${i}`);
  const began = performance.now();
  const stopped = leaves.stop();
  const homes = async () =>
    (await stays.api.listWorkers({ pool, state: WorkerState.WORKER_STATE_FREE, pageSize: 0, pageToken: '' })).workers.filter(
      ({ home }) => home === stays.id,
    );
  await until(async () => (await homes()).length === 6, { timeoutMs: 30_000, what: 'all to have a new home' });
  console.info(`FIGURE stopRehomeMs=${Math.round(performance.now() - began)}`);
  await stopped;
}, 60_000);
