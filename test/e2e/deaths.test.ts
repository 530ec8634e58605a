import { afterAll, beforeAll, expect, test } from 'vitest';
import { WorkerState } from '../../src/grpc/generated/muster/v1/admin.js';
import { JobState } from '../../src/grpc/generated/muster/v1/job.js';
import type { Api } from '../../src/sdk/connect.js';
import { toDuration } from '../../src/sdk/duration.js';
import { jobSpec, runToEnd } from '../../src/sdk/run.js';
import { Cluster, untilIn } from '../helpers/cluster.js';
import { doubles, overlaps } from '../helpers/handlers.js';
import { Load } from '../helpers/load.js';

/** Three replicas and six workers as processes, of which some are killed. All times are a fifth of the real ones. */
const POOL = 'deaths';
const WORKERS = 6;
let cluster: Cluster;
let api: Api;

beforeAll(async () => {
  cluster = await Cluster.start();
  api = cluster.connect();
  await Promise.all(Array.from({ length: WORKERS }, (_, i) => cluster.worker(`w${i}`, { pool: POOL, slots: 2, target: cluster.targetOf(i % 3) })));
});

afterAll(async () => {
  await cluster?.dispose();
});

const kind = (value: string) => ({ $case: 'kind', value }) as const;
const load = (clients: number) =>
  new Load({ api, pool: POOL, clients, kind: 'slow', as: 'end', payload: () => String(Math.round(5 + 30 * Math.random())) });
const succeeded = async () => Number((await api.listPools({})).pools.find(({ name }) => name === POOL)?.succeededTotal);
const ready = ({ state }: { state: WorkerState }) => state === WorkerState.WORKER_STATE_FREE || state === WorkerState.WORKER_STATE_BUSY;

test('a replica killed under load: every job ends well, accepted once, and its workers get new homes', async () => {
  const before = await succeeded();
  const jobs = load(16);
  await untilIn(cluster, () => jobs.count > 200, { what: 'the load to run' });
  const dead = await cluster.idOf(1);
  expect((await cluster.roll(api, POOL)).filter(({ home }) => home === dead)).toHaveLength(2);

  const began = performance.now();
  await cluster.kill(1);
  const look = cluster.connect(cluster.targetOf(0));
  const healed = async () => {
    const roll = await cluster.roll(look, POOL);
    return roll.length === WORKERS && roll.every((worker) => worker.home !== dead && ready(worker));
  };
  await untilIn(cluster, healed, { timeoutMs: 30_000, what: 'its workers to have new homes' });
  const healMs = performance.now() - began;
  console.info(`FIGURE replicaKillHealMs=${Math.round(healMs)}`);
  // HOME_TTL_MS is 1.2 s here: it is found dead after that, and a check is one more tick and a probe.
  expect(healMs).toBeLessThan(10_000);

  const then = jobs.count;
  await untilIn(cluster, () => jobs.count > then + 200, { timeoutMs: 20_000, what: 'the load to go on' });
  await jobs.stop();
  expect({ refused: jobs.refused, broken: jobs.broken, wrong: jobs.wrong }).toEqual({ refused: [], broken: [], wrong: [] });
  expect(await succeeded()).toBe(before + jobs.count);
  expect(doubles(cluster.notes())).toEqual([]);
  console.info(`FIGURE replicaKillJobs=${jobs.count}`);
  await cluster.startAgain(1);
});

test('a replica frozen for longer than a home may be silent, and thawed: others take its workers, and it does not disturb them', async () => {
  const jobs = load(16);
  await untilIn(cluster, () => jobs.count > 100, { what: 'the load to run' });
  const frozen = await cluster.idOf(2);
  cluster.replica(2).child.signal('SIGSTOP');
  const look = cluster.connect(cluster.targetOf(0));
  const healed = async () => {
    const roll = await cluster.roll(look, POOL);
    return roll.length === WORKERS && roll.every((worker) => worker.home !== frozen && ready(worker));
  };
  await untilIn(cluster, healed, { timeoutMs: 30_000, what: 'its workers to have new homes' });
  cluster.replica(2).child.signal('SIGCONT');
  const then = jobs.count;
  await untilIn(cluster, () => jobs.count > then + 300, { timeoutMs: 30_000, what: 'the load to go on' });
  await jobs.stop();
  expect({ refused: jobs.refused, broken: jobs.broken, wrong: jobs.wrong }).toEqual({ refused: [], broken: [], wrong: [] });
  expect(doubles(cluster.notes())).toEqual([]);
});

test('a worker killed in the middle of its job: the job runs elsewhere, the worker is dead', async () => {
  const job = await api.submitJob({
    spec: jobSpec({ pool: POOL, id: 'unlucky', work: kind('slow'), payload: Buffer.from('1500'), retry: { initialBackoff: toDuration(10) } }),
  });
  expect(job.created).toBe(true);
  const notes = () => cluster.notes().filter(({ jobId }) => jobId === 'unlucky');
  await untilIn(cluster, () => notes().length === 1, { what: 'the job to run' });
  const victim = notes()[0]?.worker ?? '';
  const began = performance.now();
  cluster.workerOf(victim).child.signal('SIGKILL');
  await untilIn(cluster, () => notes().filter(({ event }) => event === 'start').length === 2, {
    timeoutMs: 20_000,
    what: 'the job to run elsewhere',
  });
  const healMs = performance.now() - began;
  console.info(`FIGURE workerKillHealMs=${Math.round(healMs)}`);
  expect(healMs).toBeLessThan(10_000);
  const end = await runToEnd(api, {
    pool: POOL,
    id: 'unlucky',
    work: kind('slow'),
    payload: Buffer.from('1500'),
    retry: { initialBackoff: toDuration(10) },
  });
  expect(JobState[end.state]).toBe('JOB_STATE_SUCCEEDED');
  expect(end.worker).not.toBe(victim);
  const { worker } = await api.getWorker({ pool: POOL, id: victim });
  expect(WorkerState[worker?.state ?? 0]).toBe('WORKER_STATE_DEAD');
  await cluster.worker(victim, { pool: POOL, slots: 2 });
});

test('a poison job is buried after a bounded number of deaths, while others go on', async () => {
  const pool = 'poison';
  const spec = { pool, id: 'poison', work: kind('poison'), retry: { maxAttempts: 3, initialBackoff: toDuration(10) } };
  await cluster.worker('victim', { pool });
  let over = false;
  // Whatever ends is started anew, as a supervisor does.
  const supervising = (async () => {
    for (;;) {
      const { child } = cluster.workerOf('victim');
      await untilIn(cluster, () => over || !child.running, { timeoutMs: 60_000, what: 'the victim to die' });
      if (over) return;
      expect(await child.ended()).toBe(66);
      cluster.launchWorker('victim', { pool });
    }
  })();
  const jobs = load(8);
  const end = await runToEnd(api, spec, { deadlineMs: 60_000 });
  over = true;
  await supervising;
  await jobs.stop();
  expect({ state: JobState[end.state], bounded: end.attempt <= 3 && end.handovers <= 5 }).toEqual({ state: 'JOB_STATE_FAILED', bounded: true });
  const runs = cluster.notes().filter(({ jobId, event }) => jobId === 'poison' && event === 'start').length;
  console.info(`FIGURE poisonRuns=${runs}`);
  expect(runs).toBe(end.attempt + end.handovers);
  expect({ refused: jobs.refused, broken: jobs.broken, wrong: jobs.wrong, some: jobs.count > 100 }).toEqual({
    refused: [],
    broken: [],
    wrong: [],
    some: true,
  });
});

test('nothing happened inside a replica that was not meant to, and nothing ran twice', () => {
  expect(cluster.faults()).toEqual([]);
  expect(doubles(cluster.notes())).toEqual([]);
  expect(overlaps(cluster.notes().filter(({ jobId }) => jobId !== 'poison' && jobId !== 'unlucky'))).toEqual([]);
});
