import { status } from '@grpc/grpc-js';
import { expect, test } from 'vitest';
import { type ListWorkersRequest, Pool, Replica, Worker, WorkerState } from '../../../src/grpc/generated/muster/v1/admin.js';
import { Contract } from '../../../src/grpc/generated/muster/v1/common.js';
import { JobState, type ListJobsRequest } from '../../../src/grpc/generated/muster/v1/job.js';
import { answer, job, Refused } from '../sdk/replica.js';
import { against, muster, NOW } from './harness.js';

const worker = Worker.fromPartial({
  pool: 'hash',
  id: 'w1',
  address: '10.0.0.7:9000',
  contract: Contract.CONTRACT_RUNNER,
  slots: 4,
  state: WorkerState.WORKER_STATE_BUSY,
  home: 'r1',
  linkEpoch: '1793000000000',
  lastSeenTime: new Date(NOW - 3_000),
  labels: { zone: 'a' },
  held: [{ jobId: 'j1', fence: '1793000000000001', quarantined: true }],
});
const failed = job({
  spec: { pool: 'hash', id: 'j1', work: { $case: 'kind', value: 'sha256' }, payload: Buffer.from('/etc/motd') },
  state: JobState.JOB_STATE_FAILED,
  attempt: 3,
  worker: 'w1',
  createTime: new Date(NOW - 90_000),
  outcome: { $case: 'failure', value: { code: 5, reason: 'gone', message: 'no such file', retryable: false, details: Buffer.alloc(0) } },
});

test('get jobs shows a table, oldest first as the server lists them', async () => {
  const asked: ListJobsRequest[] = [];
  const listJobs = answer((request: ListJobsRequest) => {
    asked.push(request);
    return { jobs: [failed], nextPageToken: '' };
  });
  const ran = await against({ listJobs }, ['get', 'jobs', '-p', 'hash', '--state', 'failed']);
  expect(ran.code).toBe(0);
  expect(ran.text.split('\n').map((line) => line.split(/ {2,}/))).toEqual([
    ['ID', 'STATE', 'WORK', 'ATTEMPT', 'WORKER', 'AGE', 'WHY'],
    ['j1', 'failed', 'sha256', '3', 'w1', '90s', 'gone: no such file'],
    [''],
  ]);
  expect(asked).toEqual([{ pool: 'hash', state: JobState.JOB_STATE_FAILED, pageSize: 200, pageToken: '' }]);
});

/** 30 jobs, 7 a page, and an empty page that is not the last. */
const paged = answer(({ pageToken }: ListJobsRequest) => {
  const from = Number(pageToken.split('-')[0] || 0);
  if (from === 14 && pageToken === '14') return { jobs: [], nextPageToken: '14-again' };
  const jobs = Array.from({ length: Math.min(7, 30 - from) }, (_, index) => job({ spec: { id: `j${from + index}` } }));
  return { jobs, nextPageToken: from + 7 < 30 ? String(from + 7) : '' };
});

test('lists are read to their end, over pages that are empty', async () => {
  const ran = await against({ listJobs: paged }, ['get', 'jobs', '-o', 'json']);
  const { jobs, more } = ran.json() as { jobs: { id: string }[]; more: boolean };
  expect(jobs.map(({ id }) => id)).toEqual(Array.from({ length: 30 }, (_, index) => `j${index}`));
  expect(more).toBe(false);
});

test('lists end at --limit and say that there is more', async () => {
  const ran = await against({ listJobs: paged }, ['get', 'jobs', '--limit', '10']);
  expect(ran.text.trimEnd().split('\n')).toHaveLength(11);
  expect(ran.story).toBe('the first 10; --limit shows more');
});

test('get jobs shows the jobs of all pools, and no more than --limit of them', async () => {
  const answers = {
    listPools: answer(() => ({ pools: ['a', 'b', 'c'].map((name) => Pool.fromPartial({ name })) })),
    listJobs: answer(({ pool }: ListJobsRequest) => ({ jobs: ['1', '2'].map((id) => job({ spec: { pool, id } })), nextPageToken: '' })),
  };
  const all = await against(answers, ['get', 'jobs', '-A', '-o', 'json']);
  const { jobs, more } = all.json() as { jobs: { pool: string; id: string }[]; more: boolean };
  expect(jobs.map(({ pool, id }) => pool + id)).toEqual(['a1', 'a2', 'b1', 'b2', 'c1', 'c2']);
  expect(more).toBe(false);
  for (const [limit, count, further] of [
    [3, 3, true],
    [4, 4, true],
    [6, 6, false],
  ] as const) {
    const some = await against(answers, ['get', 'jobs', '-A', '--limit', String(limit), '-o', 'json']);
    const document = some.json() as { jobs: unknown[]; more: boolean };
    expect([document.jobs.length, document.more], `--limit ${limit}`).toEqual([count, further]);
  }
  const shown = await against(answers, ['get', 'jobs', '-A']);
  expect(shown.text.split('\n').map((line) => line.split(/ {2,}/).slice(0, 2))).toContainEqual(['b', '2']);
});

test.each([
  ['pools', '-A'],
  ['replicas', '--all-pools'],
  ['methods', '-A'],
  ['methods', '--state', 'free'],
  ['jobs', 'j1', '-A'],
  ['workers', 'w1', '--state', 'free'],
  ['jobs', '--descriptors', 'file'],
])('get %s %s: an option that would change nothing is refused', async (...args) => {
  const ran = await muster(['get', ...args]);
  expect([ran.code, ran.story]).toEqual([2, expect.stringContaining(args.find((arg) => arg.startsWith('--')) ?? '--all-pools')]);
});

test('get workers shows one pool, or all', async () => {
  const asked: ListWorkersRequest[] = [];
  const listWorkers = answer((request: ListWorkersRequest) => {
    asked.push(request);
    return { workers: [worker], nextPageToken: '' };
  });
  const ran = await against({ listWorkers }, ['get', 'workers', '-A', '--state', 'busy']);
  expect(ran.text.split('\n')[1]?.split(/ {2,}/)).toEqual(['hash', 'w1', 'busy', 'runner', '10.0.0.7:9000', '1/4', 'r1', '3s']);
  await against({ listWorkers }, ['get', 'worker', '-o', 'json']);
  expect(asked).toMatchObject([
    { pool: '', state: WorkerState.WORKER_STATE_BUSY },
    { pool: 'default', state: 0 },
  ]);
});

test('one worker, as a sheet and as a document', async () => {
  const getWorker = answer(() => ({ worker }));
  const ran = await against({ getWorker }, ['get', 'workers', 'w1', '-p', 'hash']);
  expect(ran.text).toContain('held        j1 (quarantined)\n');
  expect(ran.text).toContain('labels      zone=a\n');
  const document = await against({ getWorker }, ['get', 'workers', 'w1', '-o', 'json']);
  expect(document.json()).toMatchObject({
    id: 'w1',
    contract: 'runner',
    state: 'busy',
    linkEpoch: 1_793_000_000_000,
    blocked: false,
    held: [{ jobId: 'j1', fence: '1793000000000001', quarantined: true }],
    lastSeenTime: new Date(NOW - 3_000).toISOString(),
    registerTime: null,
  });
});

test('one job, as a sheet and as a document', async () => {
  const getJob = answer(() => ({ job: failed }));
  const ran = await against({ getJob }, ['get', 'job', 'j1']);
  expect(ran.code).toBe(0);
  expect(ran.text).toContain('failure   NOT_FOUND gone: no such file\n');
  expect(ran.text).toContain('payload   /etc/motd\n');
  const document = await against({ getJob }, ['get', 'jobs', 'j1', '-o', 'json']);
  expect(document.json()).toMatchObject({
    state: 'failed',
    payloadText: '/etc/motd',
    failure: { code: 'NOT_FOUND', reason: 'gone', message: 'no such file', retryable: false },
  });
});

test('pools and replicas, and one of them by name', async () => {
  const answers = {
    listPools: answer(() => ({
      pools: [Pool.fromPartial({ name: 'hash', family: Contract.CONTRACT_RUNNER, paused: true, waiting: '12' }), Pool.fromPartial({ name: 'new' })],
    })),
    listReplicas: answer(() => ({
      replicas: [Replica.fromPartial({ id: 'r1', address: '10.0.0.1:50051', links: 6, startTime: new Date(NOW - 7_200_000) })],
    })),
  };
  const pools = await against(answers, ['get', 'pools']);
  expect(pools.text.split('\n')[1]?.split(/ {2,}/).slice(0, 6)).toEqual(['hash', 'runner', 'paused', '0', '0', '12']);
  const pool = await against(answers, ['get', 'pools', 'new', '-o', 'json']);
  expect(pool.json()).toMatchObject({ name: 'new', family: '', paused: false, waiting: 0, succeededTotal: 0 });
  const replicas = await against(answers, ['get', 'replicas']);
  expect(replicas.text.split('\n')[1]?.split(/ {2,}/)).toEqual(['r1', 'ready', '10.0.0.1:50051', '6', '2h']);
  const document = await against(answers, ['get', 'replicas', '-o', 'json']);
  expect(document.json()).toMatchObject({ replicas: [{ id: 'r1', links: 6, draining: false }], more: false });
  for (const args of [
    ['pools', 'none'],
    ['replicas', 'none'],
  ]) {
    const missing = await against(answers, ['get', ...args]);
    expect([missing.code, missing.story]).toEqual([4, expect.stringContaining('not found')]);
  }
});

test('an empty list is an empty stdout', async () => {
  const ran = await against({ listJobs: answer(() => ({ jobs: [], nextPageToken: '' })) }, ['get', 'jobs']);
  expect([ran.code, ran.text, ran.story]).toEqual([0, '', 'no jobs']);
});

test('what is not known exits 4', async () => {
  const getJob = answer(() => {
    throw new Refused(status.NOT_FOUND, 'NO_SUCH_JOB', 'job default/j1 is not known');
  });
  const ran = await against({ getJob }, ['get', 'jobs', 'j1']);
  expect([ran.code, ran.story]).toEqual([4, 'muster: not found: job default/j1 is not known. Is it in another pool (--pool)?']);
});

test('a wrong kind or state suggests the right one', async () => {
  const kind = await muster(['get', 'wrokers']);
  expect([kind.code, kind.story]).toEqual([2, expect.stringContaining('(did you mean workers?)')]);
  const state = await muster(['get', 'jobs', '--state', 'fialed']);
  expect([state.code, state.story]).toEqual([2, expect.stringContaining('(did you mean failed?)')]);
  const other = await muster(['get', 'pools', '--state', 'free']);
  expect([other.code, other.story]).toEqual([2, expect.stringContaining('pools have none')]);
});
