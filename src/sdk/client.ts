import { status } from '@grpc/grpc-js';
import { type Clock, type Ids, type Random, systemIds, systemRandom } from '../domain/clock.js';
import { checkPool } from '../domain/names.js';
import type { Job } from '../grpc/generated/muster/v1/job.js';
import { Access, type Where } from './access.js';
import { ApiError } from './api-error.js';
import { Backoff } from './backoff.js';
import { sdkClock } from './clock.js';
import { type Api, connectBy } from './connect.js';
import { checkMs } from './duration.js';
import { type AnyJob, type Codecs, type InputSent, jobOf, type OutputReceived } from './job.js';
import { type JobInfo, type JobStateName, outputOf, stateNumber, toJobInfo } from './job-info.js';
import type { Pending } from './pendings.js';
import { RETRYING, retrying } from './retrying.js';
import { Session } from './session.js';
import { type Submission, type SubmitOptions, toSubmission } from './submission.js';
import { type Ended, type ManyOptions, many, WhileFull } from './submit-many.js';
import { producing } from './tracing.js';

export interface ClientOptions extends Where {
  /** Calls and waits are given up, with ApiError UNAVAILABLE, when no replica answered for so long, in ms. Default 60 s. */
  giveUpMs?: number;
  /** So many jobs may be under way at once; more are refused with RESOURCE_EXHAUSTED TOO_MANY_PENDING. Default 65536. */
  maxPending?: number;
  clock?: Clock;
  random?: Random;
  ids?: Ids;
}

export interface WaitOptions {
  /** Ends the waiting, with ApiError CANCELLED; the job goes on. */
  signal?: AbortSignal;
  /** Ends the waiting after so long, with ApiError DEADLINE_EXCEEDED; the job goes on. Default: never. */
  deadlineMs?: number;
}

export interface ListOptions {
  /** Default `default`. */
  pool?: string;
  /** Default: all. */
  state?: JobStateName;
  /** Jobs asked for at once, 1 to 1000. Default 100. */
  pageSize?: number;
}

/** One submitted job. */
export interface JobHandle<Output> {
  readonly id: string;
  readonly pool: string;
  /** false: a job of that id was there before. */
  readonly created: boolean;
  /** Its output. Rejects with JobFailed, JobCancelled, JobExpired, JobGone, CodecError; ApiError when the waiting ended first. */
  result(options?: WaitOptions): Promise<Output>;
  /** Ends it, if it has not ended. Resolves with the job as it is then. Rejects with ApiError. */
  cancel(): Promise<JobInfo>;
  /** As it stands. Rejects with ApiError. */
  get(): Promise<JobInfo>;
}

/** One of many, each with a kind of its own. */
export interface Item extends SubmitOptions {
  job: string | AnyJob;
  input?: unknown;
}

type WithCodec = { codec: Codecs };
type Output = Pick<Submission, 'output'>;

const GIVE_UP_MS = 60_000;
/** A replica answers a call that waits for nothing by then. One that hangs does not, and another one is asked. */
const CALL_MS = 5_000;
const PENDING_MAX = 65_536;
const PAGE = 100;

/**
 * Submits jobs and waits for them, all over one stream, which survives replicas: a job's id is made here before the first call, so that whatever
 * is said again is said of the same job. Opens nothing before its first use. Throws TypeError that names the option for what it cannot use.
 */
export class Client implements AsyncDisposable {
  private readonly api: Api;
  private readonly session: Session;
  private readonly patience: { clock: Clock; random: Random; giveUpMs: number; backoff: Backoff };
  private readonly whileFull: WhileFull;
  private readonly ids: Ids;
  private closed = false;

  constructor(options: ClientOptions) {
    const { giveUpMs = GIVE_UP_MS, maxPending = PENDING_MAX } = options;
    const { clock = sdkClock, random = systemRandom, ids = systemIds } = options;
    const access = new Access(options, clock);
    checkMs(giveUpMs, 'giveUpMs');
    this.api = connectBy(access, { clock, deadlineMs: Math.min(CALL_MS, giveUpMs) });
    this.patience = { clock, random, giveUpMs, backoff: new Backoff(random, RETRYING) };
    this.whileFull = new WhileFull(this.patience);
    this.ids = ids;
    this.session = new Session({ access, clock, random, maxPending, giveUpMs });
  }

  /** Submits a job and resolves with its output. Rejects as `submit` and `JobHandle.result` do. */
  run<J extends AnyJob>(job: J, input: InputSent<J>, options?: SubmitOptions & WaitOptions): Promise<OutputReceived<J>>;
  run<const C extends Codecs>(kind: string, input: InputSent<C>, options: SubmitOptions & WaitOptions & { codec: C }): Promise<OutputReceived<C>>;
  /** JSON, unchecked: the output is what the worker sent, whatever type is written here. */
  run<Output = unknown>(kind: string, input?: unknown, options?: SubmitOptions & WaitOptions): Promise<Output>;
  async run(job: string | AnyJob, input?: unknown, options: SubmitOptions & WaitOptions & Partial<WithCodec> = {}): Promise<unknown> {
    const submission = await toSubmission(jobOf(job, options.codec), input, options, this.ids);
    return this.outcome(submission, this.begin(submission), options);
  }

  /**
   * Submits a job; resolves when it is accepted. Rejects with CodecError, or ApiError: ALREADY_EXISTS for an id of other content,
   * RESOURCE_EXHAUSTED while the pool's backlog is full, INVALID_ARGUMENT naming the field, UNAVAILABLE when no replica answered in time (then it
   * may or may not have been submitted).
   */
  submit<J extends AnyJob>(job: J, input: InputSent<J>, options?: SubmitOptions): Promise<JobHandle<OutputReceived<J>>>;
  submit<const C extends Codecs>(kind: string, input: InputSent<C>, options: SubmitOptions & { codec: C }): Promise<JobHandle<OutputReceived<C>>>;
  submit<Output = unknown>(kind: string, input?: unknown, options?: SubmitOptions): Promise<JobHandle<Output>>;
  async submit(job: string | AnyJob, input?: unknown, options: SubmitOptions & Partial<WithCodec> = {}): Promise<JobHandle<unknown>> {
    return this.send(await toSubmission(jobOf(job, options.codec), input, options, this.ids));
  }

  /**
   * Submits as many as the source gives, at most `window` at a time, and yields their ends in the order in which they end. A full backlog is
   * waited out. Throws what the source throws; a job that failed is an end like any other.
   */
  submitMany<J extends AnyJob>(
    job: J,
    inputs: Iterable<InputSent<J>> | AsyncIterable<InputSent<J>>,
    options?: SubmitOptions & ManyOptions,
  ): AsyncGenerator<Ended<OutputReceived<J>>>;
  submitMany<Output = unknown>(
    kind: string,
    inputs: Iterable<unknown> | AsyncIterable<unknown>,
    options?: SubmitOptions & ManyOptions & Partial<WithCodec>,
  ): AsyncGenerator<Ended<Output>>;
  submitMany(items: Iterable<Item> | AsyncIterable<Item>, options?: ManyOptions): AsyncGenerator<Ended<unknown>>;
  submitMany(
    first: string | AnyJob | Iterable<Item> | AsyncIterable<Item>,
    second: Iterable<unknown> | AsyncIterable<unknown> | ManyOptions = {},
    third: SubmitOptions & ManyOptions & Partial<WithCodec> = {},
  ): AsyncGenerator<Ended<unknown>> {
    const submit = async (job: AnyJob, input: unknown, options: SubmitOptions) => {
      const submission = await toSubmission(job, input, options, this.ids);
      return this.whileFull.submit(() => this.send(submission));
    };
    if (typeof first === 'string' || 'kind' in first) {
      const job = jobOf(first, third.codec);
      return many(second as Iterable<unknown> | AsyncIterable<unknown>, (input) => submit(job, input, third), third);
    }
    return many(first, ({ job, input, ...options }) => submit(jobOf(job), input, options), second as ManyOptions);
  }

  /** A job that was submitted before, by whomever, as it stands. Rejects with ApiError NOT_FOUND when it is not known. */
  get(id: string, pool = ''): Promise<JobInfo> {
    return this.ask(() => this.api.getJob({ pool: checkPool(pool, 'pool'), id }));
  }

  /** Ends a job that has not ended. Resolves with the job as it is then. Rejects with ApiError NOT_FOUND when it is not known. */
  cancel(id: string, pool = ''): Promise<JobInfo> {
    return this.ask(() => this.api.cancelJob({ pool: checkPool(pool, 'pool'), id }));
  }

  /** The jobs of one pool, page by page: oldest first, finished ones newest first. Without payloads and outputs. Throws ApiError. */
  async *list({ pool = '', state, pageSize = PAGE }: ListOptions = {}): AsyncGenerator<JobInfo> {
    const ask = { pool: checkPool(pool, 'pool'), state: stateNumber(state), pageSize };
    let pageToken = '';
    do {
      const page = await retrying(() => this.api.listJobs({ ...ask, pageToken }), this.patience);
      for (const job of page.jobs) yield toJobInfo(job);
      pageToken = page.nextPageToken;
    } while (pageToken !== '');
  }

  /** Ends the connections. What is waited for rejects with ApiError CANCELLED; the jobs go on. Idempotent. */
  async close(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    this.session.close();
    this.api.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  private begin({ spec, bytes }: Submission): Pending {
    if (this.closed) throw new ApiError(status.FAILED_PRECONDITION, 'CLOSED', 'the client was closed by its own side');
    const span = producing(spec);
    try {
      const pending = this.session.submit(spec, bytes);
      pending.accepted.then(() => span.over(), span.over);
      return pending;
    } catch (error) {
      span.over(error);
      throw error;
    }
  }

  private async send(submission: Submission): Promise<JobHandle<unknown>> {
    const { id, pool } = submission.spec;
    // A handle keeps no payload.
    const { output } = submission;
    const pending = this.begin(submission);
    const created = await pending.accepted;
    return {
      id,
      pool,
      created,
      result: (options = {}) => this.outcome({ output }, pending, options),
      cancel: () => this.cancel(id, pool),
      get: () => this.get(id, pool),
    };
  }

  private async outcome({ output }: Output, pending: Pending, options: WaitOptions): Promise<unknown> {
    const { outcome, end } = pending.wait();
    try {
      return await output.fromBytes(outputOf(await this.within(outcome, options)));
    } finally {
      end();
    }
  }

  /** The outcome, unless the waiting ends first. */
  private within(outcome: Promise<Job>, { signal, deadlineMs = Number.POSITIVE_INFINITY }: WaitOptions): Promise<Job> {
    checkMs(deadlineMs, 'deadlineMs');
    if (signal === undefined && deadlineMs === Number.POSITIVE_INFINITY) return outcome;
    return new Promise((resolve, reject) => {
      const aborted = () => reject(new ApiError(status.CANCELLED, '', 'the wait was aborted; the job goes on', undefined, { cause: signal?.reason }));
      const late = () => reject(new ApiError(status.DEADLINE_EXCEEDED, '', `no outcome within ${deadlineMs} ms; the job goes on`));
      if (signal?.aborted) return aborted();
      signal?.addEventListener('abort', aborted, { once: true });
      const cancel = Number.isFinite(deadlineMs) ? this.patience.clock.after(deadlineMs, late) : () => {};
      const over = () => {
        cancel();
        signal?.removeEventListener('abort', aborted);
      };
      outcome.then(resolve, reject).finally(over);
    });
  }

  private async ask(call: () => Promise<{ job?: Job | undefined }>): Promise<JobInfo> {
    const { job } = await retrying(call, this.patience);
    if (job === undefined) throw new TypeError('the answer holds no job: what is at the target is not Muster');
    return toJobInfo(job);
  }
}
