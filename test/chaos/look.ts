import type { Redis } from 'ioredis';
import { readConfig } from '../../src/config.js';
import { systemClock } from '../../src/domain/clock.js';
import { scriptLimits } from '../../src/lifecycle/limits.js';
import { Inspection } from '../../src/store/inspection.js';
import { keys } from '../../src/store/keys.js';
import { TIME_SCALE } from './fleet.js';

/** One job as its hash says; undefined: it is not there. */
export interface JobLook {
  state: string;
  attempt: number;
  handovers: number;
  /** Of its present or last lease. */
  fence: number;
  /** Under which its end was accepted; 0: none. */
  done: number;
  /** ms; 0: not yet. */
  finished: number;
  worker: string;
}

/** Longer than a few ticks: a free worker beside a waiting job is broken when these have passed. */
const LOOK_AGAIN_MS = 500;
const ANSWER_MS = 1_000;

/** The product's own audit, with the limits of the fleet. Ended by `stop`. Rejects as `Inspection.start` does. */
export async function openInspection(url: string): Promise<Inspection> {
  const config = readConfig({ MUSTER_INSECURE: 'true', MUSTER_TIME_SCALE: String(TIME_SCALE) });
  const inspection = new Inspection({
    ...{ url, timeoutMs: ANSWER_MS, lookAgainMs: LOOK_AGAIN_MS, limits: scriptLimits(config), clock: systemClock },
    // A Redis that is away is what some trials are about.
    onError: () => undefined,
  });
  await inspection.start(AbortSignal.timeout(ANSWER_MS));
  return inspection;
}

/** What the audit cannot know: the fields by which one look at a job is compared with the next. Rejects as ioredis does. */
export async function lookAtJobs(redis: Redis, pool: string, ids: readonly string[]): Promise<(JobLook | undefined)[]> {
  const asked = redis.pipeline();
  for (const id of ids) asked.hmget(keys.job(pool, id), 'state', 'attempt', 'handovers', 'fence', 'done', 'finished', 'worker');
  const answers = (await asked.exec()) ?? [];
  return answers.map(([error, fields]) => {
    if (error) throw error;
    return toJob(fields as (string | null)[]);
  });
}

function toJob([state, attempt, handovers, fence, done, finished, worker]: (string | null)[]): JobLook | undefined {
  if (!state) return undefined;
  return {
    state,
    attempt: Number(attempt ?? 0),
    handovers: Number(handovers ?? 0),
    fence: Number(fence ?? 0),
    done: Number(done ?? 0),
    finished: Number(finished ?? 0),
    worker: worker ?? '',
  };
}

export const isOver = ({ state }: JobLook): boolean => TERMINAL.has(state);
const TERMINAL: ReadonlySet<string> = new Set(['succeeded', 'failed', 'cancelled', 'expired']);
