import { status } from '@grpc/grpc-js';
import type { Clock, Random } from '../domain/clock.js';
import {
  type Job,
  type JobRef,
  JobServiceService,
  type JobSpec,
  JobState,
  type SessionRequest,
  type SessionResponse,
  type SubmitResult,
} from '../grpc/generated/muster/v1/job.js';
import type { Access } from './access.js';
import { ApiError, apiError } from './api-error.js';
import { JobGone } from './errors.js';
import { Lifeline } from './lifeline.js';
import { type Entry, keyOf, type Pending, Pendings } from './pendings.js';
import { Queue } from './queue.js';

export interface SessionOptions {
  access: Access;
  clock: Clock;
  random: Random;
  /** So many jobs may be submitted or awaited at once; more are refused. */
  maxPending: number;
  /** Everything pending is given up when no replica took the session for so long. */
  giveUpMs: number;
}

/** A frame's bounds, as the contract says them. */
const ITEMS_MAX = 64;
const BYTES_MAX = 262_144;
/** Until Opened says how many. */
const WINDOW = 64;
/** Sessions that are sent away together do not come back together. */
const SPREAD_MS = 1_000;

/** What a replica refuses for now, in its answer to one job: asked again. */
const BRIEF: ReadonlySet<number> = new Set([status.UNAVAILABLE, status.ABORTED, status.DEADLINE_EXCEEDED]);
const RESEND_MS = 200;

/** What no other replica would take either. */
const HOPELESS: ReadonlySet<number> = new Set([status.INVALID_ARGUMENT, status.PERMISSION_DENIED, status.UNAUTHENTICATED, status.UNIMPLEMENTED]);

/**
 * A client's side of JobService.Session: one stream after another, over which all of its submissions and outcomes go. A job is on its way until
 * its outcome is here: not accepted, it is submitted again under its id; accepted, the next stream is opened awaiting it.
 */
export class Session {
  private readonly line: Lifeline<SessionRequest, SessionResponse>;
  private readonly book = new Pendings();
  private readonly queue = new Queue<Entry>();
  /** Sent and not answered, by id: answers name no pool. */
  private readonly sent = new Map<string, Entry>();
  private acks = new Queue<JobRef>();
  /** What the replica counts against the window. */
  private underWay = new Set<string>();
  private greetedWith: string[] = [];
  private window = WINDOW;
  private flushing = false;
  /** Ends the patience with which a stream is waited for; undefined: there is one, or none is needed. */
  private patience: (() => void) | undefined;
  private lastError: ApiError | undefined;

  constructor(private readonly options: SessionOptions) {
    const { access, clock, random } = options;
    this.line = new Lifeline<SessionRequest, SessionResponse>({
      access,
      method: JobServiceService.session,
      clock,
      random,
      wanted: () => this.book.size > 0,
      greet: () => this.open(),
      answer: ({ frame }) => (frame?.$case === 'opened' ? 'welcome' : frame?.$case === 'reopen' ? 'refused' : 'other'),
      welcomed: ({ frame }) => {
        if (frame?.$case === 'opened') this.opened(frame.value.window);
      },
      frame: (frame) => this.take(frame),
      writable: () => this.flush(),
      lost: (error) => this.lost(error),
      failed: (error) => this.failed(error),
    });
  }

  /** Jobs that are under way. */
  get pending(): number {
    return this.book.size;
  }

  /** The spec has its pool and id. Throws ApiError RESOURCE_EXHAUSTED TOO_MANY_PENDING. */
  submit(spec: JobSpec, bytes: number): Pending {
    const { maxPending } = this.options;
    if (this.book.size >= maxPending) {
      throw new ApiError(
        status.RESOURCE_EXHAUSTED,
        'TOO_MANY_PENDING',
        `${maxPending} jobs of this client are under way: await some before you submit more`,
      );
    }
    const { entry, pending } = this.book.enter(spec, bytes);
    this.queue.push(entry);
    this.trouble();
    this.line.need();
    this.say();
    return pending;
  }

  /** Everything that is under way is given up; the jobs go on. */
  close(): void {
    this.patience?.();
    this.failAll(new ApiError(status.CANCELLED, 'CLOSED', 'the client was closed before the outcome came'));
    this.line.close(true);
  }

  private open(): SessionRequest {
    const awaiting = this.book.accepted();
    this.greetedWith = awaiting.map(keyOf);
    return { frame: { $case: 'open', value: { awaiting } } };
  }

  private opened(window: number): void {
    this.window = Math.max(1, window);
    this.patience?.();
    this.patience = undefined;
    this.underWay = new Set(this.greetedWith);
    // This stream tells them again if it counts them.
    this.acks = new Queue();
    // What was sent and not answered may or may not have arrived: its id makes it the same job. What was accepted between the first frame and
    // this one is not awaited on the new stream: submitted again, it is.
    const unknown = ({ state, pool, id }: Entry) => state === 'sent' || (state === 'accepted' && !this.underWay.has(keyOf({ pool, id })));
    const again = this.book.all().filter(unknown);
    this.sent.clear();
    for (const entry of again) entry.state = 'queued';
    this.queue.unshift(again);
    this.say();
  }

  private take({ frame }: SessionResponse): void {
    switch (frame?.$case) {
      case 'accepted':
        for (const result of frame.value.results) this.answered(result);
        return this.say();
      case 'outcomes':
        for (const job of frame.value.jobs) this.ended(job);
        return this.say();
      case 'window':
        this.window = Math.max(1, frame.value.window);
        return this.say();
      case 'reopen':
        return this.line.renew(SPREAD_MS);
    }
  }

  private answered({ id, created, code, message, reason }: SubmitResult): void {
    const entry = this.sent.get(id);
    if (entry === undefined) return;
    this.sent.delete(id);
    if (code === status.OK) {
      entry.state = 'accepted';
      return entry.accept(created);
    }
    this.underWay.delete(keyOf(entry));
    if (BRIEF.has(code)) return this.later(entry);
    this.book.remove(entry);
    entry.fail(apiError(code, reason, message));
  }

  /** Refused for the moment: once more, as long as the session lasts at all. */
  private later(entry: Entry): void {
    const { clock, random } = this.options;
    entry.state = 'queued';
    clock.after(RESEND_MS * (0.5 + random()), () => {
      if (!this.book.has(entry)) return;
      this.queue.push(entry);
      this.say();
    });
  }

  private ended(job: Job): void {
    const ref = { pool: job.spec?.pool ?? '', id: job.spec?.id ?? '' };
    this.acks.push(ref);
    this.underWay.delete(keyOf(ref));
    for (const entry of this.book.of(ref)) {
      // One that is being submitted a second time gets an answer, and an outcome, of its own.
      if (entry.state === 'queued') continue;
      this.book.remove(entry);
      if (this.sent.get(entry.id) === entry) this.sent.delete(entry.id);
      if (job.state === JobState.JOB_STATE_UNSPECIFIED) entry.fail(new JobGone(ref.pool, ref.id));
      else {
        entry.accept(false);
        entry.end(job);
      }
    }
  }

  private lost(error: ApiError): void {
    this.underWay.clear();
    if (HOPELESS.has(error.code)) this.failAll(error);
    else this.trouble(error);
  }

  private failed(error: ApiError): number | undefined {
    // While the old stream still serves, nothing is in trouble.
    if (!this.line.attached) {
      if (HOPELESS.has(error.code)) this.failAll(error);
      else this.trouble(error);
    }
    return error.details.retryAfterMs;
  }

  /** There is no stream: from now on everybody's patience is counted. */
  private trouble(error?: ApiError): void {
    this.lastError = error ?? this.lastError;
    if (this.line.attached || this.patience !== undefined || this.book.size === 0) return;
    const { clock, giveUpMs } = this.options;
    this.patience = clock.after(giveUpMs, () => {
      this.patience = undefined;
      const why = this.lastError?.message ?? 'no replica answered';
      this.failAll(new ApiError(status.UNAVAILABLE, '', `given up after ${giveUpMs} ms: ${why}`, undefined, { cause: this.lastError }));
    });
  }

  private failAll(error: Error): void {
    this.sent.clear();
    for (const entry of this.book.all()) {
      this.book.remove(entry);
      entry.fail(error);
    }
  }

  /** All of this turn in as few frames as hold it. */
  private say(): void {
    if (this.flushing) return;
    this.flushing = true;
    queueMicrotask(() => {
      this.flushing = false;
      this.flush();
    });
  }

  private flush(): void {
    while (this.line.writable) {
      const frame = this.nextAck() ?? this.nextSubmit();
      if (frame === undefined) return;
      this.line.write(frame);
    }
  }

  private nextAck(): SessionRequest | undefined {
    const jobs: JobRef[] = [];
    for (let ref = this.acks.shift(); ref !== undefined; ref = jobs.length < ITEMS_MAX ? this.acks.shift() : undefined) jobs.push(ref);
    return jobs.length === 0 ? undefined : { frame: { $case: 'ack', value: { jobs } } };
  }

  private nextSubmit(): SessionRequest | undefined {
    // Sent on a stream that is about to be replaced, they would be sent twice.
    if (this.line.greeting) return undefined;
    const specs: JobSpec[] = [];
    let bytes = 0;
    while (specs.length < ITEMS_MAX && this.underWay.size < this.window) {
      const entry = this.queue.peek();
      if (entry === undefined) break;
      if (this.book.has(entry)) {
        if (this.sent.has(entry.id)) break;
        if (specs.length > 0 && bytes + entry.bytes > BYTES_MAX) break;
        bytes += entry.bytes;
        specs.push(entry.spec);
        entry.state = 'sent';
        this.sent.set(entry.id, entry);
        this.underWay.add(keyOf(entry));
      }
      this.queue.shift();
    }
    return specs.length === 0 ? undefined : { frame: { $case: 'submit', value: { specs } } };
  }
}
