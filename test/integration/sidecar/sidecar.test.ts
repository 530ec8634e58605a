import { randomUUID } from 'node:crypto';
import type { ServerUnaryCall, sendUnaryData } from '@grpc/grpc-js';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type JobRequest, type JobResponse, JobResponse as JobResponseType } from '../../../src/grpc/generated/job/job.js';
import type { Worker } from '../../../src/grpc/generated/muster/v1/admin.js';
import type { JobSpec } from '../../../src/grpc/generated/muster/v1/job.js';
import { type Api, connect } from '../../../src/sdk/connect.js';
import { jobSpec, runToEnd } from '../../../src/sdk/run.js';
import { Sidecar, type SidecarOptions } from '../../../src/sdk/sidecar/sidecar.js';
import { setOf } from '../../helpers/descriptors.js';
import { ownRedis, uniquePool } from '../../helpers/redis.js';
import { until } from '../../helpers/until.js';
import { muster } from '../../unit/cli/harness.js';
import { startReplica } from './replica.js';
import { echo, type RunJob, startUpstream, type UpstreamServer, type UpstreamServerOptions } from './upstream.js';

const RUN = '/job.JobService/RunJob';
const MAX_RESULT_BYTES = 4_096;

let replica: Awaited<ReturnType<typeof startReplica>>;
let api: Api;
const ends: (() => unknown)[] = [];

beforeAll(async () => {
  replica = await startReplica((await ownRedis()).url, { MUSTER_MAX_RESULT_BYTES: String(MAX_RESULT_BYTES) });
  api = connect(replica.target);
});
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});
afterAll(async () => {
  api.close();
  await replica.stop();
});

async function upstream(options: UpstreamServerOptions = {}): Promise<UpstreamServer> {
  const server = await startUpstream(options);
  ends.push(server.kill);
  return server;
}

interface Beside {
  sidecar: Sidecar;
  pool: string;
  story: string[];
}

/** A sidecar beside that server, in a pool of its own. */
function sidecarOf(target: string, options: Partial<SidecarOptions> = {}): Beside {
  const pool = options.pool ?? uniquePool();
  const story: string[] = [];
  const sidecar = new Sidecar({
    target: replica.target,
    pool,
    upstream: target,
    id: 'side',
    healthIntervalMs: 50,
    healthTimeoutMs: 500,
    maxResultBytes: MAX_RESULT_BYTES,
    tell: (line) => story.push(line),
    ...options,
  });
  sidecar.start();
  ends.push(() => sidecar.stop());
  return { sidecar, pool, story };
}

async function workerOf(pool: string): Promise<Worker> {
  const { worker } = await api.getWorker({ pool, id: 'side' });
  if (worker === undefined) throw new Error('no worker');
  return worker;
}

const slots = (pool: string, count: number) => until(async () => (await workerOf(pool)).slots === count, { what: `${count} slots` });
const free = (pool: string) => until(async () => (await workerOf(pool)).held.length === 0, { what: 'nothing held' });

function job(pool: string, repoUrl: string, spec: Partial<JobSpec> = {}): JobSpec {
  const payload = jobSpec({}).payload;
  return { ...jobSpec({ id: randomUUID(), pool, payload }), work: { $case: 'method', value: RUN }, payload: request(repoUrl), ...spec };
}

/** JobRequest{repoUrl = 2}, for texts below 128 bytes. */
function request(repoUrl: string): Buffer {
  return Buffer.concat([Buffer.from([0x12, repoUrl.length]), Buffer.from(repoUrl)]);
}

/** Calls that wait until they are told. */
function gate() {
  const open: { call: ServerUnaryCall<JobRequest, JobResponse>; done: sendUnaryData<JobResponse> }[] = [];
  const runJob: RunJob = (call, done) => void open.push({ call, done });
  return { open, runJob };
}

describe('a sidecar', () => {
  it('makes the server beside it a worker: muster run --json encodes, runs and prints', async () => {
    const server = await upstream();
    const { pool } = sidecarOf(server.target, { slots: 3, region: 'eu', labels: { zone: 'a' } });
    await until(async () => (await api.getPoolDescriptors({ pool })).fileDescriptorSet.length > 0);
    const typed = { env: { MUSTER_TARGET: replica.target } };
    const args = ['run', '--pool', pool, '--method', RUN, '--metadata', 'trace=t1', '--json', '{"jobId": "j1", "repoUrl": "https://example.com/ä"}'];
    const ran = await muster(args, typed);
    expect([ran.code, ran.json()]).toEqual([0, { jobId: 'j1', success: true, logs: 'https://example.com/ä', imageUrl: '', error: '' }]);
    const headers = server.calls[0]?.metadata;
    expect([headers?.get('trace'), headers?.get('muster-attempt')]).toEqual([['t1'], ['1']]);
    expect(await workerOf(pool)).toMatchObject({ slots: 3, region: 'eu', labels: { zone: 'a' }, state: 1 });

    const submitted = await muster(['submit', '--pool', pool, '--method', RUN, '--json', '{"repoUrl": "x"}'], typed);
    const decoded = await muster(['wait', '--pool', pool, '--decode', submitted.text.trim()], typed);
    expect(decoded.json()).toMatchObject({ logs: 'x' });
    const whole = await muster([...args, '-o', 'json'], typed);
    expect(whole.json()).toMatchObject({ state: 'succeeded', outputJson: { jobId: 'j1' } });
    const raw = await muster(['run', '--pool', pool, '--method', '/job.JobService/Ping'], typed);
    expect(raw.out).toEqual(Buffer.from([0x0a, 2, 0x75, 0x70, 0x10, 1]));
  });

  it('puts a descriptor file where the server has no reflection, and works without either', async () => {
    const server = await upstream({ reflection: 'none', health: false });
    const bare = sidecarOf(server.target);
    expect((await runToEnd(api, job(bare.pool, 'x'))).outcome?.$case).toBe('output');
    await until(() => bare.story.some((line) => line.includes('serves no reflection')));
    const { pool } = sidecarOf(server.target, { descriptors: setOf('job/job.proto') });
    await until(async () => (await api.getPoolDescriptors({ pool })).fileDescriptorSet.equals(setOf('job/job.proto')));
  });

  it('attaches only once the server serves', async () => {
    const first = await upstream();
    first.kill();
    const { pool, story } = sidecarOf(first.target);
    await until(() => story.some((line) => line.includes('does not serve: unreachable')));
    await expect(api.getWorker({ pool, id: 'side' })).rejects.toThrow(/has no worker/);
    await upstream({ port: first.port });
    await slots(pool, 1);
  });

  it('takes no jobs while the server does not serve, and takes them again after', async () => {
    const server = await upstream();
    const { pool } = sidecarOf(server.target, { slots: 2 });
    await slots(pool, 2);
    server.health.set('', false);
    await slots(pool, 0);
    const spec = job(pool, 'later');
    await api.submitJob({ spec });
    // Health is asked many times meanwhile.
    await until(async () => (await api.getJob({ pool, id: spec.id })).job?.waitingReason === 'no_free_worker');
    expect(server.calls).toHaveLength(0);
    server.health.set('', true);
    const done = await runToEnd(api, spec);
    expect([done.outcome?.$case, done.attempt]).toEqual(['output', 1]);
    await slots(pool, 2);
  });

  it('has a call that broke with the server run again once the server is back', async () => {
    const { open, runJob } = gate();
    const server = await upstream({ runJob });
    const { pool } = sidecarOf(server.target);
    const running = runToEnd(api, job(pool, 'again'));
    await until(() => open.length === 1);
    server.kill();
    await slots(pool, 0);
    const back = await upstream({ port: server.port });
    const done = await running;
    expect([done.outcome?.$case, done.attempt]).toEqual(['output', 2]);
    expect(back.calls.map(({ request: { repoUrl } }) => repoUrl)).toEqual(['again']);
    expect(back.calls[0]?.metadata.get('muster-attempt')).toEqual(['2']);
  });

  it('cancels the call when the job is cancelled, and when its time is over', async () => {
    const { open, runJob } = gate();
    const server = await upstream({ runJob });
    const { pool } = sidecarOf(server.target);
    const cancelled = job(pool, 'one');
    await api.submitJob({ spec: cancelled });
    await until(() => open.length === 1);
    await until(async () => (await workerOf(pool)).held.length === 1);
    expect(open[0]?.call.cancelled).toBe(false);
    await api.cancelJob({ pool, id: cancelled.id });
    await until(() => open[0]?.call.cancelled);
    await free(pool);
    const late = job(pool, 'two', { runTimeout: { seconds: '0', nanos: 200_000_000 }, retry: jobSpec({ retry: { maxAttempts: 1 } }).retry });
    const startedAt = performance.now();
    const done = await runToEnd(api, late);
    expect(done.outcome).toMatchObject({ $case: 'failure', value: { code: 4, reason: 'run_timeout' } });
    expect(performance.now() - startedAt).toBeGreaterThan(190);
    await until(() => open[1]?.call.cancelled);
    await free(pool);
  });

  it.each<[string, string, UpstreamServerOptions['runJob'], object]>([
    ['an answer above the limit', RUN, sized(MAX_RESULT_BYTES + 1), { code: 8, reason: 'result_too_large', retryable: false }],
    ['an answer far above the limit', RUN, sized(1_000_000), { code: 8, reason: 'result_too_large', retryable: false }],
    ['a method that the server does not have', '/job.JobService/Nothing', echo, { code: 12, reason: 'unknown_method', retryable: true }],
    ['a mistake of the caller', RUN, (_, done) => done({ code: 3, details: 'bad branch' }), { code: 3, message: 'bad branch', retryable: false }],
    [
      'an error of the server',
      RUN,
      (_, done) => done({ code: 13, details: 'oops' }),
      { code: 13, message: 'oops', reason: 'worker_error', retryable: true },
    ],
  ])('fails a job for %s', async (_, method, runJob, failure) => {
    const server = await upstream({ runJob });
    const { pool } = sidecarOf(server.target);
    const spec = job(pool, 'x', { work: { $case: 'method', value: method }, retry: jobSpec({ retry: { maxAttempts: 1 } }).retry });
    expect((await runToEnd(api, spec)).outcome).toMatchObject({ $case: 'failure', value: failure });
    // It goes on.
    expect((await runToEnd(api, job(pool, 'x', { work: { $case: 'method', value: '/job.JobService/Ping' } }))).outcome?.$case).toBe('output');
  });

  it('fails a job that names a kind', async () => {
    const { pool } = sidecarOf((await upstream()).target);
    const spec = job(pool, 'x', { work: { $case: 'kind', value: 'echo' }, retry: jobSpec({ retry: { maxAttempts: 1 } }).retry });
    expect((await runToEnd(api, spec)).outcome).toMatchObject({ value: { code: 12, reason: 'unknown_kind' } });
  });

  it('drained, finishes what runs, takes nothing new, and leaves the roll', async () => {
    const { open, runJob } = gate();
    const server = await upstream({ runJob });
    const { sidecar, pool } = sidecarOf(server.target);
    const running = runToEnd(api, job(pool, 'last'));
    await until(() => open.length === 1);
    const drained = sidecar.drain();
    await until(async () => (await workerOf(pool)).state === 3, { what: 'draining' });
    const waiting = job(pool, 'next');
    await api.submitJob({ spec: waiting });
    open[0]?.done(null, JobResponseType.fromPartial({ logs: 'finished' }));
    expect((await running).attempt).toBe(1);
    await drained;
    expect(open).toHaveLength(1);
    await until(() =>
      api.getWorker({ pool, id: 'side' }).then(
        ({ worker }) => worker?.state === 5,
        () => true,
      ),
    );
    expect((await api.getJob({ pool, id: waiting.id })).job?.state).toBe(2);
  });
});

function sized(bytes: number): RunJob {
  return (_, done) => done(null, JobResponseType.fromPartial({ logs: 'x'.repeat(bytes) }));
}
