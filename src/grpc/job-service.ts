import type { Clock, Ids } from '../domain/clock.js';
import { invalid } from '../domain/errors.js';
import { allowPool, type Identity, speakerOf } from '../domain/identity.js';
import { isTerminal, type JobRecord, type NewJob } from '../domain/job.js';
import { checkId } from '../domain/names.js';
import type { Jobs, Watched } from '../jobs/jobs.js';
import type { Accepted } from '../jobs/submit.js';
import { cutUtf8 } from './checks.js';
import { callerOf, fromJobRecord, type JobLimits, toJobSpec, toJobState } from './convert-job.js';
import type { JobServiceServer, JobSpec, SubmitResult } from './generated/muster/v1/job.js';
import type { Quotas } from './quotas.js';
import { wordsOf } from './status.js';
import { durationMs, waitUntilDeadlineMs } from './time.js';
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
  /** undefined: nobody has any. */
  quotas?: Quotas;
}

const MAX_BATCH = 1000;
/** Of an ID that is refused: enough to recognize it. */
const MAX_ID_BYTES = 128;
const NO_BYTES = Buffer.alloc(0);
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
      submitJob: unary(async ({ spec }, context) => {
        const job = this.#spec(spec, context);
        const { created } = await this.#submit(job, context.identity);
        return { created, job: fromJobRecord(await jobs.get(job.pool, job.id)) };
      }),
      batchSubmitJobs: unary(async ({ specs }, context) => {
        if (specs.length > MAX_BATCH) throw invalid('specs', `must be at most ${MAX_BATCH}`);
        return { results: await Promise.all(specs.map((spec, i) => this.#submitOne(spec, context, `specs[${i}]`))) };
      }),
      runJob: unary(async ({ spec, wait, cancelOnDisconnect }, context) => {
        const job = this.#spec(spec, context);
        const watch = () => this.#submitAndWatch(job, context.identity);
        const record = await this.#awaited(durationMs(wait, 'wait', { zero: true }), context, watch);
        if (cancelOnDisconnect && context.gone && !isTerminal(record.state)) await jobs.cancel(job.pool, job.id);
        return { job: fromJobRecord(record) };
      }),
      waitJob: unary(async ({ pool, id, wait }, context) => {
        const name = nameOf(pool, id, context.identity);
        return { job: fromJobRecord(await this.#awaited(durationMs(wait, 'wait', { zero: true }), context, () => jobs.watch(...name))) };
      }),
      getJob: unary(async ({ pool, id }, { identity }) => ({ job: fromJobRecord(await jobs.get(...nameOf(pool, id, identity))) })),
      listJobs: unary(async ({ pool, state, pageSize, pageToken }, { identity }) => {
        const page = await jobs.list(allowPool(identity, pool, 'pool'), toJobState(state), pageOf(pageSize), pageToken);
        return { jobs: page.jobs.map(fromJobRecord), nextPageToken: page.next };
      }),
      cancelJob: unary(async ({ pool, id }, { identity }) => ({ job: fromJobRecord(await jobs.cancel(...nameOf(pool, id, identity))) })),
      session: this.#options.session,
      retryJob: unary(async ({ pool, id }, { identity }) => ({ job: fromJobRecord(await jobs.retry(...nameOf(pool, id, identity))) })),
    };
  }

  #spec(spec: JobSpec | undefined, { identity, header }: CallContext, field = 'spec'): NewJob {
    const { limits, ids, clock } = this.#options;
    const job = toJobSpec(spec, limits, ids, clock, field, callerOf(header));
    // grpc-js keeps the request for as long as the call lasts.
    if (spec) spec.payload = NO_BYTES;
    allowPool(identity, job.pool, `${field}.pool`);
    return job;
  }

  #submit(job: NewJob, identity: Identity | undefined): Promise<Accepted> {
    const { jobs, quotas } = this.#options;
    const by = speakerOf(identity, true);
    if (!quotas) return jobs.submit(job, { by });
    return quotas.submit(
      identity,
      () => jobs.untilEnded(job.pool, job.id),
      (told) => jobs.submit(job, { told, by }),
    );
  }

  #submitAndWatch(job: NewJob, identity: Identity | undefined): Promise<Watched> {
    const { jobs, quotas } = this.#options;
    const by = speakerOf(identity, true);
    if (!quotas) return jobs.submitAndWatch(job, { by });
    return quotas.submit(
      identity,
      () => jobs.untilEnded(job.pool, job.id),
      () => jobs.submitAndWatch(job, { by }),
    );
  }

  /** A batch answers for each job: one refusal says nothing of the others. */
  async #submitOne(spec: JobSpec, context: CallContext, field: string): Promise<SubmitResult> {
    try {
      const job = this.#spec(spec, context, field);
      const { created } = await this.#submit(job, context.identity);
      return { id: job.id, created, code: 0, message: '', reason: '' };
    } catch (error) {
      const words = wordsOf(error);
      if (words.reason === 'INTERNAL') this.#options.onError(error);
      return { id: cutUtf8(spec.id, MAX_ID_BYTES), created: false, ...words };
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
    const most = Math.min(waitMs ?? Number.POSITIVE_INFINITY, waitUntilDeadlineMs(context.deadlineMs));
    const stopTimer = Number.isFinite(most) ? clock.after(most, stop) : undefined;
    this.#waits.add(stop);
    context.onGone(stop);
    try {
      context.beginWait();
      watched = await watch();
      context.idle();
      if (over) watched.end();
      return await watched.ended();
    } finally {
      stopTimer?.();
      this.#waits.delete(stop);
      watched?.end();
    }
  }
}

function nameOf(pool: string, id: string, identity: Identity | undefined): [pool: string, id: string] {
  return [allowPool(identity, pool, 'pool'), checkId(id, 'id')];
}

export function pageOf(size: number): number {
  if (size > PAGE.most) throw invalid('page_size', `must be at most ${PAGE.most}`);
  return size || PAGE.fallback;
}
