import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { JobRequest, JobResponse } from '../../src/grpc/generated/job/job.js';
import { WorkerState } from '../../src/grpc/generated/muster/v1/admin.js';
import { type Job, JobState } from '../../src/grpc/generated/muster/v1/job.js';
import type { Api } from '../../src/sdk/connect.js';
import { toDuration } from '../../src/sdk/duration.js';
import { jobSpec, runToEnd, waitToEnd } from '../../src/sdk/run.js';
import { keys } from '../../src/store/keys.js';
import { Cluster, untilIn } from '../helpers/cluster.js';
import { firstContract } from '../helpers/first-contract.js';
import { overlaps } from '../helpers/handlers.js';

/** Workers that know the first contract only. All times are a tenth of the real ones: a lease is 3 s, a home dead after 0.6 s. */
const POOL = 'default';
const LEASE_MS = 3_000;
let cluster: Cluster;
let api: Api;
let redis: Redis;

beforeAll(async () => {
  cluster = await Cluster.start({ replicas: 2, timeScale: 0.1 });
  api = cluster.connect();
  await cluster.worker('old1', { legacy: true, target: cluster.targetOf(0) });
  await cluster.worker('old2', { legacy: true, target: cluster.targetOf(1) });
  await api.drainWorker({ pool: POOL, id: 'old2' });
  redis = new Redis(cluster.redis.url);
});

afterAll(async () => {
  redis?.disconnect();
  await cluster?.dispose();
});

const spec = (id: string, ms: number) => {
  const payload = Buffer.from(JobRequest.encode(JobRequest.fromPartial({ jobId: id, contextDir: String(ms) })).finish());
  return jobSpec({ id, work: { $case: 'method', value: '/job.JobService/RunJob' }, payload, retry: { initialBackoff: toDuration(10) } });
};
const logsOf = ({ outcome }: Job) => (outcome?.$case === 'output' ? JobResponse.decode(outcome.value).logs : '');
const worker = async (id: string) => (await api.getWorker({ pool: POOL, id })).worker;
const inState = (id: string, state: WorkerState) =>
  untilIn(cluster, async () => (await worker(id))?.state === state, { timeoutMs: 20_000, what: `${id} to be ${WorkerState[state]}` });
/** Registering again makes the replica that is asked its home. */
async function moveHome(id: string, i: number): Promise<void> {
  const at = firstContract(cluster.targetOf(i));
  await at.register({ id, ip: '127.0.0.1', port: cluster.workerOf(id).port, region: '' });
  at.close();
  expect((await worker(id))?.home).toBe(await cluster.idOf(i));
}
const runsOf = (id: string) => cluster.notes().filter(({ jobId }) => jobId === id);

test('a legacy worker serves unchanged: any replica gives it jobs, and it is pinged', async () => {
  const ends = await Promise.all(Array.from({ length: 10 }, (_, i) => runToEnd(cluster.connect(cluster.targetOf(i % 2)), spec(`short-${i}`, 20))));
  expect(ends.map((end) => [JobState[end.state], end.attempt, logsOf(end)])).toEqual(ends.map(() => ['JOB_STATE_SUCCEEDED', 1, 'old1 took 20']));
  // One slot: one after the other.
  expect(overlaps(cluster.notes().map((note) => ({ ...note, jobId: 'any', fence: note.jobId })))).toEqual([]);
});

test('a job that outlives its home and a lease is fenced: nobody else runs it meanwhile, its result is lost with its call, and it runs once more', async () => {
  const tookMs = LEASE_MS + 1_000;
  const id = 'long';
  await api.submitJob({ spec: spec(id, tookMs) });
  await untilIn(cluster, async () => (await redis.hget(keys.job(POOL, id), 'delivered')) === '1', { what: 'its delivery to be confirmed' });
  await cluster.kill(0);
  const other = cluster.connect(cluster.targetOf(1));
  const home = await cluster.idOf(1);
  await untilIn(cluster, async () => (await other.getWorker({ pool: POOL, id: 'old1' })).worker?.home === home, {
    timeoutMs: 20_000,
    what: 'the new home',
  });
  await other.undrainWorker({ pool: POOL, id: 'old2' });
  expect((await other.getWorker({ pool: POOL, id: 'old2' })).worker?.state).toBe(WorkerState.WORKER_STATE_FREE);
  await untilIn(cluster, () => runsOf(id).length >= 2, { timeoutMs: 20_000, what: 'its first run to end' });
  expect(runsOf(id).map(({ event, worker: by }) => [event, by])).toEqual([
    ['start', 'old1'],
    ['end', 'old1'],
  ]);
  const end = await waitToEnd(other, POOL, id, { deadlineMs: 30_000 });
  expect([JobState[end.state], end.attempt, end.handovers, logsOf(end)]).toEqual(['JOB_STATE_SUCCEEDED', 2, 0, `${end.worker} took ${tookMs}`]);
  expect(runsOf(id).map(({ event }) => event)).toEqual(['start', 'end', 'start', 'end']);
  await other.drainWorker({ pool: POOL, id: 'old2' });
  await cluster.startAgain(0);
  await moveHome('old1', 0);
});

test('a job whose home dies before it confirmed the delivery may run twice, and is accepted once', async () => {
  const id = 'unconfirmed';
  await api.submitJob({ spec: spec(id, 1_500) });
  await untilIn(cluster, () => runsOf(id).length === 1, { what: 'it to run' });
  await cluster.kill(0);
  const other = cluster.connect(cluster.targetOf(1));
  await other.undrainWorker({ pool: POOL, id: 'old2' });
  const end = await waitToEnd(other, POOL, id, { deadlineMs: 30_000 });
  expect([JobState[end.state], logsOf(end)]).toEqual(['JOB_STATE_SUCCEEDED', `${end.worker} took 1500`]);
  const free = async () => (await cluster.roll(other, POOL)).filter(({ state }) => state === WorkerState.WORKER_STATE_FREE).length === 2;
  await untilIn(cluster, free, { timeoutMs: 20_000, what: 'both to be free' });
  expect((await other.getJob({ pool: POOL, id })).job).toEqual(end);
  expect(runsOf(id).filter(({ event }) => event === 'start').length).toBe(runsOf(id).filter(({ event }) => event === 'end').length);
  await other.drainWorker({ pool: POOL, id: 'old2' });
  await cluster.startAgain(0);
});

test('one that is killed is dead, and comes back by registering', async () => {
  const { child, port } = cluster.workerOf('old1');
  child.signal('SIGKILL');
  await inState('old1', WorkerState.WORKER_STATE_DEAD);
  await cluster.worker('old1', { legacy: true, port });
  await inState('old1', WorkerState.WORKER_STATE_FREE);
  const end = await runToEnd(api, spec('after', 20));
  expect([JobState[end.state], end.worker]).toEqual(['JOB_STATE_SUCCEEDED', 'old1']);
});

test('nothing happened inside a replica that was not meant to', () => {
  expect(cluster.faults()).toEqual([]);
});
