import { doubles, type Note } from '../helpers/handlers.js';
import { LEGACY_POOL, POOL } from './fleet.js';
import type { Operation } from './history.js';
import { isOver, type JobLook } from './look.js';
import { type Loss, mayBeGone, mayBeOtherwise } from './loss.js';
import { failsAfter } from './work.js';

/** What one trial left behind. */
export interface Evidence {
  operations: readonly Operation[];
  /** What stands in Redis at the end, by pool and id. */
  jobs: ReadonlyMap<string, ReadonlyMap<string, JobLook | undefined>>;
  /** Successes that the scripts counted in this trial. */
  succeeded: number;
  notes: readonly Note[];
  /** How often in this trial a worker of the first contract got a link anew: another home, or the same after a break. */
  relinked: number;
  /** That the fault was meant to bring. */
  loss?: Loss | undefined;
}

export interface Verdict {
  jobs: number;
  /** Acknowledged, and not there any more; or over, and their clients, which lived, were told nothing, or something else. */
  lost: string[];
  /** Results that were accepted beyond one a job. */
  duplicated: number;
  /** There, and neither over nor on their way. */
  limbo: string[];
  /** Anything else that must not be. */
  broken: string[];
  /** Executions beyond the first of a job: what at-least-once costs. By what brought them about. */
  reruns: { spent: number; handedOver: number };
  /** Executions of jobs of the first contract that neither an attempt nor a handover tells of. Part of the re-runs. */
  resent: number;
  /** Dead letters that had all their attempts or handovers. */
  buried: number;
}

/** As of the configuration. */
const MAX_HANDOVERS = 5;
const PAYLOAD_SHOWN = 40;

/** Holds what clients saw against what workers noted and what stands in Redis. */
export function judge({ operations, jobs, succeeded, notes, relinked, loss }: Evidence): Verdict {
  const verdict: Verdict = {
    jobs: operations.length,
    lost: [],
    duplicated: 0,
    limbo: [],
    broken: [],
    reruns: { spent: 0, handedOver: 0 },
    resent: 0,
    buried: 0,
  };
  const starts = count(notes.filter(({ event }) => event === 'start').map(({ jobId }) => jobId));
  const done = new Set(notes.filter(({ how }) => how === 'done').map(({ jobId, fence }) => `${jobId} ${fence}`));
  const doneAtAll = new Set(notes.filter(({ how }) => how === 'done').map(({ jobId }) => jobId));
  const idsOf = (name: string) => new Set(operations.filter(({ pool }) => pool === name).map(({ id }) => id));
  const [sdk, legacy] = [idsOf(POOL), idsOf(LEGACY_POOL)];
  let ended = 0;
  for (const operation of operations) {
    const { pool, id, kind } = operation;
    const job = jobs.get(pool)?.get(id);
    const told = `${JSON.stringify({ ...operation, payload: operation.payload.slice(0, PAYLOAD_SHOWN) })} ${JSON.stringify(job)}`;
    if (operation.outcome === 'fail') verdict.broken.push(`${id} was refused: ${told}`);
    if (!job) {
      if (operation.ackedAt !== undefined && !mayBeGone(operation, loss)) verdict.lost.push(`${id} is gone: ${told}`);
      continue;
    }
    if (!isOver(job)) {
      verdict.limbo.push(`${id} is ${job.state}: ${told}`);
      continue;
    }
    const untold = operation.orphan === true && operation.end === undefined;
    const otherwise = mayBeOtherwise(operation, loss);
    if (operation.ackedAt !== undefined && !untold && !otherwise && operation.end?.state !== `JOB_STATE_${job.state.toUpperCase()}`)
      verdict.lost.push(`${id}: its client was told otherwise: ${told}`);
    const again = (starts.get(id) ?? 0) - 1;
    if (again > 0) {
      verdict.reruns.spent += Math.min(again, job.attempt - 1);
      verdict.reruns.handedOver += Math.max(0, again - (job.attempt - 1));
    }
    if (pool === LEGACY_POOL && !otherwise) verdict.resent += Math.max(0, again - (job.attempt - 1) - job.handovers);
    if (pool === POOL && !otherwise && again > job.attempt - 1 + job.handovers) verdict.broken.push(`L2 ${id} ran ${again + 1} times: ${told}`);
    if (job.state === 'succeeded') {
      ended++;
      if (operation.end && !operation.end.right) verdict.broken.push(`${id} brought another result: ${told}`);
      const ran = pool === LEGACY_POOL ? doneAtAll.has(id) : done.has(`${id} ${job.done}`);
      if (!ran) verdict.broken.push(`${id} succeeded under a fence that nobody ended: ${told}`);
    } else if (job.attempt >= failsAfter(kind) || job.handovers >= MAX_HANDOVERS) verdict.buried++;
    else verdict.broken.push(`${id} is ${job.state} too early: ${told}`);
  }
  // A worker of the first contract knows no fences. When its home dies before it has told Redis that a job arrived, the next home sends it
  // once more, under the same attempt: once for each link that the worker gets, for it takes one job at a time. So does a worker that
  // ended and listens again at its address, for it looks like the one before it: once for each life.
  const most = relinked + livesBeyondFirst(notes.filter(({ jobId }) => legacy.has(jobId)));
  if (verdict.resent > most) verdict.broken.push(`L2 ${verdict.resent} executions of the first contract told by no attempt, ${most} may be`);
  verdict.duplicated = Math.max(0, succeeded - ended);
  if (succeeded < ended) verdict.broken.push(`${ended} jobs succeeded, ${succeeded} were counted`);
  // The first contract has no fences: there a job may run beside itself. Elsewhere a fence is begun once, in whichever life of its worker.
  const fenced = notes.filter(({ jobId }) => sdk.has(jobId));
  for (const what of shared(fenced)) verdict.broken.push(`I2 one fence for two jobs: ${what}`);
  for (const what of doubles(fenced)) verdict.broken.push(`I4 begun twice: ${what}`);
  return verdict;
}

/** Of each worker, the processes that ran something beyond its first. */
function livesBeyondFirst(notes: readonly Note[]): number {
  return new Set(notes.map(({ worker, life }) => `${worker} ${life}`)).size - new Set(notes.map(({ worker }) => worker)).size;
}

/** Fences under which more than one job was begun. */
function shared(notes: readonly Note[]): string[] {
  const jobs = new Map<string, string>();
  return notes.flatMap(({ fence, jobId }) => {
    const other = jobs.get(fence) ?? jobId;
    jobs.set(fence, other);
    return other === jobId ? [] : [`${fence} of ${other} and ${jobId}`];
  });
}

function count(list: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const item of list) counts.set(item, (counts.get(item) ?? 0) + 1);
  return counts;
}
