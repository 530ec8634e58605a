import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { WorkerState } from '../../../src/grpc/generated/muster/v1/admin.js';
import type { Assignment, Result } from '../../../src/grpc/generated/muster/v1/common.js';
import { JobState } from '../../../src/grpc/generated/muster/v1/job.js';
import { Verdict } from '../../../src/grpc/generated/muster/v1/worker.js';
import { toDuration } from '../../../src/sdk/duration.js';
import { keys } from '../../../src/store/keys.js';
import { ownRedis, uniquePool } from '../../helpers/redis.js';
import { until } from '../../helpers/until.js';
import { heldOf } from './raw-worker.js';
import { endOf, getJob, getWorker, jobIn, type Running, refusal, startReplica, submit, text, words } from './support.js';
import { type AcceptingWorker, acceptingWorker, register } from './workers.js';

/** Workers that answer Execute with `accepted` and report later, by unary calls at any replica. */
let a: Running;
let b: Running;
let redis: Redis;

beforeAll(async () => {
  const { url } = await ownRedis();
  redis = new Redis(url);
  [a, b] = (await Promise.all([1, 2].map(() => startReplica(url)))) as [Running, Running];
});

afterAll(() => redis.disconnect());

const work = { $case: 'kind', value: 'long' } as const;

interface Party {
  pool: string;
  worker: AcceptingWorker;
  /** The nth assignment, once it came. */
  assigned: (nth: number) => Promise<Assignment>;
  report: (
    at: Running,
    results: Result[],
    held?: { jobId: string; fence: string; progress?: string | Buffer }[],
    boot?: string,
  ) => ReturnType<Running['api']['report']>;
}

async function party(): Promise<Party> {
  const pool = uniquePool();
  const worker = await acceptingWorker('acc');
  await register(a.api, { id: 'acc', pool, port: worker.port, boot: 'life1' });
  return {
    pool,
    worker,
    assigned: (nth) => until(() => worker.assignments[nth - 1], { what: `assignment ${nth}` }),
    report: (at, results, held, boot = 'life1') => {
      const beat = held && { held: held.map(({ jobId, fence, progress = '' }) => ({ jobId, fence, done: false, progress: Buffer.from(progress) })) };
      return at.api.report({ pool, workerId: 'acc', boot, results, beat });
    },
  };
}

const output = ({ jobId, fence }: { jobId: string; fence: string }, value: string): Result => ({
  jobId,
  fence,
  outcome: { $case: 'output', value: text(value) },
});
const verdicts = (answer: { settlements: { verdict: Verdict }[] }) => answer.settlements.map(({ verdict }) => Verdict[verdict]);
const free = (pool: string) =>
  until(async () => (await getWorker(a.api, pool, 'acc')).state === WorkerState.WORKER_STATE_FREE, { what: 'the worker to be free' });

test('an accepted job goes on over many leases, and its result counts once, from whichever replica', async () => {
  const { pool, worker, assigned, report } = await party();
  await submit(a.api, { pool, id: 'j', work, payload: text('in') });
  const assignment = await assigned(1);
  expect(assignment.payload.toString()).toBe('in');
  const dueAt = async () => Number(await redis.zscore(keys.leases(pool), 'j'));
  const first = await dueAt();
  // Its home keeps the lease long past the time at which it would have run out.
  await until(async () => (await dueAt()) > first + 2 * a.config.LEASE_MS, { what: 'the lease to be kept' });
  expect(endOf(await getJob(a.api, pool, 'j'))).toEqual({ state: 'JOB_STATE_RUNNING', attempt: 1, worker: 'acc' });
  worker.held = [];
  expect(verdicts(await report(b, [output(assignment, 'out')]))).toEqual(['VERDICT_ACCEPTED']);
  expect(verdicts(await report(a, [output(assignment, 'again')]))).toEqual(['VERDICT_DUPLICATE']);
  expect(endOf(await getJob(b.api, pool, 'j'))).toEqual({ state: 'JOB_STATE_SUCCEEDED', attempt: 1, worker: 'acc', output: 'out' });
  expect(worker.assignments).toHaveLength(1);
});

test('an accepted job that the worker no longer has is lost, and runs again', async () => {
  const { pool, worker, assigned, report } = await party();
  await submit(a.api, { pool, id: 'j', work, retry: { initialBackoff: toDuration(10) } });
  const first = await assigned(1);
  await until(async () => (await getJob(a.api, pool, 'j')).attempt === 1, { what: 'the attempt to count' });
  worker.held = [];
  const second = await assigned(2);
  expect([second.attempt, BigInt(second.fence) > BigInt(first.fence)]).toEqual([2, true]);
  worker.held = [];
  expect(verdicts(await report(a, [output(first, 'late'), output(second, 'good')]))).toEqual(['VERDICT_STALE', 'VERDICT_ACCEPTED']);
  expect(endOf(await getJob(a.api, pool, 'j'))).toMatchObject({ state: 'JOB_STATE_SUCCEEDED', attempt: 2, output: 'good' });
});

test('its progress is kept with the job, and handed to the next attempt', async () => {
  const { pool, worker, assigned, report } = await party();
  await submit(a.api, { pool, id: 'j', work, retry: { initialBackoff: toDuration(10) } });
  const first = await assigned(1);
  expect(first.progress.toString()).toBe('');
  expect(await report(b, [], [{ ...first, progress: 'half' }])).toMatchObject({ revoked: [] });
  expect((await getJob(a.api, pool, 'j')).progress.toString()).toBe('half');
  // An empty one is no news.
  await report(a, [], [first]);
  expect((await getJob(a.api, pool, 'j')).progress.toString()).toBe('half');
  const failure = { code: 2, message: 'tripped', reason: 'tripped', retryable: true, details: text('d'), retryDelay: undefined };
  worker.held = [];
  expect(verdicts(await report(b, [{ ...first, outcome: { $case: 'failure', value: failure } }]))).toEqual(['VERDICT_ACCEPTED']);
  const second = await assigned(2);
  expect(second.progress.toString()).toBe('half');
  const retried = await getJob(a.api, pool, 'j');
  expect(retried.outcome).toEqual({ $case: 'failure', value: failure });
  worker.held = [];
  await report(a, [output(second, 'done')]);
  expect(endOf(await getJob(a.api, pool, 'j'))).toMatchObject({ state: 'JOB_STATE_SUCCEEDED', output: 'done' });
});

test('the next job comes with the settlement, at the home and elsewhere', async () => {
  const { pool, worker, assigned, report } = await party();
  for (const id of ['j1', 'j2', 'j3']) await submit(a.api, { pool, id, work });
  for (const [nth, at] of [a, b, a].entries()) {
    const assignment = await assigned(nth + 1);
    worker.held = [];
    expect(verdicts(await report(at, [output(assignment, assignment.jobId)]))).toEqual(['VERDICT_ACCEPTED']);
  }
  expect(worker.assignments.map(({ jobId }) => jobId)).toEqual(['j1', 'j2', 'j3']);
  await free(pool);
});

describe('a result that is not wanted', () => {
  test('of a fence that never was, of a job that never was, and of another life of the worker', async () => {
    const { pool, worker, assigned, report } = await party();
    await submit(a.api, { pool, id: 'j', work });
    const assignment = await assigned(1);
    const never = [output({ jobId: 'j', fence: '12345' }, 'x'), output({ jobId: 'never', fence: assignment.fence }, 'x')];
    expect(verdicts(await report(a, never))).toEqual(['VERDICT_STALE', 'VERDICT_GONE']);
    expect(verdicts(await report(b, [output(assignment, 'x')], undefined, 'life0'))).toEqual(['VERDICT_STALE']);
    expect(endOf(await getJob(a.api, pool, 'j'))).toEqual({ state: 'JOB_STATE_RUNNING', attempt: 1, worker: 'acc' });
    worker.held = [];
    expect(verdicts(await report(a, [output(assignment, 'good')]))).toEqual(['VERDICT_ACCEPTED']);
  });

  test('of a cancelled job: CANCELLED, and the slot is free', async () => {
    const { pool, worker, assigned, report } = await party();
    await submit(a.api, { pool, id: 'j', work });
    const assignment = await assigned(1);
    await b.api.cancelJob({ pool, id: 'j' });
    await until(() => worker.aborted.length > 0, { what: 'the abort' });
    expect(worker.aborted[0]).toEqual({ jobId: 'j', fence: assignment.fence });
    expect((await getWorker(a.api, pool, 'acc')).held).toMatchObject([{ jobId: 'j', quarantined: true }]);
    expect(await report(b, [], [assignment])).toMatchObject({ revoked: [{ jobId: 'j', fence: assignment.fence }] });
    worker.held = [];
    expect(verdicts(await report(b, [output(assignment, 'late')]))).toEqual(['VERDICT_CANCELLED']);
    await free(pool);
    expect(endOf(await getJob(a.api, pool, 'j'))).toMatchObject({ state: 'JOB_STATE_CANCELLED' });
  });

  test('of a job whose worker was evicted: STALE, and the job ran elsewhere', async () => {
    const { pool, worker, assigned, report } = await party();
    await submit(a.api, { pool, id: 'j', work, retry: { initialBackoff: toDuration(10) } });
    const first = await assigned(1);
    await until(async () => (await getJob(a.api, pool, 'j')).attempt === 1);
    await b.api.evictWorker({ pool, id: 'acc', reason: 'test' });
    const other = await acceptingWorker('other');
    await register(b.api, { id: 'other', pool, port: other.port });
    const second = await until(() => other.assignments[0], { what: 'the job elsewhere' });
    worker.held = [];
    expect(verdicts(await report(a, [output(first, 'late')]))).toEqual(['VERDICT_STALE']);
    const nameless = b.api.report({ pool, workerId: 'other', boot: '', results: [], beat: { held: heldOf([second]) } });
    expect(words(await refusal(nameless))).toMatchObject({ code: 'INVALID_ARGUMENT', field: 'boot' });
    const done = await b.api.report({ pool, workerId: 'other', boot: '', results: [output(second, 'good')], beat: undefined });
    // Its boot is its address, which it did not say: a result of no life at all.
    expect(verdicts(done)).toEqual(['VERDICT_STALE']);
    const { boot } = await getWorker(a.api, pool, 'other');
    const named = await b.api.report({ pool, workerId: 'other', boot, results: [output(second, 'good')], beat: undefined });
    expect(verdicts(named)).toEqual(['VERDICT_ACCEPTED']);
    expect(endOf(await jobIn(a.api, pool, 'j', JobState.JOB_STATE_SUCCEEDED))).toMatchObject({ worker: 'other', output: 'good' });
  });
});

test('65 results at once are refused, 64 are not', async () => {
  const { report } = await party();
  const results = Array.from({ length: 65 }, (_, i) => output({ jobId: `j${i}`, fence: '1' }, 'x'));
  expect((await refusal(report(a, results))).codeName).toBe('INVALID_ARGUMENT');
  expect(verdicts(await report(a, results.slice(1)))).toEqual(Array(64).fill('VERDICT_GONE'));
});
