import { status } from '@grpc/grpc-js';
import type { Clock, Random } from '../domain/clock.js';
import { HEARTBEAT } from '../domain/heartbeat.js';
import {
  type Job,
  type JobRef,
  JobServiceService,
  type JobSpec,
  JobState,
  type Opened,
  type SessionRequest,
  type SessionResponse,
  type SubmitResult,
} from '../grpc/generated/muster/v1/job.js';
import type { Access } from './access.js';
import { ApiError, apiError } from './api-error.js';
import { MESSAGE_BYTES } from './connect.js';
import { fromDuration } from './duration.js';
import { JobGone } from './errors.js';
import { HoldBack } from './hold-back.js';
import { Lifeline } from './lifeline.js';
import { brokeByFrame, limitsOf, NO_LIMITS, tooLarge, tooLargeError } from './limits.js';
import { type Entry, entryOf, keyOf, type Pending, Pendings, type Waiting } from './pendings.js';
import { Queue } from './queue.js';
import { BRIEF, closedError, HOPELESS, TAKEN, tooManyPending, windowFull } from './session-answers.js';

export interface SessionOptions {
  access: Access;
  clock: Clock;
  random: Random;
  /** So many jobs may be submitted or awaited at once; more are refused. */
  maxPending: number;
  /** What waits is given up when nothing moved for so long. */
  giveUpMs: number;
}

/** A frame's bounds. */
const ITEMS_MAX = 64;
const BYTES_MAX = 262_144;
/** Until Opened says how many. */
const WINDOW = 64;
/** Sessions that are sent away together do not come back together. */
const SPREAD_MS = 1_000;
/** What has waited too long is looked for at most so often within `giveUpMs`. */
const LOOKS = 20;
/** The reason of a Reopen that any replica may follow, the same one too. */
const BY_AGE = 'age';

/**
 * A client's side of JobService.Session: one stream after another, over which all of its submissions and outcomes go. A job is on its way until
 * its outcome is here: not accepted, it is submitted again under its ID; accepted, its outcome is asked for on the next stream. Accepted jobs
 * that nobody waits for make room for others. Whatever does not move for `giveUpMs` is given up.
 */
export class Session {
  private readonly line: Lifeline<SessionRequest, SessionResponse>;
  private readonly book = new Pendings();
  private readonly held: HoldBack;
  private readonly queue = new Queue<Entry>();
  /** Accepted before; their outcomes are to be asked for. */
  private unwatched = new Queue<Entry>();
  /** Sent and not answered, by ID: answers name no pool. */
  private readonly sent = new Map<string, Entry>();
  /** Accepted, and nobody waits for them; the oldest first. */
  private readonly idle = new Set<Entry>();
  /** Were on a stream that broke because a frame was too large: each is sent alone, to find the one that is. */
  private suspects = new Set<Entry>();
  private acks = new Queue<JobRef>();
  /** What the replica counts against the window. */
  private underWay = new Set<string>();
  private greetedWith: string[] = [];
  /** So many are named in the first frame of a stream. */
  private greetMost = 0;
  private window = WINDOW;
  private limits = NO_LIMITS;
  private flushing = false;
  /** Ends the patience with what waits; undefined: nothing does. */
  private patience: (() => void) | undefined;
  /** Monotonic ms when something moved last, or began to wait. */
  private movedAt = 0;
  /** Monotonic ms when the last stream broke. */
  private lostAt = 0;
  private lastError: ApiError | undefined;
  private closed = false;

  constructor(private readonly options: SessionOptions) {
    const { access, clock, random } = options;
    this.held = new HoldBack({
      clock,
      random,
      release: (entries) => {
        this.queue.unshift(entries.filter((entry) => this.book.has(entry)));
        this.say();
      },
    });
    this.line = new Lifeline<SessionRequest, SessionResponse>({
      access,
      method: JobServiceService.session,
      clock,
      random,
      wanted: () => this.book.size > 0,
      greet: () => this.open(),
      answer: ({ frame }) => (frame?.$case === 'opened' ? 'welcome' : frame?.$case === 'reopen' ? 'refused' : 'other'),
      welcomed: ({ frame }) => {
        if (frame?.$case === 'opened') this.opened(frame.value);
      },
      heartbeatMs: ({ frame }) => (frame?.$case === 'opened' ? (fromDuration(frame.value.heartbeatInterval) ?? 0) : 0),
      heartbeat: { frame: { $case: 'heartbeat', value: {} } },
      silent: (forMs) => this.silent(forMs),
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

  /** The spec has its pool and id. Throws ApiError: RESOURCE_EXHAUSTED TOO_MANY_PENDING, INVALID_ARGUMENT for what is larger than replicas take. */
  submit(spec: JobSpec, bytes: number): Pending {
    this.checkRoom();
    const { entry, accepted } = entryOf(spec, bytes, this.options.clock.monotonic());
    const refusal = this.line.attached ? tooLarge(entry, this.limits) : undefined;
    if (refusal !== undefined) throw refusal;
    this.book.enter(entry);
    this.queue.push(entry);
    this.begin();
    return { accepted, wait: () => this.wait(entry) };
  }

  /** Everything that is under way is given up; the jobs go on. */
  close(): void {
    this.closed = true;
    this.failAll(this.book.all(), closedError());
    this.held.close();
    this.line.close(true);
  }

  private wait(entry: Entry): Waiting {
    if (entry.state === 'released') this.watchAgain(entry);
    entry.waits++;
    this.idle.delete(entry);
    let over = false;
    const end = () => {
      if (over) return;
      over = true;
      entry.waits--;
      if (entry.waits === 0 && entry.state === 'accepted') this.idle.add(entry);
      this.say();
    };
    return { outcome: entry.outcome, end };
  }

  private watchAgain(entry: Entry): void {
    if (this.closed) throw closedError();
    this.checkRoom();
    entry.since = this.options.clock.monotonic();
    this.book.enter(entry);
    this.askFor(entry);
    this.begin();
  }

  private begin(): void {
    this.watch();
    this.line.need();
    this.say();
  }

  private checkRoom(): void {
    const { maxPending } = this.options;
    if (this.book.size < maxPending) return;
    throw tooManyPending(maxPending);
  }

  private open(): SessionRequest {
    const refs = new Map<string, JobRef>();
    for (const { state, waits, pool, id } of this.book.all()) {
      if (refs.size === this.greetMost) break;
      if (waits > 0 && (state === 'accepted' || state === 'unwatched')) refs.set(keyOf({ pool, id }), { pool, id });
    }
    this.greetedWith = [...refs.keys()];
    return { frame: { $case: 'open', value: { awaiting: [...refs.values()], maxFrameBytes: MESSAGE_BYTES, capabilities: [HEARTBEAT] } } };
  }

  private opened(terms: Opened): void {
    this.window = Math.max(1, terms.window);
    this.greetMost = this.window;
    this.limits = limitsOf(terms);
    this.underWay = new Set(this.greetedWith);
    // This stream tells them again if it counts them.
    this.acks = new Queue();
    this.unwatched = new Queue();
    const again: Entry[] = [];
    for (const entry of this.book.all()) {
      // What was sent and not answered may or may not have arrived: its ID makes it the same job.
      if (entry.state === 'sent') again.push(entry);
      else if (entry.state === 'accepted' || entry.state === 'unwatched') this.watched(entry);
    }
    this.sent.clear();
    for (const entry of again) entry.state = 'queued';
    this.queue.unshift(again);
    this.begin();
  }

  /** An accepted job on a new stream: awaited by its first frame, or still to be asked for. */
  private watched(entry: Entry): void {
    if (this.underWay.has(keyOf(entry))) entry.state = 'accepted';
    else if (entry.waits === 0) this.release(entry);
    else this.askFor(entry);
  }

  private askFor(entry: Entry): void {
    this.leave(entry);
    entry.state = 'unwatched';
    this.unwatched.push(entry);
  }

  private take({ frame }: SessionResponse): void {
    switch (frame?.$case) {
      case 'accepted':
        for (const result of frame.value.results) this.answered(result);
        return this.begin();
      case 'outcomes':
        for (const job of frame.value.jobs) this.ended(job);
        this.movedAt = this.options.clock.monotonic();
        return this.begin();
      case 'window':
        this.window = Math.max(1, frame.value.window);
        return this.say();
      case 'reopen':
        return this.line.renew(SPREAD_MS, frame.value.reason !== BY_AGE);
    }
  }

  private answered({ id, created, code, message, reason }: SubmitResult): void {
    const entry = this.sent.get(id);
    if (entry === undefined) return;
    this.sent.delete(id);
    this.suspects.delete(entry);
    if (code !== status.OK) this.leave(entry);
    if (BRIEF.has(code)) return this.refusedForNow(entry, apiError(code, reason, message));
    this.movedAt = this.options.clock.monotonic();
    this.held.answered(entry, TAKEN.has(code));
    if (code !== status.OK) return this.fail(entry, apiError(code, reason, message));
    entry.state = 'accepted';
    // It is not submitted again.
    entry.spec = undefined;
    entry.accept(created);
    // An outcome of that very job, unless the job was made anew after it.
    if (entry.early !== undefined && !created) return this.settle(entry, entry.early);
    // An outcome of a former job of that ID is none of this one.
    if (entry.early !== undefined) this.askFor(entry);
    else if (entry.waits === 0) this.idle.add(entry);
    entry.early = undefined;
  }

  private refusedForNow(entry: Entry, error: ApiError): void {
    this.lastError = error;
    entry.state = 'queued';
    entry.early = undefined;
    this.held.refused(entry);
    const { clock, giveUpMs } = this.options;
    const late = this.held.since(entry.pool, clock.monotonic() - giveUpMs);
    if (late.length > 0) this.failAll(late, this.givenUp());
  }

  private ended(job: Job): void {
    const ref = { pool: job.spec?.pool ?? '', id: job.spec?.id ?? '' };
    let open = false;
    for (const entry of this.book.of(ref)) {
      if (entry.state === 'accepted' || entry.state === 'unwatched') this.settle(entry, job);
      else if (entry.state === 'sent') {
        // Only the answer to this submission says whether it is the same job: it may be refused for its other content.
        entry.early = job;
        open = true;
      }
    }
    this.acks.push(ref);
    if (!open) this.underWay.delete(keyOf(ref));
  }

  private settle(entry: Entry, job: Job): void {
    this.remove(entry);
    this.leave(entry);
    if (job.state === JobState.JOB_STATE_UNSPECIFIED) return entry.fail(new JobGone(entry.pool, entry.id));
    entry.accept(false);
    entry.end(job);
  }

  private lost(error: ApiError): void {
    this.underWay.clear();
    this.lostAt = this.options.clock.monotonic();
    for (const entry of this.idle) this.release(entry);
    if (brokeByFrame(error)) this.suspect(error);
    this.failed(error);
  }

  /** There is a stream, and nothing came on it for that long: it counts as lost since then, until a frame comes. */
  private silent(forMs: number): void {
    this.lastError = new ApiError(status.UNAVAILABLE, 'SILENT', `the replica sent nothing for ${forMs} ms`);
    this.lostAt = this.options.clock.monotonic() - forMs;
    this.patience?.();
    this.patience = undefined;
    if (this.waits) this.lookIn(this.options.giveUpMs - forMs);
  }

  /** One of the frames was larger than the other side, or a proxy, receives. */
  private suspect(error: ApiError): void {
    const [only, ...others] = this.sent.values();
    if (only === undefined) return;
    this.suspects = new Set([only, ...others]);
    if (others.length > 0) return;
    this.sent.delete(only.id);
    this.fail(only, tooLargeError('spec', `${error.message}: the job has up to ${only.bytes} bytes on the wire`));
  }

  private failed(error: ApiError): number | undefined {
    // While the old stream still serves, nothing is in trouble.
    if (this.line.serving) return error.details.retryAfterMs;
    this.lastError = error;
    // More jobs than the window of that replica allows may have been named.
    const tooMany = this.greetedWith.length > 0 && error.code === status.INVALID_ARGUMENT;
    if (tooMany) this.greetMost = 0;
    else if (HOPELESS.has(error.code)) this.failAll(this.book.all(), error);
    this.watch();
    return error.details.retryAfterMs;
  }

  /** Does anything wait for a replica's answer, or for room? */
  private get waits(): boolean {
    if (!this.line.serving) return this.book.size > 0;
    return this.sent.size > 0 || this.queue.peek() !== undefined || this.unwatched.peek() !== undefined || this.held.size > 0;
  }

  /** Begins the patience with what waits, which ends by itself. */
  private watch(): void {
    if (this.patience !== undefined || !this.waits) return;
    this.movedAt = this.options.clock.monotonic();
    this.lookIn(this.options.giveUpMs);
  }

  private lookIn(ms: number): void {
    const { clock, giveUpMs } = this.options;
    this.patience = clock.after(Math.max(ms, giveUpMs / LOOKS), () => {
      this.patience = undefined;
      const nextAt = this.giveUp();
      if (this.waits) this.lookIn(nextAt + giveUpMs - clock.monotonic());
    });
  }

  /** Gives up what waited for too long. Answers since when the oldest of the others waits. */
  private giveUp(): number {
    const now = this.options.clock.monotonic();
    const { serving } = this.line;
    const late: Entry[] = [];
    let oldest = now;
    for (const entry of this.book.all()) {
      if (serving && entry.state === 'accepted') continue;
      const since = entry.state === 'accepted' ? this.lostAt : Math.max(entry.since, this.movedAt);
      if (now - since >= this.options.giveUpMs) late.push(entry);
      else oldest = Math.min(oldest, since);
    }
    if (late.length > 0) this.failAll(late, this.givenUp());
    return oldest;
  }

  private givenUp(): ApiError {
    const { giveUpMs } = this.options;
    if (this.line.serving && this.underWay.size >= this.window) {
      return windowFull(this.window, giveUpMs);
    }
    const why = this.lastError?.message ?? 'no replica answered';
    return new ApiError(status.UNAVAILABLE, '', `given up after ${giveUpMs} ms: ${why}`, undefined, { cause: this.lastError });
  }

  private failAll(entries: Entry[], error: Error): void {
    for (const entry of entries) {
      if (this.sent.get(entry.id) === entry) this.sent.delete(entry.id);
      this.leave(entry);
      this.fail(entry, error);
      this.held.dropped(entry);
    }
    if (this.book.size > 0) return;
    this.patience?.();
    this.patience = undefined;
  }

  private fail(entry: Entry, error: Error): void {
    this.remove(entry);
    entry.fail(error);
  }

  private remove(entry: Entry): void {
    entry.state = 'over';
    this.book.remove(entry);
    this.idle.delete(entry);
    this.suspects.delete(entry);
  }

  /** Nobody waits for its outcome: it is asked for again when somebody does. */
  private release(entry: Entry): void {
    this.remove(entry);
    entry.state = 'released';
  }

  /** The key counts no longer, unless another entry of the job keeps it. */
  private leave(entry: Entry): void {
    const others = this.book.of(entry).some((other) => other !== entry && (other.state === 'sent' || other.state === 'accepted'));
    if (!others) this.underWay.delete(keyOf(entry));
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
      this.makeRoom();
      const frame = this.nextAck() ?? this.nextAwait() ?? this.nextSubmit();
      if (frame === undefined) return;
      this.line.write(frame);
    }
  }

  /** Jobs that nobody waits for leave a full window to those that wait for room. */
  private makeRoom(): void {
    if (this.underWay.size < this.window || (this.queue.peek() === undefined && this.unwatched.peek() === undefined)) return;
    let left = ITEMS_MAX;
    for (const entry of this.idle) {
      this.release(entry);
      // One of several submissions of that job: another one is waited for.
      this.leave(entry);
      if (this.underWay.has(keyOf(entry))) continue;
      this.acks.push({ pool: entry.pool, id: entry.id });
      if (--left === 0) return;
    }
  }

  private nextAck(): SessionRequest | undefined {
    const jobs: JobRef[] = [];
    for (let ref = this.acks.shift(); ref !== undefined; ref = jobs.length < ITEMS_MAX ? this.acks.shift() : undefined) jobs.push(ref);
    return jobs.length === 0 ? undefined : { frame: { $case: 'ack', value: { jobs } } };
  }

  private nextAwait(): SessionRequest | undefined {
    // The next stream is asked for them by its first frame.
    if (this.line.greeting) return undefined;
    const jobs: JobRef[] = [];
    while (jobs.length < ITEMS_MAX && this.underWay.size < this.window) {
      const entry = this.unwatched.shift();
      if (entry === undefined) break;
      if (entry.state !== 'unwatched') continue;
      entry.state = 'accepted';
      const key = keyOf(entry);
      if (this.underWay.has(key)) continue;
      this.underWay.add(key);
      jobs.push({ pool: entry.pool, id: entry.id });
    }
    return jobs.length === 0 ? undefined : { frame: { $case: 'awaitJobs', value: { jobs } } };
  }

  private nextSubmit(): SessionRequest | undefined {
    // Sent on a stream that is about to be replaced, they would be sent twice.
    if (this.line.greeting) return undefined;
    const specs: JobSpec[] = [];
    const most = Math.min(BYTES_MAX, this.limits.frameBytes);
    let bytes = 0;
    while (specs.length < ITEMS_MAX && this.underWay.size < this.window) {
      const entry = this.queue.peek();
      if (entry === undefined) break;
      if (this.book.has(entry) && entry.state === 'queued' && entry.spec !== undefined) {
        const error = tooLarge(entry, this.limits);
        if (error !== undefined) this.failAll([entry], error);
        else if (!this.held.takes(entry)) {
          if (this.sent.has(entry.id)) break;
          if (this.suspects.size > 0 && this.sent.size > 0) break;
          if (specs.length > 0 && bytes + entry.bytes > most) break;
          bytes += entry.bytes;
          specs.push(entry.spec);
          entry.state = 'sent';
          this.sent.set(entry.id, entry);
          this.underWay.add(keyOf(entry));
        }
      }
      this.queue.shift();
    }
    return specs.length === 0 ? undefined : { frame: { $case: 'submit', value: { specs } } };
  }
}
