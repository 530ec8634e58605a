import { afterAll, beforeAll, expect, test } from 'vitest';
import { WorkerState } from '../../src/grpc/generated/muster/v1/admin.js';
import { JobState } from '../../src/grpc/generated/muster/v1/job.js';
import type { ApiError } from '../../src/sdk/api-error.js';
import type { Api } from '../../src/sdk/connect.js';
import { jobSpec, runToEnd, waitToEnd } from '../../src/sdk/run.js';
import { Cluster, untilIn } from '../helpers/cluster.js';
import { doubles, overlaps } from '../helpers/handlers.js';
import { Load } from '../helpers/load.js';

/** What operators do on an ordinary day: drain workers, and replace every replica by a new version, under load. */
const POOL = 'deploy';
const WORKERS = 4;
const SCALE = 0.2;
const LEAD_MS = 2_000 * SCALE;
const GRACE_MS = 25_000 * SCALE;
let cluster: Cluster;
let api: Api;

beforeAll(async () => {
  // On a busy machine Redis may be slow for a second. That has other words for its callers, and is not what is looked at here.
  cluster = await Cluster.start({ timeScale: SCALE, settings: { REDIS_TIMEOUT_MS: '5000', DELIVERY_MS: '25000' } });
  api = cluster.connect();
  await Promise.all(Array.from({ length: WORKERS }, (_, i) => cluster.worker(`w${i}`, { pool: POOL, slots: 4 })));
});

afterAll(async () => {
  await cluster?.dispose();
});

const kind = (value: string) => ({ $case: 'kind', value }) as const;
const load = (as: 'end' | 'plain', clients: number) =>
  new Load({ api, pool: POOL, clients, kind: 'slow', as, payload: () => String(Math.round(5 + 40 * Math.random())) });
const nothingWrong = (jobs: Load) =>
  expect({ refused: jobs.refused, broken: jobs.broken, wrong: jobs.wrong }).toEqual({ refused: [], broken: [], wrong: [] });

test('workers drained and undrained one after another under load: no job fails, and a drained one gets none', async () => {
  const jobs = load('end', 12);
  await untilIn(cluster, () => jobs.count > 50, { what: 'the load to run' });
  for (let i = 0; i < WORKERS; i++) {
    const id = `w${i}`;
    await api.drainWorker({ pool: POOL, id });
    await untilIn(cluster, async () => (await api.getWorker({ pool: POOL, id })).worker?.held.length === 0, { what: `${id} to be done` });
    const begun = () => cluster.notes().filter(({ worker, event }) => worker === id && event === 'start').length;
    const before = begun();
    const then = jobs.count;
    await untilIn(cluster, () => jobs.count > then + 50, { what: 'the others to go on' });
    expect(begun()).toBe(before);
    expect(WorkerState[(await api.getWorker({ pool: POOL, id })).worker?.state ?? 0]).toBe('WORKER_STATE_DRAINING');
    await api.undrainWorker({ pool: POOL, id });
    await untilIn(cluster, () => begun() > before, { what: `${id} to run jobs again` });
  }
  await jobs.stop();
  nothingWrong(jobs);
});

test('every replica replaced, one after another, under load: nothing is lost, and no job fails', async () => {
  const longs = ['long-1', 'long-2', 'long-3'];
  const longMs = LEAD_MS + GRACE_MS + 4_000;
  for (const id of longs) await api.submitJob({ spec: jobSpec({ id, pool: POOL, work: kind('slow'), payload: Buffer.from(String(longMs)) }) });
  const users = load('end', 8);
  const plain = load('plain', 8);
  await untilIn(cluster, () => users.count > 50 && plain.count > 50, { what: 'the load to run' });
  const took: number[] = [];
  // A home of a long job goes first, so that the job certainly outlives it.
  const { job } = await api.getJob({ pool: POOL, id: 'long-1' });
  const home = (await api.getWorker({ pool: POOL, id: job?.worker ?? '' })).worker?.home;
  const ids = await Promise.all(cluster.replicas.map((_, i) => cluster.idOf(i)));
  const first = ids.indexOf(home ?? '');
  expect(first).toBeGreaterThanOrEqual(0);
  for (let n = 0; n < ids.length; n++) {
    const i = (first + n) % ids.length;
    const began = performance.now();
    expect(await cluster.stop(i)).toBe(0);
    took.push(performance.now() - began);
    await cluster.startAgain(i);
    const then = users.count;
    await untilIn(cluster, () => users.count > then + 50, { what: 'the load to go on' });
  }
  await Promise.all([users.stop(), plain.stop()]);
  console.info(`FIGURE sigtermMs=${took.map(Math.round).join(',')} deployJobs=${users.count + plain.count} plainRefused=${plain.refused.length}`);
  expect(Math.max(...took)).toBeLessThan(LEAD_MS + GRACE_MS + 3_000);

  nothingWrong(users);
  // A plain call may meet a replica that does not take it any more. Then it says so, and nothing has happened.
  expect({ broken: plain.broken, wrong: plain.wrong }).toEqual({ broken: [], wrong: [] });
  expect(plain.refused.filter(({ error }) => error.codeName !== 'UNAVAILABLE').map(({ error }) => `${error.codeName} ${error.message}`)).toEqual([]);
  const processed = await Promise.all(
    plain.refused.map(async ({ id, error, tookMs }) => {
      const found = await api.getJob({ pool: POOL, id }).catch((missing: ApiError) => missing.codeName);
      return found === 'NOT_FOUND' ? [] : [`${id} is there, refused after ${Math.round(tookMs)} ms: ${error.reason} ${error.message}`];
    }),
  );
  expect(processed.flat()).toEqual([]);
  const open = await Promise.all(plain.open.map((id) => waitToEnd(api, POOL, id, { deadlineMs: 20_000 })));
  expect(open.map(({ state }) => JobState[state])).toEqual(plain.open.map(() => 'JOB_STATE_SUCCEEDED'));

  const ends = await Promise.all(longs.map((id) => waitToEnd(api, POOL, id, { deadlineMs: 30_000 })));
  expect(ends.map(({ state, attempt }) => [JobState[state], attempt])).toEqual(longs.map(() => ['JOB_STATE_SUCCEEDED', 1]));
  const runs = cluster.notes().filter(({ jobId, event }) => longs.includes(jobId) && event === 'start');
  expect(runs.map(({ jobId }) => jobId).sort()).toEqual(longs);
  expect(doubles(cluster.notes())).toEqual([]);
  expect(overlaps(cluster.notes())).toEqual([]);
});

test('every worker replaced, one after another, under load: each finishes what it holds and exits 0', async () => {
  const jobs = load('end', 8);
  await untilIn(cluster, () => jobs.count > 50, { what: 'the load to run' });
  for (let i = 0; i < WORKERS; i++) {
    const { child } = cluster.workerOf(`w${i}`);
    child.signal('SIGTERM');
    expect(await child.ended()).toBe(0);
    await cluster.worker(`w${i}`, { pool: POOL, slots: 4 });
  }
  await jobs.stop();
  nothingWrong(jobs);
  expect(cluster.notes().filter(({ how }) => how === 'aborted' || how === 'failed')).toEqual([]);
  expect(doubles(cluster.notes())).toEqual([]);
});

test('the whole of it left the pool empty and every worker free', async () => {
  await runToEnd(api, { pool: POOL, work: kind('echo') });
  const idle = async () => (await cluster.roll(api, POOL)).every(({ state }) => state === WorkerState.WORKER_STATE_FREE);
  await untilIn(cluster, idle, { what: 'every worker to be free' });
  const pool = (await api.listPools({})).pools.find(({ name }) => name === POOL);
  expect(pool).toMatchObject({ waiting: '0', scheduled: '0', running: '0', buried: '0', failedTotal: '0', workers: WORKERS, free: WORKERS });
  expect(cluster.faults()).toEqual([]);
});
