import { beforeAll, describe, expect, test } from 'vitest';
import { JobRequest } from '../../../src/grpc/generated/job/job.js';
import { WorkerState } from '../../../src/grpc/generated/muster/v1/admin.js';
import { Contract } from '../../../src/grpc/generated/muster/v1/common.js';
import { JobState } from '../../../src/grpc/generated/muster/v1/job.js';
import type { Api } from '../../../src/sdk/connect.js';
import { toDuration } from '../../../src/sdk/duration.js';
import { runToEnd } from '../../../src/sdk/run.js';
import { ownRedis, uniquePool } from '../../helpers/redis.js';
import { until } from '../../helpers/until.js';
import { endOf, getWorker, jobIn, type Running, startReplica, submit, text } from './support.js';
import { holdingWorker, legacyWorker, methodWorker, register, runnerWorker, SAY } from './workers.js';

let replica: Running;
let api: Api;

beforeAll(async () => {
  const redis = await ownRedis();
  replica = await startReplica(redis.url);
  api = replica.api;
});

const kind = (value: string) => ({ $case: 'kind', value }) as const;
const ms = toDuration;
const timeOf = (date: Date | undefined) => date?.getTime() ?? Number.NaN;
/** Ticks are 50 ms apart here; the rest is a busy machine. */
const LATE_MS = 2_000;

test('a job that no worker took within its queue timeout expires, and one that was taken does not', async () => {
  const pool = uniquePool();
  const spec = { pool, work: kind('slow'), payload: text('400'), queueTimeout: ms(200) };
  const late = await submit(api, { ...spec, id: 'late' });
  const expired = await jobIn(api, pool, 'late', JobState.JOB_STATE_EXPIRED);
  expect(timeOf(expired.finishTime) - timeOf(late.createTime)).toSatisfy((took: number) => took >= 200 && took < 200 + LATE_MS);
  await runnerWorker(replica.target, pool, 'w');
  expect(endOf(await runToEnd(api, { ...spec, id: 'taken' }))).toEqual({ state: 'JOB_STATE_SUCCEEDED', attempt: 1, worker: 'w', output: '400' });
});

test('the total timeout ends a running job, and the worker sees the abort', async () => {
  const pool = uniquePool();
  const worker = await runnerWorker(replica.target, pool, 'w');
  const job = await runToEnd(api, { pool, work: kind('slow'), payload: text('20000'), totalTimeout: ms(300) });
  expect(endOf(job)).toMatchObject({ state: 'JOB_STATE_EXPIRED', attempt: 1 });
  await until(() => worker.notes.length === 2, { what: 'the worker to stop' });
  expect(worker.notes.map(({ event, how }) => [event, how])).toEqual([
    ['start', ''],
    ['end', 'aborted'],
  ]);
  await until(async () => (await getWorker(api, pool, 'w')).state === WorkerState.WORKER_STATE_FREE, { what: 'the slot to be free' });
  expect((await getWorker(api, pool, 'w')).held).toEqual([]);
});

test('the total timeout ends a job that waits for its retry', async () => {
  const pool = uniquePool();
  await runnerWorker(replica.target, pool, 'w');
  const retry = { maxAttempts: 5, initialBackoff: ms(60_000), maxBackoff: ms(60_000) };
  const job = await runToEnd(api, { pool, work: kind('fail'), totalTimeout: ms(400), retry });
  expect(endOf(job)).toMatchObject({ state: 'JOB_STATE_EXPIRED', attempt: 1 });
});

test('an attempt over its run timeout is aborted and spent, and the next one may succeed', async () => {
  const pool = uniquePool();
  const worker = await runnerWorker(replica.target, pool, 'w', {
    more: {
      'slow-once': async ({ attempt, signal }) => {
        if (attempt === 1) await new Promise((_, reject) => signal.addEventListener('abort', () => reject(new Error('aborted'))));
        return text('in time');
      },
    },
  });
  const job = await runToEnd(api, { pool, work: kind('slow-once'), runTimeout: ms(300), retry: { initialBackoff: ms(10) } });
  expect(endOf(job)).toEqual({ state: 'JOB_STATE_SUCCEEDED', attempt: 2, worker: 'w', output: 'in time' });
  expect(worker.notes.map(({ event, attempt, how }) => `${event} ${attempt} ${how}`)).toEqual([
    'start 1 ',
    'end 1 aborted',
    'start 2 ',
    'end 2 done',
  ]);
});

describe('an attempt over its run timeout is spent', () => {
  test('on a worker that does not listen: it gets no other job before it has stopped', async () => {
    const pool = uniquePool();
    const worker = await runnerWorker(replica.target, pool, 'w');
    const spec = { pool, work: kind('deaf'), payload: text('1500') };
    const job = runToEnd(api, { ...spec, runTimeout: ms(200), retry: { maxAttempts: 1 } });
    expect(endOf(await job)).toMatchObject({ state: 'JOB_STATE_FAILED', attempt: 1, reason: 'run_timeout' });
    expect(endOf(await runToEnd(api, { pool, work: kind('echo'), payload: text('next') }))).toMatchObject({ output: 'next' });
    expect(worker.notes.map(({ event }) => event)).toEqual(['start', 'end', 'start', 'end']);
  });

  test('on a RUNNER that heeds no abort: its slot stays taken, also when its call is ended, until it says that it runs it no more', async () => {
    const pool = uniquePool();
    const worker = await holdingWorker('w');
    await register(api, { id: 'w', pool, port: worker.port });
    const job = await runToEnd(api, { pool, id: 'j', work: kind('any'), runTimeout: ms(200), retry: { maxAttempts: 1 } });
    expect(endOf(job)).toMatchObject({ state: 'JOB_STATE_FAILED', attempt: 1, reason: 'run_timeout' });
    await submit(api, { pool, id: 'next', work: kind('any'), payload: text('next') });
    await until(() => worker.cancelled.length > 0, { what: 'the call to be ended' });
    const { probes } = worker;
    await until(() => worker.probes > probes + 1, { what: 'probes' });
    expect((await getWorker(api, pool, 'w')).held).toMatchObject([{ jobId: 'j', quarantined: true }]);
    worker.runs = false;
    const next = await jobIn(api, pool, 'next', JobState.JOB_STATE_SUCCEEDED);
    expect({ handovers: next.handovers, jobs: worker.jobs }).toEqual({ handovers: 0, jobs: ['j', 'next'] });
  });

  test('on a LEGACY worker', async () => {
    const pool = uniquePool();
    const worker = await legacyWorker('old');
    worker.answer = undefined;
    await register(api, { id: 'old', pool, port: worker.port, contract: Contract.CONTRACT_LEGACY });
    const payload = Buffer.from(JobRequest.encode(JobRequest.fromPartial({ jobId: 'j', contextDir: 'a' })).finish());
    const work = { $case: 'method', value: '/job.JobService/RunJob' } as const;
    const job = await runToEnd(api, { pool, work, payload, runTimeout: ms(200), retry: { maxAttempts: 1 } });
    expect(endOf(job)).toMatchObject({ state: 'JOB_STATE_FAILED', attempt: 1, reason: 'run_timeout' });
    // It is busy with what nobody wants any more: its slot stays taken until it says that it is free.
    await submit(api, { pool, id: 'next', work, payload });
    expect((await getWorker(api, pool, 'old')).held).toMatchObject([{ quarantined: true }]);
    worker.answer = () => ({ jobId: 'j', success: true, logs: 'late', imageUrl: '', error: '' });
    const next = await jobIn(api, pool, 'next', JobState.JOB_STATE_SUCCEEDED);
    expect([next.attempt, next.handovers, worker.jobs.length]).toEqual([1, 0, 2]);
  });

  test('on a METHOD worker', async () => {
    const pool = uniquePool();
    const worker = await methodWorker();
    worker.hold = true;
    await register(api, { id: 'm', pool, port: worker.port, contract: Contract.CONTRACT_METHOD });
    const job = await runToEnd(api, {
      pool,
      work: { $case: 'method', value: SAY },
      payload: text('a'),
      runTimeout: ms(200),
      retry: { maxAttempts: 1 },
    });
    expect(endOf(job)).toMatchObject({ state: 'JOB_STATE_FAILED', attempt: 1, reason: 'run_timeout' });
    worker.hold = false;
    expect(endOf(await runToEnd(api, { pool, work: { $case: 'method', value: SAY }, payload: text('b') }))).toMatchObject({ output: 'B' });
  });
});

test('priorities go first, and within one it is first in, first out', async () => {
  const pool = uniquePool();
  const order = [1, 0, 3, 2, 3, 0].map((priority, i) => ({ id: `p${priority}-${i}`, priority }));
  for (const { id, priority } of order) await submit(api, { pool, id, work: kind('echo'), priority });
  const worker = await runnerWorker(replica.target, pool, 'w');
  await until(() => worker.notes.length === 2 * order.length, { what: 'all to run' });
  const begun = worker.notes.filter(({ event }) => event === 'start').map(({ jobId }) => jobId);
  expect(begun).toEqual(['p3-2', 'p3-4', 'p2-3', 'p1-0', 'p0-1', 'p0-5']);
});

test('a job with a later start waits for it as SCHEDULED, and others pass it', async () => {
  const pool = uniquePool();
  const worker = await runnerWorker(replica.target, pool, 'w');
  const notBefore = new Date(Date.now() + 700);
  const job = await submit(api, { pool, id: 'later', work: kind('echo'), notBefore });
  expect([JobState[job.state], job.nextTime]).toEqual(['JOB_STATE_SCHEDULED', notBefore]);
  await runToEnd(api, { pool, id: 'now', work: kind('echo') });
  const later = await jobIn(api, pool, 'later', JobState.JOB_STATE_SUCCEEDED);
  expect(timeOf(later.startTime) - notBefore.getTime()).toSatisfy((late: number) => late >= 0 && late < LATE_MS);
  expect(worker.notes.filter(({ event }) => event === 'start').map(({ jobId }) => jobId)).toEqual(['now', 'later']);
});

describe('retries', () => {
  test('a failed attempt is repeated after its backoff, which grows by the multiplier', async () => {
    const pool = uniquePool();
    const worker = await runnerWorker(replica.target, pool, 'w');
    const retry = { maxAttempts: 3, initialBackoff: ms(200), maxBackoff: ms(10_000), multiplier: 3 };
    const job = await runToEnd(api, { pool, work: kind('flaky'), payload: text('3'), retry });
    expect(endOf(job)).toEqual({ state: 'JOB_STATE_SUCCEEDED', attempt: 3, worker: 'w', output: '3' });
    const at = (event: string, attempt: number) => worker.notes.find((note) => note.event === event && note.attempt === attempt)?.at ?? Number.NaN;
    // A tenth either way, and the clocks of two processes.
    expect(at('start', 2) - at('end', 1)).toSatisfy((gap: number) => gap >= 170 && gap < 220 + LATE_MS);
    expect(at('start', 3) - at('end', 2)).toSatisfy((gap: number) => gap >= 530 && gap < 660 + LATE_MS);
  });

  test('out of attempts it is a dead letter with its payload and last failure, and RetryJob counts anew', async () => {
    const pool = uniquePool();
    const worker = await runnerWorker(replica.target, pool, 'w');
    const retry = { maxAttempts: 2, initialBackoff: ms(10), maxBackoff: ms(10) };
    const job = await runToEnd(api, { pool, id: 'j', work: kind('flaky'), payload: text('3'), retry });
    expect(endOf(job)).toEqual({ state: 'JOB_STATE_FAILED', attempt: 2, worker: 'w', reason: 'handler_threw' });
    expect(job.spec?.payload.toString()).toBe('3');
    expect(await api.listJobs({ pool, state: JobState.JOB_STATE_FAILED, pageSize: 0, pageToken: '' })).toMatchObject({
      jobs: [{ spec: { id: 'j' } }],
    });
    const again = await api.retryJob({ pool, id: 'j' });
    expect(again.job?.attempt).toBeLessThan(2);
    await until(() => worker.notes.length === 8, { what: 'two more attempts' });
    expect(endOf(await jobIn(api, pool, 'j', JobState.JOB_STATE_FAILED))).toMatchObject({ attempt: 2 });
  });

  test('a permanent failure and a fatal code are not repeated', async () => {
    const pool = uniquePool();
    const worker = await runnerWorker(replica.target, pool, 'w');
    const permanent = await runToEnd(api, { pool, work: kind('fail-permanent'), retry: { maxAttempts: 5 } });
    expect(endOf(permanent)).toMatchObject({ state: 'JOB_STATE_FAILED', attempt: 1, reason: 'permanent' });
    const UNKNOWN = 2;
    const fatal = await runToEnd(api, { pool, work: kind('fail'), retry: { maxAttempts: 5, fatalCodes: [UNKNOWN] } });
    expect(endOf(fatal)).toMatchObject({ state: 'JOB_STATE_FAILED', attempt: 1, reason: 'handler_threw' });
    expect(worker.notes.filter(({ event }) => event === 'start')).toHaveLength(2);
  });

  test('a result that is too large fails the job at once', async () => {
    const pool = uniquePool();
    await runnerWorker(replica.target, pool, 'w');
    const job = await runToEnd(api, { pool, work: kind('big'), payload: text('262145') });
    expect(endOf(job)).toMatchObject({ state: 'JOB_STATE_FAILED', attempt: 1, reason: 'result_too_large' });
    const fits = await runToEnd(api, { pool, work: kind('big'), payload: text('262144') });
    expect(fits.outcome?.$case === 'output' ? fits.outcome.value.length : 0).toBe(262_144);
  });

  test('a kind that no worker knows is buried as undeliverable, with no attempt spent', async () => {
    const pool = uniquePool();
    await runnerWorker(replica.target, pool, 'w');
    const job = await runToEnd(api, { pool, work: kind('nobody-knows') });
    expect(endOf(job)).toMatchObject({ state: 'JOB_STATE_FAILED', attempt: 0, reason: 'undeliverable' });
    expect(job.handovers).toBe(replica.config.MAX_HANDOVERS);
  });
});

test('what the attempt is told: id, attempt, payload, metadata', async () => {
  const pool = uniquePool();
  await runnerWorker(replica.target, pool, 'w');
  const job = await runToEnd(api, { pool, id: 'j', work: kind('context'), payload: text('p'), metadata: { tenant: 'zürich' } });
  expect(JSON.parse(endOf(job).output ?? '')).toEqual({ jobId: 'j', attempt: 1, payload: 'p', metadata: { tenant: 'zürich' }, progress: '' });
});
