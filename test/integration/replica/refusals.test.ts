import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { status } from '@grpc/grpc-js';
import { beforeAll, describe, expect, test } from 'vitest';
import { Contract } from '../../../src/grpc/generated/muster/v1/common.js';
import { type DeepPartial, type JobSpec, JobState } from '../../../src/grpc/generated/muster/v1/job.js';
import { WorkerInfo } from '../../../src/grpc/generated/muster/v1/worker.js';
import type { Api } from '../../../src/sdk/connect.js';
import { jobSpec } from '../../../src/sdk/run.js';
import { ownRedis } from '../../helpers/redis.js';
import { getJob, jobIn, type Running, refusal, startReplica, submit, text, words } from './support.js';
import { acceptingWorker, legacyWorker, methodWorker, register, runnerWorker, SAY } from './workers.js';

const MAX_WAITING = 3;
let replica: Running;
let api: Api;
/** A pool that holds one RUNNER worker, and what it registered as. */
let runnerInfo: WorkerInfo;

beforeAll(async () => {
  const redis = await ownRedis();
  replica = await startReplica(redis.url, { MAX_PAYLOAD_BYTES: 1000, MAX_RESULT_BYTES: 1000, MAX_WAITING });
  api = replica.api;
  const worker = await runnerWorker(replica.target, 'runners', 'w1');
  const port = Number(worker.address.split(':')[1]);
  runnerInfo = WorkerInfo.fromPartial({ id: 'w1', pool: 'runners', ip: '127.0.0.1', port, boot: worker.boot, contract: Contract.CONTRACT_RUNNER });
  const legacy = await legacyWorker('old1');
  await register(api, { id: 'old1', pool: 'legacies', port: legacy.port, contract: Contract.CONTRACT_LEGACY });
  const method = await methodWorker();
  await register(api, { id: 'm1', pool: 'methods', port: method.port, contract: Contract.CONTRACT_METHOD });
});

const submitting = (spec: DeepPartial<JobSpec>) =>
  api.submitJob({ spec: jobSpec({ pool: 'nobody', work: { $case: 'kind', value: 'echo' }, ...spec }) });
const registering = (info: Partial<WorkerInfo>) => api.register(WorkerInfo.fromPartial({ ...runnerInfo, id: 'new', boot: 'new', ...info }));

describe('workers', () => {
  const ADDRESS_FREE = 1;

  test('one that nobody can dial is FAILED_PRECONDITION UNDIALABLE', async () => {
    expect(words(await refusal(registering({ port: ADDRESS_FREE })))).toEqual({
      code: 'FAILED_PRECONDITION',
      reason: 'UNDIALABLE',
      field: 'ip',
      named: true,
    });
    expect(words(await refusal(api.getWorker({ pool: 'runners', id: 'new' })))).toMatchObject({ code: 'NOT_FOUND', reason: 'NO_SUCH_WORKER' });
  });

  test('one of the first contract does not get into a pool whose jobs it cannot run, and so never gets one of them', async () => {
    const pool = 'transfers';
    await submit(api, { pool, id: 'j', work: { $case: 'method', value: '/bank.Ledger/Transfer' } });
    const old = await legacyWorker('old');
    const joining = register(api, { id: 'old', pool, port: old.port, contract: Contract.CONTRACT_LEGACY });
    expect(words(await refusal(joining))).toEqual({ code: 'FAILED_PRECONDITION', reason: 'WRONG_FAMILY', field: 'contract', named: true });
    const method = await methodWorker();
    await register(api, { id: 'm', pool, port: method.port, contract: Contract.CONTRACT_METHOD });
    await submit(api, { pool, id: 'say', payload: text('hi'), work: { $case: 'method', value: SAY } });
    await jobIn(api, pool, 'say', JobState.JOB_STATE_SUCCEEDED);
    expect(old.jobs).toEqual([]);
  });

  test('one that speaks another contract than it says cannot be dialed either', async () => {
    const legacy = await legacyWorker('odd');
    expect(words(await refusal(registering({ port: legacy.port })))).toMatchObject({ code: 'FAILED_PRECONDITION', reason: 'UNDIALABLE' });
  });

  test('one that answers under another id is FAILED_PRECONDITION WRONG_WORKER', async () => {
    expect(words(await refusal(registering({ id: 'w2' })))).toEqual({
      code: 'FAILED_PRECONDITION',
      reason: 'WRONG_WORKER',
      field: 'id',
      named: true,
    });
  });

  test('one that answers under another boot is FAILED_PRECONDITION WRONG_WORKER', async () => {
    expect(words(await refusal(registering({ id: 'w1', pool: 'another' })))).toEqual({
      code: 'FAILED_PRECONDITION',
      reason: 'WRONG_WORKER',
      field: 'boot',
      named: true,
    });
  });

  test('an id whose old life still answers is ALREADY_EXISTS, and free once that is gone', async () => {
    const first = await runnerWorker(replica.target, 'twins', 'twin');
    const second = await runnerWorker(replica.target, 'elsewhere', 'twin');
    const port = Number(second.address.split(':')[1]);
    const newcomer = () => registering({ pool: 'twins', id: 'twin', port, boot: second.boot });
    expect(words(await refusal(newcomer()))).toEqual({ code: 'ALREADY_EXISTS', reason: 'WORKER_EXISTS', field: 'id', named: true });
    first.close();
    expect(await newcomer()).toMatchObject({ success: true, boot: second.boot });
  });

  test('a boot that a newer one has superseded is FAILED_PRECONDITION SUPERSEDED', async () => {
    // It does not tell its boot.
    const { port } = await acceptingWorker('w1');
    await registering({ pool: 'boots', id: 'w1', port, boot: 'first' });
    await registering({ pool: 'boots', id: 'w1', port, boot: 'second' });
    const again = registering({ pool: 'boots', id: 'w1', port, boot: 'first' });
    expect(words(await refusal(again))).toEqual({ code: 'FAILED_PRECONDITION', reason: 'SUPERSEDED', field: 'boot', named: true });
    const leave = api.deregister({ pool: 'boots', id: 'w1', boot: 'first', drainTimeout: undefined });
    expect(words(await refusal(leave))).toEqual({ code: 'FAILED_PRECONDITION', reason: 'SUPERSEDED', field: 'boot', named: true });
    expect(await api.ping({ pool: 'boots', id: 'w1', boot: 'first' })).toMatchObject({ healthy: false });
    expect(await api.ping({ pool: 'boots', id: 'w1', boot: 'second' })).toEqual({ healthy: true, reason: '' });
  });

  test.each([
    { contract: Contract.CONTRACT_LEGACY, pool: 'runners' },
    { contract: Contract.CONTRACT_METHOD, pool: 'runners' },
    { contract: Contract.CONTRACT_RUNNER, pool: 'legacies' },
    { contract: Contract.CONTRACT_RUNNER, pool: 'methods' },
    { contract: Contract.CONTRACT_LEGACY, pool: 'methods' },
    { contract: Contract.CONTRACT_METHOD, pool: 'legacies' },
  ])('contract $contract does not get into the pool $pool', async ({ contract, pool }) => {
    const able = contract === Contract.CONTRACT_LEGACY ? await legacyWorker('new') : await methodWorker();
    const port = contract === Contract.CONTRACT_RUNNER ? runnerInfo.port : able.port;
    const id = contract === Contract.CONTRACT_RUNNER ? 'w1' : 'new';
    const boot = contract === Contract.CONTRACT_RUNNER ? runnerInfo.boot : 'new';
    const joining = registering({ id, pool, port, contract, boot });
    expect(words(await refusal(joining))).toEqual({ code: 'FAILED_PRECONDITION', reason: 'WRONG_FAMILY', field: 'contract', named: true });
  });

  test('ATTACHED is not for Register', async () => {
    const attached = registering({ contract: Contract.CONTRACT_ATTACHED });
    expect(words(await refusal(attached))).toMatchObject({ code: 'FAILED_PRECONDITION', reason: 'NOT_DIALED' });
  });

  test('a mute peer is UNDIALABLE within its time', async () => {
    const mute = createServer(() => undefined).listen(0, '127.0.0.1');
    await once(mute, 'listening');
    const { port } = mute.address() as AddressInfo;
    const began = performance.now();
    expect(words(await refusal(registering({ port })))).toMatchObject({ code: 'FAILED_PRECONDITION', reason: 'UNDIALABLE' });
    // PING_TIMEOUT_MS is 300 here.
    expect(performance.now() - began).toBeLessThan(2_000);
    mute.close();
  });
});

describe('jobs', () => {
  test('the same id with other content is ALREADY_EXISTS JOB_CONFLICT; with the same content it is the same job', async () => {
    const first = await submit(api, { pool: 'conflicts', id: 'j', work: { $case: 'kind', value: 'echo' }, payload: text('a') });
    const again = await api.submitJob({ spec: jobSpec({ pool: 'conflicts', id: 'j', work: { $case: 'kind', value: 'echo' }, payload: text('a') }) });
    expect(again).toEqual({ created: false, job: first });
    const other = submitting({ pool: 'conflicts', id: 'j', payload: text('b') });
    expect(words(await refusal(other))).toEqual({ code: 'ALREADY_EXISTS', reason: 'JOB_CONFLICT', field: 'spec.id', named: true });
    expect(await getJob(api, 'conflicts', 'j')).toEqual(first);
  });

  test('a full backlog is RESOURCE_EXHAUSTED with RetryInfo, and takes jobs again once it has room', async () => {
    for (let i = 0; i < MAX_WAITING; i++) await submitting({ pool: 'full', id: `j${i}` });
    const error = await refusal(submitting({ pool: 'full', id: 'over' }));
    expect(words(error)).toMatchObject({ code: 'RESOURCE_EXHAUSTED', reason: 'BACKLOG_FULL' });
    expect(error.details.retryAfterMs).toBeGreaterThan(0);
    expect(await submitting({ pool: 'full', id: 'j1' })).toMatchObject({ created: false });
    await api.cancelJob({ pool: 'full', id: 'j1' });
    expect(await submitting({ pool: 'full', id: 'over' })).toMatchObject({ created: true });
  });

  test('a kind does not get into a pool of LEGACY or METHOD workers, another method not into one of LEGACY', async () => {
    const wrong = { code: 'FAILED_PRECONDITION', reason: 'WRONG_FAMILY', named: true };
    expect(words(await refusal(submitting({ pool: 'legacies' })))).toEqual({ ...wrong, field: 'spec.kind' });
    expect(words(await refusal(submitting({ pool: 'methods' })))).toEqual({ ...wrong, field: 'spec.kind' });
    expect(words(await refusal(submitting({ pool: 'legacies', work: { $case: 'method', value: SAY } })))).toEqual({ ...wrong, field: 'spec.method' });
  });

  test('a batch answers for each: one refusal says nothing of the others', async () => {
    const kind = { $case: 'kind', value: 'echo' } as const;
    const specs = [{ id: 'good' }, { id: 'bad id' }, { id: 'late', priority: 9 }, { id: 'good2' }].map((spec) =>
      jobSpec({ pool: 'batch', work: kind, ...spec }),
    );
    const { results } = await api.batchSubmitJobs({ specs });
    expect(results.map(({ id, created, code, reason }) => [id, created, status[code], reason])).toEqual([
      ['good', true, 'OK', ''],
      ['bad id', false, 'INVALID_ARGUMENT', 'INVALID_FIELD'],
      ['late', false, 'INVALID_ARGUMENT', 'INVALID_FIELD'],
      ['good2', true, 'OK', ''],
    ]);
    expect(results[1]?.message).toContain('specs[1].id');
  });

  test('a batch of 1001 is refused as a whole', async () => {
    const specs = Array.from({ length: 1001 }, () => jobSpec({ pool: 'batch2', work: { $case: 'kind', value: 'echo' } }));
    expect(words(await refusal(api.batchSubmitJobs({ specs })))).toMatchObject({ code: 'INVALID_ARGUMENT', field: 'specs' });
  });

  test('a message above the limit of the server is RESOURCE_EXHAUSTED, and the connection lives on', async () => {
    const error = await refusal(submitting({ pool: 'big', payload: Buffer.alloc(16_000_000) }));
    expect(error.codeName).toBe('RESOURCE_EXHAUSTED');
    expect(await submitting({ pool: 'big', id: 'small' })).toMatchObject({ created: true });
  });

  test('RetryJob of what is no dead letter is FAILED_PRECONDITION NOT_BURIED', async () => {
    await submitting({ pool: 'runners', id: 'fine' });
    await jobIn(api, 'runners', 'fine', JobState.JOB_STATE_SUCCEEDED);
    expect(words(await refusal(api.retryJob({ pool: 'runners', id: 'fine' })))).toMatchObject({ code: 'FAILED_PRECONDITION', reason: 'NOT_BURIED' });
  });
});

describe('what is not there is NOT_FOUND', () => {
  const job = { pool: 'runners', id: 'nothing' };
  test.each<{ what: string; call: () => Promise<unknown>; reason: string }>([
    { what: 'GetJob', reason: 'NO_SUCH_JOB', call: () => api.getJob(job) },
    { what: 'WaitJob', reason: 'NO_SUCH_JOB', call: () => api.waitJob({ ...job, wait: undefined }) },
    { what: 'CancelJob', reason: 'NO_SUCH_JOB', call: () => api.cancelJob(job) },
    { what: 'RetryJob', reason: 'NO_SUCH_JOB', call: () => api.retryJob(job) },
    { what: 'GetWorker', reason: 'NO_SUCH_WORKER', call: () => api.getWorker(job) },
    { what: 'DrainWorker', reason: 'NO_SUCH_WORKER', call: () => api.drainWorker(job) },
    { what: 'UndrainWorker', reason: 'NO_SUCH_WORKER', call: () => api.undrainWorker(job) },
    { what: 'EvictWorker', reason: 'NO_SUCH_WORKER', call: () => api.evictWorker({ ...job, reason: '' }) },
    { what: 'Deregister', reason: 'NO_SUCH_WORKER', call: () => api.deregister({ ...job, boot: '', drainTimeout: undefined }) },
    { what: 'GetJob in a pool that never was', reason: 'NO_SUCH_JOB', call: () => api.getJob({ pool: 'never', id: 'j' }) },
  ])('$what', async ({ call, reason }) => {
    expect(words(await refusal(call()))).toMatchObject({ code: 'NOT_FOUND', reason });
  });

  test('a worker that pings and is not on the roll is told to register', async () => {
    expect(await api.ping({ id: 'nobody', pool: 'runners', boot: '' })).toEqual({ healthy: false, reason: 'not on the roll: register' });
  });
});
