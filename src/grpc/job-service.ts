import type { Clock, Ids } from '../domain/clock.js';
import { invalid } from '../domain/errors.js';
import { isTerminal, type JobRecord } from '../domain/job.js';
import { checkId, checkPool } from '../domain/names.js';
import type { Jobs, Watched } from '../jobs/jobs.js';
import { fromJobRecord, type JobLimits, toJobSpec, toJobState } from './convert-job.js';
import type { JobServiceServer, JobSpec, SubmitResult } from './generated/muster/v1/job.js';
import { wordsOf } from './status.js';
import { durationMs } from './time.js';
import type { CallContext, Unary } from './unary.js';

export interface JobServiceOptions {
  jobs: Jobs;
  session: JobServiceServer['session'];
  unary: Unary;
  limits: JobLimits;
  clock: Clock;
  ids: Ids;
  /** Aborted when this replica gives up its waits: they are answered with the jobs' present state, and go on elsewhere. */
  stopping: AbortSignal;
  onError: (error: unknown) => void;
}

/** A wait ends so long before its caller's deadline, so that the caller gets the job's state and not an error. */
const BEFORE_DEADLINE_MS = 100;
const MAX_BATCH = 1000;
const PAGE = { fallback: 50, most: 1000 };

/** What clients call. */
export class JobService {
  readonly #options: JobServiceOptions;
  /** Ends one wait each. One listener for all of them: thousands on one signal would cost each of them a search. */
  readonly #waits = new Set<() => void>();

  constructor(options: JobServiceOptions) {
    this.#options = options;
    options.stopping.addEventListener('abort', () => {
      for (const stop of this.#waits) stop();
    });
  }

  handlers(): JobServiceServer {
    const { jobs, unary } = this.#options;
    return {
      submitJob: unary(async ({ spec }) => {
        const job = this.#spec(spec);
        const { created } = await jobs.submit(job);
        return { created, job: fromJobRecord(await jobs.get(job.pool, job.id)) };
      }),
      batchSubmitJobs: unary(async ({ specs }) => {
        if (specs.length > MAX_BATCH) throw invalid('specs', `must be at most ${MAX_BATCH}`);
        return { results: await Promise.all(specs.map((spec, i) => this.#submitOne(spec, `specs[${i}]`))) };
      }),
      runJob: unary(async ({ spec, wait, cancelOnDisconnect }, context) => {
        const job = this.#spec(spec);
        const record = await this.#awaited(durationMs(wait, 'wait', { zero: true }), context, () => jobs.submitAndWatch(job));
        if (cancelOnDisconnect && context.gone && !isTerminal(record.state)) await jobs.cancel(job.pool, job.id);
        return { job: fromJobRecord(record) };
      }),
      waitJob: unary(async ({ pool, id, wait }, context) => {
        const name = identity(pool, id);
        return { job: fromJobRecord(await this.#awaited(durationMs(wait, 'wait', { zero: true }), context, () => jobs.watch(...name))) };
      }),
      getJob: unary(async ({ pool, id }) => ({ job: fromJobRecord(await jobs.get(...identity(pool, id))) })),
      listJobs: unary(async ({ pool, state, pageSize, pageToken }) => {
        const page = await jobs.list(checkPool(pool, 'pool'), toJobState(state), pageOf(pageSize), pageToken);
        return { jobs: page.jobs.map(fromJobRecord), nextPageToken: page.next };
      }),
      cancelJob: unary(async ({ pool, id }) => ({ job: fromJobRecord(await jobs.cancel(...identity(pool, id))) })),
      session: this.#options.session,
      retryJob: unary(async ({ pool, id }) => ({ job: fromJobRecord(await jobs.retry(...identity(pool, id))) })),
    };
  }

  #spec(spec: JobSpec | undefined, field = 'spec') {
    const { limits, ids, clock } = this.#options;
    return toJobSpec(spec, limits, ids, clock, field);
  }

  /** A batch answers for each job: one refusal says nothing of the others. */
  async #submitOne(spec: JobSpec, field: string): Promise<SubmitResult> {
    try {
      const job = this.#spec(spec, field);
      const { created } = await this.#options.jobs.submit(job);
      return { id: job.id, created, code: 0, message: '', reason: '' };
    } catch (error) {
      const words = wordsOf(error);
      if (words.reason === 'INTERNAL') this.#options.onError(error);
      return { id: spec.id, created: false, ...words };
    }
  }

  /** The job as it is when it ends, or when the wait is over: by the caller's word, its deadline, its going away, or our stop. */
  async #awaited(waitMs: number | undefined, context: CallContext, watch: () => Promise<Watched>): Promise<JobRecord> {
    const { clock, stopping } = this.#options;
    let over = stopping.aborted;
    let watched: Watched | undefined;
    const stop = () => {
      over = true;
      watched?.end();
    };
    const most = Math.min(waitMs ?? Number.POSITIVE_INFINITY, Math.max(0, context.deadlineMs - BEFORE_DEADLINE_MS));
    const stopTimer = Number.isFinite(most) ? clock.after(most, stop) : undefined;
    this.#waits.add(stop);
    context.onGone(stop);
    try {
      watched = await watch();
      if (over) watched.end();
      return await watched.ended;
    } finally {
      stopTimer?.();
      this.#waits.delete(stop);
      watched?.end();
    }
  }
}

function identity(pool: string, id: string): [pool: string, id: string] {
  return [checkPool(pool, 'pool'), checkId(id, 'id')];
}

export function pageOf(size: number): number {
  if (size > PAGE.most) throw invalid('page_size', `must be at most ${PAGE.most}`);
  return size || PAGE.fallback;
}
