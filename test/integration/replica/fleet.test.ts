import { beforeAll, describe, expect, test } from 'vitest';
import { JobRequest, JobResponse } from '../../../src/grpc/generated/job/job.js';
import { WorkerState } from '../../../src/grpc/generated/muster/v1/admin.js';
import { Contract } from '../../../src/grpc/generated/muster/v1/common.js';
import { JobState } from '../../../src/grpc/generated/muster/v1/job.js';
import { toDuration } from '../../../src/sdk/duration.js';
import { runToEnd } from '../../../src/sdk/run.js';
import { firstContract } from '../../helpers/first-contract.js';
import { ownRedis, uniquePool } from '../../helpers/redis.js';
import { until } from '../../helpers/until.js';
import { endOf, getJob, getWorker, jobIn, type Running, startReplica, submit, text } from './support.js';
import { acceptingWorker, legacyWorker, methodWorker, register, runnerWorker, SAY } from './workers.js';

/** One replica alone: it has to judge by itself. HEALTH_INTERVAL_MS is 1 s, CHECK_TAKE_MS half of it. */
let replica: Running;

beforeAll(async () => {
  const { url } = await ownRedis();
  replica = await startReplica(url, { LEGACY_POOL: 'default' });
});

const kind = (value: string) => ({ $case: 'kind', value }) as const;
const RUN_JOB = { $case: 'method', value: '/job.JobService/RunJob' } as const;
const request = (contextDir: string) => Buffer.from(JobRequest.encode(JobRequest.fromPartial({ jobId: 'x', contextDir })).finish());
const stateOf = async (pool: string, id: string) => WorkerState[(await getWorker(replica.api, pool, id)).state];
const inState = (pool: string, id: string, state: string) =>
  until(async () => (await stateOf(pool, id)) === `WORKER_STATE_${state}`, { timeoutMs: 15_000, what: `worker ${id} to be ${state}` });

describe('a lone replica', () => {
  test('declares a worker dead that is gone, gives its job to another, and takes it back when it registers', async () => {
    const pool = uniquePool();
    const first = await runnerWorker(replica.target, pool, 'first', { more: { where: () => new Promise(() => undefined) } });
    await submit(replica.api, { pool, id: 'j', work: kind('where'), retry: { initialBackoff: toDuration(10) } });
    await until(() => first.notes.length === 1, { what: 'the job to run' });
    const began = performance.now();
    first.close();
    await inState(pool, 'first', 'DEAD');
    console.info(`FIGURE loneReplicaDeathMs=${Math.round(performance.now() - began)}`);
    await runnerWorker(replica.target, pool, 'second', { more: { where: async () => text('second') } });
    const job = await jobIn(replica.api, pool, 'j', JobState.JOB_STATE_SUCCEEDED);
    expect(endOf(job)).toMatchObject({ worker: 'second', output: 'second' });
    // Whether its first run counts as an attempt or as a handover depends on whether its delivery was confirmed yet.
    expect(job.attempt + job.handovers).toBe(2);
    await runnerWorker(replica.target, pool, 'first');
    expect(await stateOf(pool, 'first')).toBe('WORKER_STATE_FREE');
  });

  test('declares an idle worker dead that accepts connections and says nothing', async () => {
    const pool = uniquePool();
    const worker = await legacyWorker('mute');
    await register(replica.api, { id: 'mute', pool, port: worker.port, contract: Contract.CONTRACT_LEGACY });
    worker.mute = true;
    await inState(pool, 'mute', 'SUSPECT');
    await submit(replica.api, { pool, id: 'j', work: RUN_JOB, payload: request('a') });
    await inState(pool, 'mute', 'DEAD');
    expect([worker.jobs.length, (await getJob(replica.api, pool, 'j')).handovers]).toEqual([0, 0]);
  });

  test('a suspect that answers again is free again', async () => {
    const pool = uniquePool();
    const worker = await legacyWorker('shy');
    await register(replica.api, { id: 'shy', pool, port: worker.port, contract: Contract.CONTRACT_LEGACY });
    worker.mute = true;
    await inState(pool, 'shy', 'SUSPECT');
    worker.mute = false;
    await inState(pool, 'shy', 'FREE');
  });

  test('a worker that answers under another id is dead, and what it held runs elsewhere', async () => {
    const pool = uniquePool();
    const worker = await acceptingWorker('honest');
    await register(replica.api, { id: 'honest', pool, port: worker.port, boot: 'b' });
    await submit(replica.api, { pool, id: 'j', work: kind('echo'), payload: text('x'), retry: { initialBackoff: toDuration(10) } });
    await until(() => worker.assignments.length === 1);
    worker.name = 'somebody-else';
    await inState(pool, 'honest', 'DEAD');
    expect((await getWorker(replica.api, pool, 'honest')).reason).toBe('answers as somebody-else');
    await runnerWorker(replica.target, pool, 'other');
    expect(endOf(await jobIn(replica.api, pool, 'j', JobState.JOB_STATE_SUCCEEDED))).toMatchObject({ worker: 'other', output: 'x' });
  });
});

describe('a worker that was started anew at its address, and has not registered yet', () => {
  test('is not its former life: that is dead, and what it held runs elsewhere', async () => {
    const pool = uniquePool();
    const worker = await acceptingWorker('reborn');
    worker.boot = 'a';
    await register(replica.api, { id: 'reborn', pool, port: worker.port, boot: 'a' });
    await submit(replica.api, { pool, id: 'j', work: kind('echo'), payload: text('x'), retry: { initialBackoff: toDuration(10) } });
    await until(() => worker.assignments.length === 1);
    Object.assign(worker, { boot: 'b', held: [] });
    await inState(pool, 'reborn', 'DEAD');
    expect((await getWorker(replica.api, pool, 'reborn')).reason).toBe('answers with the boot b');
    await runnerWorker(replica.target, pool, 'other');
    expect(endOf(await jobIn(replica.api, pool, 'j', JobState.JOB_STATE_SUCCEEDED))).toMatchObject({ worker: 'other', output: 'x' });
    expect(worker.assignments).toHaveLength(1);
    await register(replica.api, { id: 'reborn', pool, port: worker.port, boot: 'b' });
    expect(await stateOf(pool, 'reborn')).toBe('WORKER_STATE_FREE');
  });

  test('is not adopted as its former life, nor sent again what that was sent', async () => {
    const pool = uniquePool();
    const { url } = await ownRedis();
    const leaves = await startReplica(url, { STOP_GRACE_MS: 100 });
    const stays = await startReplica(url);
    const worker = await acceptingWorker('reborn');
    worker.boot = 'a';
    await register(leaves.api, { id: 'reborn', pool, port: worker.port, boot: 'a' });
    await submit(leaves.api, { pool, id: 'j', work: kind('echo'), retry: { initialBackoff: toDuration(10) } });
    await until(() => worker.assignments.length === 1);
    Object.assign(worker, { boot: 'b', held: [] });
    await leaves.stop();
    await until(async () => (await getWorker(stays.api, pool, 'reborn')).state === WorkerState.WORKER_STATE_DEAD, { timeoutMs: 15_000 });
    await runnerWorker(stays.target, pool, 'other');
    const job = await jobIn(stays.api, pool, 'j', JobState.JOB_STATE_SUCCEEDED);
    expect([job.worker, job.attempt + job.handovers]).toEqual(['other', 2]);
    expect(worker.assignments).toHaveLength(1);
  });
});

describe('the first contract', () => {
  test('a worker registers and pings by it, is probed by it, and runs its jobs byte for byte', async () => {
    const worker = await legacyWorker('old1');
    const orchestrator = firstContract(replica.target);
    expect(await orchestrator.register({ id: 'old1', ip: '127.0.0.1', port: worker.port, region: 'eu' })).toEqual({ success: true, message: '' });
    expect(await orchestrator.ping({ id: 'old1' })).toEqual({ healthy: true });
    const job = await runToEnd(replica.api, { work: RUN_JOB, payload: request('/src') });
    expect(endOf(job)).toMatchObject({ state: 'JOB_STATE_SUCCEEDED', attempt: 1, worker: 'old1' });
    const output = job.outcome?.$case === 'output' ? job.outcome.value : Buffer.alloc(0);
    expect(JobResponse.decode(output)).toEqual({ jobId: 'x', success: true, logs: 'built /src', imageUrl: '', error: '' });
    const before = worker.pings;
    await until(() => worker.pings > before + 1, { what: 'two more pings' });
    await replica.api.evictWorker({ pool: 'default', id: 'old1', reason: 'test' });
  });

  test('success=false is a failed job though the call was OK; its bytes are kept', async () => {
    const pool = uniquePool();
    const worker = await legacyWorker('old2');
    worker.answer = ({ jobId }) => ({ jobId, success: false, logs: 'step 3', imageUrl: '', error: 'no space left' });
    await register(replica.api, { id: 'old2', pool, port: worker.port, contract: Contract.CONTRACT_LEGACY });
    const job = await runToEnd(replica.api, { pool, work: RUN_JOB, payload: request('a'), retry: { maxAttempts: 1 } });
    expect(endOf(job)).toMatchObject({ state: 'JOB_STATE_FAILED', attempt: 1, reason: 'job_failed' });
    const failure = job.outcome?.$case === 'failure' ? job.outcome.value : undefined;
    expect(failure?.message).toBe('no space left');
    expect(JobResponse.decode(failure?.details ?? Buffer.alloc(0))).toMatchObject({ success: false, logs: 'step 3' });
  });

  test('one that is killed is dead, is told so by Ping, and comes back by registering', async () => {
    const orchestrator = firstContract(replica.target);
    const worker = await legacyWorker('old3');
    const info = { id: 'old3', ip: '127.0.0.1', port: worker.port, region: '' };
    await orchestrator.register(info);
    worker.kill();
    await inState('default', 'old3', 'DEAD');
    expect(await orchestrator.ping({ id: 'old3' })).toEqual({ healthy: false });
    const again = await legacyWorker('old3', worker.port);
    expect(await orchestrator.register(info)).toEqual({ success: true, message: '' });
    expect(await orchestrator.ping({ id: 'old3' })).toEqual({ healthy: true });
    expect(endOf(await runToEnd(replica.api, { work: RUN_JOB, payload: request('b') }))).toMatchObject({ worker: 'old3', attempt: 1 });
    expect(again.jobs).toHaveLength(1);
    await replica.api.evictWorker({ pool: 'default', id: 'old3', reason: 'test' });
  });

  test('one that is busy with work of others is blocked until it is free', async () => {
    const pool = uniquePool();
    const worker = await legacyWorker('old4');
    worker.answer = undefined;
    await register(replica.api, { id: 'old4', pool, port: worker.port, contract: Contract.CONTRACT_LEGACY });
    const theirs = worker.runElsewhere();
    const job = runToEnd(replica.api, { pool, id: 'j', work: RUN_JOB, payload: request('ours') });
    await until(async () => (await getWorker(replica.api, pool, 'old4')).blocked, { what: 'it to be blocked' });
    worker.answer = ({ jobId }) => ({ jobId, success: true, logs: '', imageUrl: '', error: '' });
    await theirs;
    expect(endOf(await job)).toMatchObject({ state: 'JOB_STATE_SUCCEEDED', attempt: 1 });
  });

  test('a newcomer at its address supersedes it', async () => {
    const pool = uniquePool();
    const worker = await legacyWorker('life1');
    await register(replica.api, { id: 'life1', pool, port: worker.port, contract: Contract.CONTRACT_LEGACY });
    worker.name = 'life2';
    await register(replica.api, { id: 'life2', pool, port: worker.port, contract: Contract.CONTRACT_LEGACY });
    expect([await stateOf(pool, 'life1'), await stateOf(pool, 'life2')]).toEqual(['WORKER_STATE_DEAD', 'WORKER_STATE_FREE']);
    expect(endOf(await runToEnd(replica.api, { pool, work: RUN_JOB, payload: request('a') }))).toMatchObject({ worker: 'life2' });
  });
});

describe('a METHOD worker', () => {
  test('gets no jobs while it says NOT_SERVING, and gets them again once it serves', async () => {
    const pool = uniquePool();
    const worker = await methodWorker();
    await register(replica.api, { id: 'm', pool, port: worker.port, contract: Contract.CONTRACT_METHOD });
    const say = (id: string) => ({ pool, id, work: { $case: 'method', value: SAY } as const, payload: text(id) });
    expect(endOf(await runToEnd(replica.api, say('a')))).toMatchObject({ output: 'A', attempt: 1 });
    worker.serving = false;
    await until(async () => (await getWorker(replica.api, pool, 'm')).blocked, { what: 'it to be blocked' });
    await submit(replica.api, say('b'));
    expect((await getJob(replica.api, pool, 'b')).state).toBe(JobState.JOB_STATE_WAITING);
    worker.serving = true;
    expect(endOf(await jobIn(replica.api, pool, 'b', JobState.JOB_STATE_SUCCEEDED))).toMatchObject({ output: 'B', attempt: 1 });
    expect(worker.calls).toEqual(['a', 'b']);
  });

  test('that registers while it says NOT_SERVING is on the roll and gets nothing', async () => {
    const pool = uniquePool();
    const worker = await methodWorker();
    worker.serving = false;
    await register(replica.api, { id: 'm', pool, port: worker.port, contract: Contract.CONTRACT_METHOD });
    expect(await getWorker(replica.api, pool, 'm')).toMatchObject({ blocked: true, state: WorkerState.WORKER_STATE_BUSY });
  });
});

describe('a dialed worker that went without a word', () => {
  test('costs no job a handover: it is given nothing more, and the job waits for one that can be reached', async () => {
    const { url } = await ownRedis();
    // So soon that all of a job's handovers would be over before the second probe.
    const hasty = await startReplica(url, { HANDOVER_BACKOFF_MS: 1 });
    const pool = uniquePool();
    const gone = await runnerWorker(hasty.target, pool, 'gone');
    gone.close();
    await submit(hasty.api, { pool, id: 'j', work: kind('echo'), payload: text('hello') });
    await until(async () => (await getWorker(hasty.api, pool, 'gone')).blocked, { what: 'the worker to be blocked' });
    expect([JobState.JOB_STATE_WAITING, JobState.JOB_STATE_SCHEDULED]).toContain((await getJob(hasty.api, pool, 'j')).state);
    await until(async () => (await getWorker(hasty.api, pool, 'gone')).state === WorkerState.WORKER_STATE_DEAD, {
      timeoutMs: 15_000,
      what: 'its death',
    });
    await runnerWorker(hasty.target, pool, 'back');
    expect(endOf(await jobIn(hasty.api, pool, 'j', JobState.JOB_STATE_SUCCEEDED))).toMatchObject({ output: 'hello', attempt: 1 });
  });
});

describe('operators', () => {
  test('a drained worker finishes what it holds and gets nothing, over a registration too, until it is undrained', async () => {
    const pool = uniquePool();
    const worker = await runnerWorker(replica.target, pool, 'w');
    await submit(replica.api, { pool, id: 'held', work: kind('slow'), payload: text('300') });
    await until(() => worker.notes.length === 1);
    expect((await replica.api.drainWorker({ pool, id: 'w' })).worker?.state).toBe(WorkerState.WORKER_STATE_DRAINING);
    await submit(replica.api, { pool, id: 'next', work: kind('echo') });
    await jobIn(replica.api, pool, 'held', JobState.JOB_STATE_SUCCEEDED);
    const port = Number(worker.address.split(':')[1]);
    await register(replica.api, { id: 'w', pool, port, boot: worker.boot });
    expect((await getJob(replica.api, pool, 'next')).state).toBe(JobState.JOB_STATE_WAITING);
    expect(await stateOf(pool, 'w')).toBe('WORKER_STATE_DRAINING');
    await replica.api.undrainWorker({ pool, id: 'w' });
    await jobIn(replica.api, pool, 'next', JobState.JOB_STATE_SUCCEEDED);
  });

  test('a worker that leaves finishes what it holds first', async () => {
    const pool = uniquePool();
    const worker = await runnerWorker(replica.target, pool, 'w');
    const job = runToEnd(replica.api, { pool, id: 'held', work: kind('slow'), payload: text('300') });
    await until(() => worker.notes.length === 1);
    await worker.stop();
    expect(endOf(await job)).toMatchObject({ state: 'JOB_STATE_SUCCEEDED', attempt: 1 });
    await inState(pool, 'w', 'DEAD');
    expect((await getWorker(replica.api, pool, 'w')).reason).toBe('deregistered');
  });
});
