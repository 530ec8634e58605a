import { systemIds } from '../../domain/clock.js';
import { ApiError } from '../../sdk/api-error.js';
import { sdkClock } from '../../sdk/clock.js';
import { type Job, JobState, type Worker, WorkerState } from '../../sdk/messages.js';
import { type Fleet, HASH_POOL, pollFor } from './fleet.js';
import type { Load } from './load.js';

/** What is done to the fleet while it works, and how long it takes to be whole again. */
export interface FaultsOptions {
  fleet: Fleet;
  load: Load;
  /** What the job is about in whose middle its worker is killed. */
  path: string;
  tell: (line: string) => void;
  signal: AbortSignal;
}

/** ms from the kill; undefined: not healed in time. */
export interface Healed {
  replicaKillHealMs: number | undefined;
  workerKillHealMs: number | undefined;
}

const HEAL_MS = 60_000;
const CALL_MS = 2_000;
/** How long the job takes that is to be interrupted, and how long it has run by then: long enough to count as an attempt (CONFIRM_MS). */
const LONG_MS = 4_000;
const INTO_MS = 2_200;
const TRIES = 5;

/** One after the other, so that each heals by itself. */
export async function injectFaults(options: FaultsOptions): Promise<Healed> {
  const replicaKillHealMs = await killReplica(options);
  const workerKillHealMs = replicaKillHealMs === undefined ? undefined : await killWorker(options);
  return { replicaKillHealMs, workerKillHealMs };
}

const nameOf = ({ pool, id }: { pool: string; id: string }) => `${pool}/${id}`;

/** Kills the replica that is home of the most workers; healed when each of them has another living home and takes jobs. */
async function killReplica({ fleet, tell, signal }: FaultsOptions): Promise<number | undefined> {
  const [roll, { replicas }] = await Promise.all([fleet.roll(), fleet.api.listReplicas({}, { deadlineMs: CALL_MS })]);
  const workersOf = (home: string) => roll.filter((worker) => worker.home === home);
  const [victim, ...others] = replicas.toSorted((a, b) => workersOf(b.id).length - workersOf(a.id).length);
  const process = fleet.replicas.find(({ address }) => address === victim?.address);
  if (victim === undefined || process === undefined) throw new Error('no replica of the roll is one of ours');
  const orphans = workersOf(victim.id);
  const living = new Set(others.map(({ id }) => id));
  tell(`SIGKILL to ${process.child.name}, home of ${orphans.map(({ id }) => id).join(', ')}`);
  await process.child.kill();
  const healedMs = await pollFor(
    async () => {
      const now = new Map((await fleet.roll()).map((worker) => [nameOf(worker), worker]));
      return orphans.every((orphan) => hasHome(now.get(nameOf(orphan)), living));
    },
    HEAL_MS,
    signal,
  );
  if (!signal.aborted)
    tell(healedMs === undefined ? `its workers have no home after ${HEAL_MS / 1000} s` : `its workers have another home after ${seconds(healedMs)}`);
  return healedMs;
}

function hasHome(worker: Worker | undefined, living: ReadonlySet<string>): boolean {
  if (worker === undefined || !living.has(worker.home)) return false;
  return worker.state === WorkerState.WORKER_STATE_FREE || worker.state === WorkerState.WORKER_STATE_BUSY;
}

/** Kills the worker that is in the middle of a long job; healed when that job runs on another worker, or has ended there. */
async function killWorker(options: FaultsOptions): Promise<number | undefined> {
  const { fleet, tell, signal } = options;
  for (let tries = 1; tries <= TRIES && !signal.aborted; tries++) {
    const id = systemIds.jobId();
    const ended = options.load.hash(options.path, id, LONG_MS);
    const process = await untilInMiddle(options, id);
    if (process === undefined) {
      await ended;
      continue;
    }
    tell(`SIGKILL to ${process.child.name}, in the middle of a job`);
    await process.child.kill();
    const elsewhere = async () => {
      const { worker, state } = await look(fleet, id);
      return worker !== process.id && (state === JobState.JOB_STATE_RUNNING || state === JobState.JOB_STATE_SUCCEEDED);
    };
    const healedMs = await pollFor(elsewhere, HEAL_MS, signal);
    if (!signal.aborted)
      tell(healedMs === undefined ? `its job runs nowhere after ${HEAL_MS / 1000} s` : `its job runs elsewhere after ${seconds(healedMs)}`);
    await ended;
    return healedMs;
  }
  return undefined;
}

/** Resolves with the process that has run the job for a while now; undefined when it was over first. */
async function untilInMiddle({ fleet, signal }: FaultsOptions, id: string) {
  let worker = '';
  await pollFor(
    async () => {
      const job = await look(fleet, id);
      worker = job.state === JobState.JOB_STATE_RUNNING ? job.worker : '';
      return job.state >= JobState.JOB_STATE_RUNNING;
    },
    HEAL_MS,
    signal,
  );
  await sdkClock.sleep(INTO_MS, signal);
  const job = await look(fleet, id);
  if (job.state !== JobState.JOB_STATE_RUNNING || job.worker !== worker) return undefined;
  return fleet.workers.find((process) => process.id === worker && process.pool === HASH_POOL);
}

async function look({ api }: Fleet, id: string): Promise<Pick<Job, 'worker' | 'state'>> {
  const unknown = { worker: '', state: JobState.JOB_STATE_UNSPECIFIED };
  try {
    return (await api.getJob({ pool: HASH_POOL, id }, { deadlineMs: CALL_MS })).job ?? unknown;
  } catch (error) {
    // Its submission is still on the way.
    if (error instanceof ApiError && error.codeName === 'NOT_FOUND') return unknown;
    throw error;
  }
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}
