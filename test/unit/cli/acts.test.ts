import { status } from '@grpc/grpc-js';
import { expect, test } from 'vitest';
import { type EvictWorkerRequest, type PurgePoolRequest, PurgeScope, Worker, WorkerState } from '../../../src/grpc/generated/muster/v1/admin.js';
import { Contract } from '../../../src/grpc/generated/muster/v1/common.js';
import { JobState } from '../../../src/grpc/generated/muster/v1/job.js';
import type { WorkerInfo } from '../../../src/grpc/generated/muster/v1/worker.js';
import { answer, job, Refused } from '../sdk/replica.js';
import { against, muster } from './harness.js';

const worker = (state: WorkerState) => Worker.fromPartial({ pool: 'p', id: 'w1', state, held: [{ jobId: 'j', fence: '1' }] });

test('drain, undrain and evict name the worker and show its state', async () => {
  const asked: unknown[] = [];
  const acts = (state: WorkerState) =>
    answer((request: unknown) => {
      asked.push(request);
      return { worker: worker(state) };
    });
  const drained = await against({ drainWorker: acts(WorkerState.WORKER_STATE_DRAINING) }, ['drain', 'w1', '-p', 'p']);
  expect([drained.code, drained.text, drained.story]).toEqual([0, 'w1 draining\n', 'it still holds 1 jobs']);
  const undrained = await against({ undrainWorker: acts(WorkerState.WORKER_STATE_BUSY) }, ['undrain', 'w1', '-p', 'p', '-o', 'json']);
  expect(undrained.json()).toMatchObject({ id: 'w1', state: 'busy' });
  const evicted = await against({ evictWorker: acts(WorkerState.WORKER_STATE_DEAD) }, ['evict', 'w1', '-p', 'p', '--reason', 'burns']);
  expect(evicted.text).toBe('w1 dead\n');
  expect(asked).toEqual([{ pool: 'p', id: 'w1' }, { pool: 'p', id: 'w1' }, { pool: 'p', id: 'w1', reason: 'burns' } satisfies EvictWorkerRequest]);
});

test('a refusal exits 1 with its reason and a remedy', async () => {
  const drainWorker = answer(() => {
    throw new Refused(status.FAILED_PRECONDITION, 'WORKER_DEAD', 'worker p/w1 is dead');
  });
  const ran = await against({ drainWorker }, ['drain', 'w1', '-p', 'p']);
  expect([ran.code, ran.text]).toEqual([1, '']);
  expect(ran.story).toBe('muster: refused: worker p/w1 is dead (FAILED_PRECONDITION, WORKER_DEAD). `muster get` shows what state it is in.');
});

test.each([
  [status.INVALID_ARGUMENT, 2, 'not taken'],
  [status.RESOURCE_EXHAUSTED, 1, 'Try again when there is room'],
  [status.PERMISSION_DENIED, 1, 'Ask whoever runs the replicas'],
  [status.UNIMPLEMENTED, 1, 'new enough?'],
  [status.UNAVAILABLE, 3, 'answers, but cannot serve now'],
])('status %i exits %i', async (code, exit, said) => {
  const pausePool = answer(() => {
    throw new Refused(code, 'WHY', 'because');
  });
  const ran = await against({ pausePool }, ['pause', 'p', '--timeout', '400ms']);
  expect([ran.code, ran.story]).toEqual([exit, expect.stringContaining(said)]);
});

test('no answer in time exits 3', async () => {
  const ran = await against({ pausePool: () => {} }, ['pause', 'p', '--timeout', '60ms']);
  expect([ran.code, ran.story]).toEqual([3, expect.stringContaining('did not answer in time')]);
});

test('pause and resume take the pool by place or by option', async () => {
  const asked: string[] = [];
  const note = answer(({ pool }: { pool: string }) => {
    asked.push(pool);
    return {};
  });
  expect((await against({ pausePool: note }, ['pause', 'a'])).text).toBe('a paused\n');
  expect((await against({ resumePool: note }, ['resume', '--pool', 'b', '-o', 'json'])).json()).toEqual({ pool: 'b', paused: false });
  expect(asked).toEqual(['a', 'b']);
});

test('cancel exits 0 when the job is cancelled and 1 when it had ended', async () => {
  const cancelJob = answer(({ id }: { id: string }) => ({
    job: job({ spec: { id }, state: id === 'a' ? JobState.JOB_STATE_CANCELLED : JobState.JOB_STATE_SUCCEEDED }),
  }));
  const a = await against({ cancelJob }, ['cancel', 'a']);
  expect([a.code, a.text]).toEqual([0, 'a cancelled\n']);
  const b = await against({ cancelJob }, ['cancel', 'b']);
  expect([b.code, b.text, b.story]).toEqual([1, '', expect.stringContaining('had ended before: succeeded')]);
});

test('retry takes one job, or every dead letter until none is left', async () => {
  let calls = 0;
  const answers = {
    retryJob: answer(({ id }: { id: string }) => ({ job: job({ spec: { id }, state: JobState.JOB_STATE_WAITING }) })),
    retryBuried: answer(() => ({ retried: 10, done: ++calls === 3 })),
  };
  expect((await against(answers, ['retry', 'a'])).text).toBe('a waiting\n');
  const all = await against(answers, ['retry', '--all-buried', '-p', 'p', '-o', 'json']);
  expect(all.json()).toEqual({ pool: 'p', retried: 30 });
  for (const args of [[], ['a', '--all-buried']]) expect((await muster(['retry', ...args])).code).toBe(2);
});

test('purge needs to be told what and --yes, and goes on until it is done', async () => {
  const asked: PurgePoolRequest[] = [];
  const purgePool = answer((request: PurgePoolRequest) => {
    asked.push(request);
    return { purged: 5, done: asked.length === 2 };
  });
  for (const args of [['--yes'], ['--queued', '--buried', '--yes'], ['--queued']]) {
    expect((await against({ purgePool }, ['purge', ...args])).code).toBe(2);
  }
  expect(asked).toEqual([]);
  const ran = await against({ purgePool }, ['purge', '-p', 'p', '--queued', '--yes']);
  expect([ran.code, ran.text]).toEqual([0, '10 purged\n']);
  expect(asked[0]).toEqual({ pool: 'p', scope: PurgeScope.PURGE_SCOPE_QUEUED });
});

test('worker register puts any gRPC server on the roll', async () => {
  const asked: WorkerInfo[] = [];
  const register = answer((info: WorkerInfo) => {
    asked.push(info);
    return { success: info.id !== 'no', message: 'not today', boot: 'b1', replica: 'r1', pingInterval: undefined };
  });
  const args = ['worker', 'register', '--pool', 'thumbs', '--address', '[fd00::7]:9000', '--slots', '4', '--label', 'a=b'];
  const ran = await against({ register }, [...args, '--id', 't1', '-o', 'json']);
  expect(ran.json()).toEqual({ pool: 'thumbs', id: 't1', address: '[fd00::7]:9000', boot: 'b1', replica: 'r1' });
  expect(asked[0]).toMatchObject({
    id: 't1',
    pool: 'thumbs',
    ip: 'fd00::7',
    port: 9000,
    slots: 4,
    labels: { a: 'b' },
    contract: Contract.CONTRACT_METHOD,
  });
  const refused = await against({ register }, [...args, '--id', 'no']);
  expect([refused.code, refused.story]).toEqual([1, expect.stringContaining('not today')]);
  const legacy = await against({ register }, ['worker', 'register', '--id', 'l', '--address', '10.0.0.1:6000', '--contract', 'legacy']);
  expect([legacy.code, asked[2]?.contract]).toEqual([0, Contract.CONTRACT_LEGACY]);
  for (const bad of ['10.0.0.1', 'host:9000', '10.0.0.1:0', '10.0.0.1:65536']) {
    const wrong = await muster(['worker', 'register', '--id', 'a', '--address', bad]);
    expect([wrong.code, wrong.story]).toEqual([2, expect.stringContaining('--address')]);
  }
});
