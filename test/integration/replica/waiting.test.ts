import { beforeAll, describe, expect, test } from 'vitest';
import { WorkerState } from '../../../src/grpc/generated/muster/v1/admin.js';
import { JobState } from '../../../src/grpc/generated/muster/v1/job.js';
import { type Api, connect } from '../../../src/sdk/connect.js';
import { toDuration } from '../../../src/sdk/duration.js';
import { jobSpec, runToEnd } from '../../../src/sdk/run.js';
import { ownRedis, uniquePool } from '../../helpers/redis.js';
import { until } from '../../helpers/until.js';
import { endOf, getJob, getWorker, jobIn, type Running, refusal, startReplica, submit, text } from './support.js';
import { runnerWorker } from './workers.js';

let a: Running;
let b: Running;
let api: Api;

beforeAll(async () => {
  const redis = await ownRedis();
  // Waiters read again only after 20 s: whoever learns of an end before that was told.
  [a, b] = (await Promise.all([1, 2].map(() => startReplica(redis.url, { WAIT_REREAD_MS: 200_000 })))) as [Running, Running];
  api = a.api;
});

const kind = (value: string) => ({ $case: 'kind', value }) as const;
const running = (notes: { event: string }[]) => until(() => notes.some(({ event }) => event === 'start'), { what: 'the job to run' });

describe('hand-over between replicas', () => {
  test('a job submitted at A runs on a worker whose home is B, and A learns its end by B', async () => {
    const pool = uniquePool();
    await runnerWorker(b.target, pool, 'w');
    expect((await getWorker(api, pool, 'w')).home).toBe(b.id);
    const job = await api.runJob({
      spec: jobSpec({ pool, work: kind('echo'), payload: text('over') }),
      wait: toDuration(5_000),
      cancelOnDisconnect: false,
    });
    expect(endOf(job.job)).toEqual({ state: 'JOB_STATE_SUCCEEDED', attempt: 1, worker: 'w', output: 'over' });
    expect(job.job?.handovers).toBe(0);
  });

  test('the end is told, not read again', async () => {
    const pool = uniquePool();
    await runnerWorker(b.target, pool, 'w');
    const took: number[] = [];
    for (let i = 0; i < 20; i++) {
      const began = performance.now();
      await runToEnd(api, { pool, work: kind('echo') });
      took.push(performance.now() - began);
    }
    const median = took.sort((x, y) => x - y)[10] ?? Number.NaN;
    console.info(`FIGURE handoverMs=${median.toFixed(1)}`);
    expect(median).toBeLessThan(5_000);
  });

  test('whoever waits at A and whoever waits at B both learn the end', async () => {
    const pool = uniquePool();
    await submit(api, { pool, id: 'j', work: kind('slow'), payload: text('50') });
    const waits = [a, b, a, b].map((at) => at.api.waitJob({ pool, id: 'j', wait: toDuration(10_000) }));
    await runnerWorker(b.target, pool, 'w');
    const ends = await Promise.all(waits);
    expect(ends.map(({ job }) => endOf(job))).toEqual(Array(4).fill({ state: 'JOB_STATE_SUCCEEDED', attempt: 1, worker: 'w', output: '50' }));
  });
});

describe('submission under one id is exactly once', () => {
  test('from two replicas at once, many times', async () => {
    const pool = uniquePool();
    const worker = await runnerWorker(a.target, pool, 'w', { slots: 4 });
    const apis = [a.api, b.api, a.api, b.api];
    for (let i = 0; i < 25; i++) {
      const spec = jobSpec({ pool, id: `j${i}`, work: kind('echo'), payload: text(String(i)) });
      const answers = await Promise.all(apis.map((one) => one.submitJob({ spec })));
      expect(answers.filter(({ created }) => created)).toHaveLength(1);
    }
    await until(() => worker.notes.length >= 50, { what: 'all to run' });
    expect(
      worker.notes
        .filter(({ event }) => event === 'start')
        .map(({ jobId }) => jobId)
        .sort(),
    ).toEqual(Array.from({ length: 25 }, (_, i) => `j${i}`).sort());
  });

  test('RunJob of a job that ended answers with its end, at any replica', async () => {
    const pool = uniquePool();
    const worker = await runnerWorker(a.target, pool, 'w');
    const spec = { pool, id: 'j', work: kind('echo'), payload: text('once') };
    const ends = [await runToEnd(a.api, spec), await runToEnd(b.api, spec), await runToEnd(a.api, spec)];
    expect(ends.map(endOf)).toEqual(Array(3).fill({ state: 'JOB_STATE_SUCCEEDED', attempt: 1, worker: 'w', output: 'once' }));
    expect(worker.notes).toHaveLength(2);
  });
});

describe('a wait that is over first', () => {
  test('is OK with the present state: by its own word', async () => {
    const pool = uniquePool();
    const began = performance.now();
    const { job } = await api.runJob({ spec: jobSpec({ pool, id: 'j', work: kind('echo') }), wait: toDuration(200), cancelOnDisconnect: false });
    expect(performance.now() - began).toSatisfy((took: number) => took >= 195 && took < 2_000);
    expect(endOf(job)).toEqual({ state: 'JOB_STATE_WAITING', attempt: 0, worker: '' });
    expect(job?.waitingReason).toBe('no_worker');
    const zero = await api.waitJob({ pool, id: 'j', wait: toDuration(0) });
    expect(endOf(zero.job)).toEqual({ state: 'JOB_STATE_WAITING', attempt: 0, worker: '' });
  });

  test('is OK with the present state: by the deadline of the call, shortly before it', async () => {
    const pool = uniquePool();
    const call = () => api.runJob({ spec: jobSpec({ pool, work: kind('echo') }), wait: undefined, cancelOnDisconnect: true }, { deadlineMs: 600 });
    // On a machine that is busy for 100 ms the answer comes too late, once or twice.
    const { job } = await until(call, { what: 'an answer before the deadline' });
    expect(endOf(job)).toMatchObject({ state: 'JOB_STATE_WAITING' });
  });

  test('says why the job waits', async () => {
    const pool = uniquePool();
    await runnerWorker(a.target, pool, 'w');
    await submit(api, { pool, id: 'first', work: kind('slow'), payload: text('10000') });
    await submit(api, { pool, id: 'second', work: kind('echo') });
    expect((await getJob(api, pool, 'second')).waitingReason).toBe('no_free_worker');
    await api.pausePool({ pool });
    expect((await getJob(api, pool, 'second')).waitingReason).toBe('pool_paused');
    await api.cancelJob({ pool, id: 'first' });
    await until(async () => (await getWorker(api, pool, 'w')).state === WorkerState.WORKER_STATE_FREE, { what: 'the worker to be free' });
    expect((await getJob(api, pool, 'second')).state).toBe(JobState.JOB_STATE_WAITING);
    await api.resumePool({ pool });
    await jobIn(api, pool, 'second', JobState.JOB_STATE_SUCCEEDED);
  });
});

describe('cancel', () => {
  test('a waiting job ends at once, for its waiter too, and never runs', async () => {
    const pool = uniquePool();
    const waiting = runToEnd(b.api, { pool, id: 'j', work: kind('echo') });
    await until(() => getJob(api, pool, 'j'), { what: 'the job to be there' });
    const { job } = await api.cancelJob({ pool, id: 'j' });
    expect(endOf(job)).toEqual({ state: 'JOB_STATE_CANCELLED', attempt: 0, worker: '' });
    expect(endOf(await waiting)).toMatchObject({ state: 'JOB_STATE_CANCELLED', attempt: 0 });
    const worker = await runnerWorker(a.target, pool, 'w');
    await runToEnd(api, { pool, id: 'other', work: kind('echo') });
    expect(worker.notes.map(({ jobId }) => jobId)).toEqual(['other', 'other']);
  });

  test.each(['a', 'b'])('a running job ends at once, and its worker, whose home is %s, sees the abort', async (home) => {
    const pool = uniquePool();
    const worker = await runnerWorker(home === 'a' ? a.target : b.target, pool, 'w');
    const waiting = runToEnd(api, { pool, id: 'j', work: kind('slow'), payload: text('20000') });
    await running(worker.notes);
    await api.cancelJob({ pool, id: 'j' });
    expect(endOf(await waiting)).toMatchObject({ state: 'JOB_STATE_CANCELLED', attempt: 1 });
    await until(() => worker.notes.length === 2, { what: 'the worker to stop' });
    expect(worker.notes[1]).toMatchObject({ event: 'end', how: 'aborted' });
    expect(endOf(await runToEnd(api, { pool, work: kind('echo'), payload: text('next') }))).toMatchObject({ output: 'next', attempt: 1 });
    expect(endOf(await getJob(api, pool, 'j'))).toMatchObject({ state: 'JOB_STATE_CANCELLED' });
  });

  test('a worker that does not listen gets no other job before it is done, and its late result changes nothing', async () => {
    const pool = uniquePool();
    const worker = await runnerWorker(a.target, pool, 'w');
    await submit(api, { pool, id: 'j', work: kind('deaf'), payload: text('1200') });
    await running(worker.notes);
    await api.cancelJob({ pool, id: 'j' });
    const next = await runToEnd(api, { pool, id: 'next', work: kind('echo') });
    expect([endOf(next).state, next.attempt, next.handovers]).toEqual(['JOB_STATE_SUCCEEDED', 1, 0]);
    expect(worker.notes.map(({ event, jobId }) => `${event} ${jobId}`)).toEqual(['start j', 'end j', 'start next', 'end next']);
    expect(endOf(await getJob(api, pool, 'j'))).toMatchObject({ state: 'JOB_STATE_CANCELLED' });
  });

  test('a job that ended stays as it ended', async () => {
    const pool = uniquePool();
    await runnerWorker(a.target, pool, 'w');
    const job = await runToEnd(api, { pool, id: 'j', work: kind('echo'), payload: text('x') });
    const { job: after } = await api.cancelJob({ pool, id: 'j' });
    expect(endOf(after)).toEqual(endOf(job));
  });
});

describe('a call that is broken off', () => {
  test('cancels the job with cancel_on_disconnect, and the worker sees the abort', async () => {
    const pool = uniquePool();
    const worker = await runnerWorker(b.target, pool, 'w');
    const own = new AbortController();
    const broken = refusal(
      a.api.runJob(
        { spec: jobSpec({ pool, id: 'j', work: kind('slow'), payload: text('20000') }), wait: undefined, cancelOnDisconnect: true },
        { signal: own.signal },
      ),
    );
    await running(worker.notes);
    own.abort();
    expect((await broken).codeName).toBe('CANCELLED');
    await jobIn(api, pool, 'j', JobState.JOB_STATE_CANCELLED);
    await until(() => worker.notes.length === 2, { what: 'the worker to stop' });
    expect(worker.notes[1]).toMatchObject({ how: 'aborted' });
  });

  test('without it the job goes on', async () => {
    const pool = uniquePool();
    const worker = await runnerWorker(b.target, pool, 'w');
    const own = connect(a.target);
    const spec = jobSpec({ pool, id: 'j', work: kind('slow'), payload: text('600') });
    const broken = refusal(own.runJob({ spec, wait: undefined, cancelOnDisconnect: false }));
    await running(worker.notes);
    own.close();
    expect((await broken).codeName).toBe('CANCELLED');
    expect((await refusal(own.getJob({ pool, id: 'j' }))).reason).toBe('CLOSED');
    expect(endOf(await jobIn(api, pool, 'j', JobState.JOB_STATE_SUCCEEDED))).toMatchObject({ attempt: 1, output: '600' });
  });

  test('a call that waits for its job in the queue and is broken off takes it out', async () => {
    const pool = uniquePool();
    const own = new AbortController();
    const broken = refusal(
      a.api.runJob({ spec: jobSpec({ pool, id: 'j', work: kind('echo') }), wait: undefined, cancelOnDisconnect: true }, { signal: own.signal }),
    );
    await until(() => getJob(api, pool, 'j'), { what: 'the job to be there' });
    own.abort();
    await broken;
    expect(endOf(await jobIn(api, pool, 'j', JobState.JOB_STATE_CANCELLED))).toMatchObject({ attempt: 0 });
  });
});
