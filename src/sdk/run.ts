import { type Clock, type Ids, type Random, systemIds, systemRandom } from '../domain/clock.js';
import type { DeepPartial, Job } from '../grpc/generated/muster/v1/job.js';
import { JobSpec, JobState } from '../grpc/generated/muster/v1/job.js';
import { ApiError } from './api-error.js';
import { Backoff } from './backoff.js';
import { sdkClock } from './clock.js';
import type { Api } from './connect.js';
import { checkMs, toDuration } from './duration.js';
import { retrying } from './retrying.js';
import { producing } from './tracing.js';

export interface RunOptions {
  /** Breaks off the waiting, not the job. */
  signal?: AbortSignal;
  /** How long to wait for the end; default: for ever. */
  deadlineMs?: number;
  /** Throws UNAVAILABLE (or what the last call broke with) when no replica answered for so long. Default 60 s. */
  giveUpMs?: number;
  /** The longest single wait at a replica; one that hangs is noticed 3 s after it. Default 10 s, and never more than `giveUpMs`. */
  chunkMs?: number;
  /** Told of each answer that is not the end. */
  onProgress?: (job: Job) => void;
  /** Told of each call that broke and will be made again. */
  onRetry?: (error: ApiError) => void;
  clock?: Clock;
  random?: Random;
  ids?: Ids;
}

const GIVE_UP_MS = 60_000;
const CHUNK_MS = 10_000;
/** What a replica takes as a wait: a longer one is asked for again. */
const CHUNK_MAX_MS = 86_400_000;
/** A replica answers when the wait is over; one that has not by so much later is stuck. */
const SLACK_MS = 3_000;
/** Between two answers that are not the end: a replica that stops sends its waiters away early, and must not be asked in a tight loop. */
const PACE = { firstMs: 100, maxMs: 2_000 };
/** A timer may fire so much early: one millisecond by its fraction, one by Node's own reckoning. What is left then is nothing. */
const TIMER_SLACK_MS = 2;

/** A whole JobSpec out of what is set. */
export function jobSpec(spec: DeepPartial<JobSpec>): JobSpec {
  return JobSpec.fromPartial(spec);
}

export function isEnd(state: JobState): boolean {
  return END.has(state);
}

const END: ReadonlySet<JobState> = new Set([
  JobState.JOB_STATE_SUCCEEDED,
  JobState.JOB_STATE_FAILED,
  JobState.JOB_STATE_CANCELLED,
  JobState.JOB_STATE_EXPIRED,
]);

/**
 * Submits a job and waits for its end, over the death of any replica: the job has an id before the first call, so submitting it again is
 * harmless. Resolves with the job; not ended only when `deadlineMs` passed first. A failed job resolves too. Rejects with ApiError when it
 * was refused, no replica answered for `giveUpMs` (then it may or may not have been submitted), or the signal was aborted (CANCELLED).
 */
export async function runToEnd(api: Api, spec: DeepPartial<JobSpec>, options: RunOptions = {}): Promise<Job> {
  const whole = jobSpec(spec);
  if (whole.id === '') whole.id = (options.ids ?? systemIds).jobId();
  const waits = new Waits(options);
  const span = producing(whole);
  const first = await waits
    .call(async ({ waitMs, ...call }) => (await api.runJob({ spec: whole, wait: toDuration(waitMs), cancelOnDisconnect: false }, call)).job)
    .then(
      (job) => {
        span.over();
        return job;
      },
      (error: unknown) => {
        span.over(error);
        throw error;
      },
    );
  return goOn(api, whole.pool, whole.id, first, waits);
}

/** Waits for the end of a job that was submitted before. Resolves and rejects as `runToEnd` does; NOT_FOUND: it is not known. */
export async function waitToEnd(api: Api, pool: string, id: string, options: RunOptions = {}): Promise<Job> {
  const waits = new Waits(options);
  return goOn(api, pool, id, await waits.job(api, pool, id), waits);
}

async function goOn(api: Api, pool: string, id: string, first: Job, waits: Waits): Promise<Job> {
  let job = first;
  while (!isEnd(job.state) && waits.leftMs() > 0) {
    waits.options.onProgress?.(job);
    await waits.pace();
    try {
      job = await waits.job(api, pool, id);
    } catch (error) {
      // The time is over while no replica answers: what the job was last is the better answer.
      if (error instanceof ApiError && error.broken && waits.leftMs() === 0 && !waits.options.signal?.aborted) return job;
      throw error;
    }
  }
  return job;
}

interface Wait {
  waitMs: number;
  deadlineMs: number;
  signal: AbortSignal | undefined;
}

/** The time that is left, cut into calls of a bounded wait each. */
class Waits {
  private readonly clock: Clock;
  private readonly end: number;
  private readonly backoff: Backoff;
  /** Monotonic ms of the last call. */
  private askedAt = 0;

  constructor(readonly options: RunOptions) {
    this.backoff = new Backoff(options.random ?? systemRandom, PACE);
    this.clock = options.clock ?? sdkClock;
    for (const name of ['deadlineMs', 'giveUpMs', 'chunkMs'] as const) checkMs(options[name] ?? 0, name);
    this.end = this.clock.monotonic() + (options.deadlineMs ?? Number.POSITIVE_INFINITY);
  }

  leftMs(): number {
    const ms = this.end - this.clock.monotonic();
    return ms < TIMER_SLACK_MS ? 0 : ms;
  }

  /** After an answer that is not the end. One that came before its wait was over came from a replica that stops. */
  pace(): Promise<void> {
    const { chunkMs = CHUNK_MS, signal } = this.options;
    if (this.clock.monotonic() - this.askedAt >= chunkMs - TIMER_SLACK_MS) this.backoff.reset();
    return this.clock.sleep(Math.min(this.backoff.nextMs(), this.leftMs()), signal);
  }

  async call(make: (wait: Wait) => Promise<Job | undefined>): Promise<Job> {
    const { signal, onRetry, random = systemRandom, giveUpMs = GIVE_UP_MS, chunkMs = CHUNK_MS } = this.options;
    const once = () => {
      const waitMs = Math.min(this.leftMs(), chunkMs, giveUpMs, CHUNK_MAX_MS);
      this.askedAt = this.clock.monotonic();
      return make({ waitMs, deadlineMs: waitMs + SLACK_MS, signal });
    };
    const job = await retrying(once, { clock: this.clock, random, giveUpMs, leftMs: () => this.leftMs(), signal, onRetry });
    if (job === undefined) throw new TypeError('the answer holds no job: what is at the target is not Muster');
    return job;
  }

  job(api: Api, pool: string, id: string): Promise<Job> {
    return this.call(async ({ waitMs, ...call }) => (await api.waitJob({ pool, id, wait: toDuration(waitMs) }, call)).job);
  }
}
