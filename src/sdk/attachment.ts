import { status } from '@grpc/grpc-js';
import { HEARTBEAT } from '../domain/heartbeat.js';
import { Code } from '../domain/job.js';
import { type Assignment, Contract, type Held, type Result } from '../grpc/generated/muster/v1/common.js';
import { type AttachRequest, type AttachResponse, type Welcome, WorkerInfo, WorkerServiceService } from '../grpc/generated/muster/v1/worker.js';
import type { ApiError } from './api-error.js';
import { Attempts, type HandlerTable, Refusal, type Running } from './attempts.js';
import { MESSAGE_BYTES } from './connect.js';
import { fromDuration } from './duration.js';
import { HELD_MAX, Holding } from './holding.js';
import { Lifeline } from './lifeline.js';
import { brokeByFrame } from './limits.js';
import { Refusals } from './refusals.js';
import { failureResult, sizeOf } from './results.js';
import { SLOTS_MAX, type WorkerSettings } from './worker-options.js';

export interface AttachmentEvents {
  attached(replica: string): void;
  detached(error: ApiError): void;
  /** What a person should look at. */
  refused(error: ApiError): void;
  /** Refused before it was attached for the first time, for what no other try changes. */
  hopeless(error: ApiError): void;
  /** Something ended or was settled. */
  moved(): void;
}

/** Refusals that trying again soon does not change: someone has to act, or the roll has to. */
const SLOW: ReadonlySet<number> = new Set([
  status.INVALID_ARGUMENT,
  status.ALREADY_EXISTS,
  status.FAILED_PRECONDITION,
  status.PERMISSION_DENIED,
  status.UNAUTHENTICATED,
  status.UNIMPLEMENTED,
  status.INTERNAL,
]);

/**
 * Refusals of a worker's first stream that are final: its options or credentials are wrong, or no replica is at the target. A worker that was
 * attached before goes on trying: what it runs is not lost over a replica that is configured otherwise.
 */
const FINAL: ReadonlySet<number> = new Set([status.INVALID_ARGUMENT, status.PERMISSION_DENIED, status.UNAUTHENTICATED, status.UNIMPLEMENTED]);

/** "Longer than a moment": such an attempt is named as arrived. */
const MOMENT_MS = 1_000;
const BEAT_MS = 10_000;
const UNSETTLED_MAX = 1_024;
/** Of a frame, beside its results. */
const ENVELOPE_BYTES = 1_024;
/** Workers that are sent away together do not come back together: they move within a fifth of the time they are given. */
const SPREAD = 5;
/** The reason of a Reattach that any replica may follow, the same one too. */
const BY_AGE = 'age';

/**
 * A worker's side of WorkerService.Attach: one stream after another, what runs, and what is said of it. Its promises: a (job, fence) runs once;
 * a lease older than one seen for its job is dropped; a result is kept, and brought again to each new stream, until a verdict settles it.
 */
export class Attachment {
  readonly boot: string;
  readonly attempts: Attempts;
  readonly holding: Holding;
  private readonly line: Lifeline<AttachRequest, AttachResponse>;
  /** As the replica of the current stream knows it, and as that of the coming one was told. */
  private toldSlots = 0;
  private helloSlots = 0;
  private terms = {
    beatMs: BEAT_MS,
    maxUnsettled: UNSETTLED_MAX,
    maxResultBytes: Number.POSITIVE_INFINITY,
    maxFrameBytes: Number.POSITIVE_INFINITY,
    maxSlots: SLOTS_MAX,
  };
  private wasAttached = false;
  private beatAt = 0;
  private timer: (() => void) | undefined;
  /** Came on the current stream while another one was greeted, whose Hello did not name them. */
  private aside: Assignment[] = [];
  private flushing = false;
  private readonly refusals: Refusals;
  private leaving = false;
  private wanted = true;

  constructor(
    private readonly settings: WorkerSettings,
    handlers: HandlerTable,
    private readonly kinds: () => string[],
    private readonly events: AttachmentEvents,
  ) {
    const { clock, random, access, ids } = settings;
    this.boot = ids.jobId();
    this.attempts = new Attempts(HELD_MAX, handlers, clock, settings.pool);
    this.holding = new Holding(this.attempts);
    this.refusals = new Refusals(settings.slowRetryMs);
    this.line = new Lifeline<AttachRequest, AttachResponse>({
      access,
      method: WorkerServiceService.attach,
      clock,
      random,
      wanted: () => this.wanted,
      greet: () => this.hello(),
      answer: ({ frame }) => (frame?.$case === 'welcome' ? 'welcome' : 'other'),
      welcomed: ({ frame }) => {
        if (frame?.$case === 'welcome') this.welcomed(frame.value);
      },
      heartbeatMs: ({ frame }) => (frame?.$case === 'welcome' ? (fromDuration(frame.value.heartbeatInterval) ?? 0) : 0),
      heartbeat: { frame: { $case: 'heartbeat', value: {} } },
      frame: (frame) => this.take(frame),
      writable: () => this.flush(),
      lost: (error) => this.lost(error),
      failed: (error, tries) => this.failed(error, tries),
    });
  }

  get attached(): boolean {
    return this.line.attached;
  }

  start(): void {
    this.line.need();
  }

  /** So many jobs at once from now on. Throws TypeError for more than the replicas allow. */
  resize(slots: number): void {
    const { maxSlots } = this.terms;
    if (slots > maxSlots) throw new TypeError(`slots: ${slots} is more than the replicas allow, ${maxSlots} (MAX_SLOTS)`);
    this.settings.slots = slots;
    this.say();
  }

  /** No more jobs; what is held goes on. */
  leave(): void {
    this.leaving = true;
    this.holding.leave();
    this.say();
  }

  /** Is another stream wanted when this one ends? */
  want(wanted: boolean): void {
    this.wanted = wanted;
    if (wanted) this.line.need();
  }

  /** Ends the stream. `gently`: what was written still arrives. */
  close(gently: boolean): void {
    this.wanted = false;
    this.timer?.();
    this.line.close(gently);
  }

  private hello(): AttachRequest {
    const { id, pool, slots, labels, region, version } = this.settings;
    this.helloSlots = slots;
    const worker = WorkerInfo.fromPartial({
      id,
      pool,
      slots,
      labels,
      region,
      version,
      boot: this.boot,
      contract: Contract.CONTRACT_ATTACHED,
      kinds: this.kinds(),
    });
    return {
      frame: {
        $case: 'hello',
        value: { worker, held: this.holding.held(), capabilities: [HEARTBEAT], paused: slots === 0, maxFrameBytes: MESSAGE_BYTES },
      },
    };
  }

  private welcomed({ replica, beatInterval, maxUnsettled, maxFrameBytes, maxResultBytes, maxSlots, abandon }: Welcome): void {
    const frameBytes = maxFrameBytes === 0 ? Number.POSITIVE_INFINITY : maxFrameBytes - ENVELOPE_BYTES;
    this.terms = {
      beatMs: fromDuration(beatInterval) || BEAT_MS,
      maxUnsettled: maxUnsettled || UNSETTLED_MAX,
      maxResultBytes: maxResultBytes || frameBytes,
      maxFrameBytes: frameBytes,
      maxSlots: maxSlots || SLOTS_MAX,
    };
    this.wasAttached = true;
    this.refusals.over();
    this.toldSlots = this.helloSlots;
    this.aside = [];
    this.holding.begin();
    if (this.leaving) this.holding.leave();
    for (const lease of abandon) this.revoked(lease);
    this.beatAt = this.settings.clock.monotonic();
    this.arm();
    this.events.attached(replica);
    this.say();
  }

  private take({ frame }: AttachResponse): void {
    switch (frame?.$case) {
      case 'assign':
        // The next replica sends those again that are still ours: begun now, they might run here and elsewhere.
        if (this.line.greeting) this.aside.push(...frame.value.assignments);
        else for (const assignment of frame.value.assignments) this.assigned(assignment);
        return this.arm();
      case 'settled':
        for (const { jobId, fence, verdict } of frame.value.settlements) this.holding.settled(jobId, fence, verdict);
        this.events.moved();
        return this.say();
      case 'cancel':
        for (const { jobId, fence } of frame.value.held) {
          const known = this.attempts.abortNow(jobId, fence, 'cancelled') !== undefined || this.holding.has(jobId, fence);
          if (!known) this.holding.isStopped(jobId, fence);
        }
        return this.say();
      case 'revoke':
        for (const lease of frame.value.held) this.revoked(lease);
        return this.say();
      case 'reattach':
        return this.line.renew((fromDuration(frame.value.within) ?? 0) / SPREAD, frame.value.reason !== BY_AGE);
      case 'ping':
        this.holding.answer(frame.value.nonce);
        return this.flush();
    }
  }

  private assigned(assignment: Assignment): void {
    const { jobId, fence } = assignment;
    try {
      const taken = this.attempts.take(assignment);
      if (taken.kind === 'begun') void this.follow(taken.running);
      // It was settled, and the replica that asks does not know: it is told again.
      else if (taken.kind === 'ran' && !this.holding.has(jobId, fence)) this.holding.ended(taken.result);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      // There is no word for "give it to another": an unknown kind spends an attempt. A stale lease is nobody's any more.
      if (error.code === Code.FAILED_PRECONDITION) this.holding.isStopped(jobId, fence);
      else this.holding.ended(failureResult(assignment, error.code, error.code === Code.UNIMPLEMENTED ? 'unknown_kind' : 'refused', error.message));
    }
    this.say();
  }

  /** Until its handler is over: the slot is not free before, whatever the answer is. */
  private async follow(running: Running): Promise<void> {
    const result = await running.result;
    await running.stopped;
    const { jobId, fence, why } = running;
    if (why === 'lease_lost') this.holding.isStopped(jobId, fence);
    else this.holding.ended(this.fitting(result));
    this.events.moved();
    this.say();
  }

  /** A result that no replica keeps is not sent to be refused. */
  private fitting(result: Result): Result {
    const { maxResultBytes, maxFrameBytes } = this.terms;
    const bytes = result.outcome?.$case === 'output' ? result.outcome.value.length : 0;
    if (bytes > maxResultBytes) return tooLarge(result, `the result has ${bytes} bytes, MAX_RESULT_BYTES is ${maxResultBytes}`);
    if (sizeOf(result) <= maxFrameBytes) return result;
    return tooLarge(result, `a result of ${sizeOf(result)} bytes fits in no frame of the replicas, which are of ${maxFrameBytes}`);
  }

  private revoked({ jobId, fence }: Pick<Held, 'jobId' | 'fence'>): void {
    const running = this.attempts.abortNow(jobId, fence, 'lease_lost');
    // A result that waits for its settlement gets a verdict by itself.
    if (running === undefined && !this.holding.has(jobId, fence)) this.holding.isStopped(jobId, fence);
  }

  private lost(error: ApiError): void {
    if (!this.wanted) return;
    this.events.detached(error);
    if (SLOW.has(error.code)) this.refused(error);
  }

  private failed(error: ApiError, tries: number): number | undefined {
    for (const assignment of this.aside.splice(0)) this.assigned(assignment);
    this.arm();
    if (!this.wasAttached && (FINAL.has(error.code) || brokeByFrame(error))) this.events.hopeless(error);
    if (SLOW.has(error.code) || brokeByFrame(error)) {
      this.refused(error);
      return Math.min(error.details.retryAfterMs ?? Number.POSITIVE_INFINITY, this.refusals.nextMs());
    }
    if (tries === TRIES_TOLD) this.events.refused(error);
    if (error.details.retryAfterMs === undefined && !this.holding.idle && tries <= HURRIED_TRIES) return Math.min(HURRIED_MS, FIRST_MS * 2 ** tries);
    return error.details.retryAfterMs;
  }

  private refused(error: ApiError): void {
    if (this.refusals.isNews(error)) this.events.refused(error);
  }

  /** Whatever there is to say, in one frame a kind at the end of this turn. */
  private say(): void {
    if (this.flushing) return;
    this.flushing = true;
    queueMicrotask(() => {
      this.flushing = false;
      this.flush();
    });
  }

  private flush(): void {
    const { slots } = this.settings;
    while (this.line.writable) {
      if (slots !== this.toldSlots) {
        this.toldSlots = slots;
        this.holding.resize(slots);
      }
      const frame = this.holding.next(this.terms.maxUnsettled, this.line.greeting, this.aside);
      if (frame === undefined) return;
      if (frame.$case === 'beat') this.beatAt = this.settings.clock.monotonic();
      this.line.write({ frame });
    }
  }

  /** One timer, while anything is held: what runs for longer is named, and beaten for. */
  private arm(): void {
    const { clock } = this.settings;
    if (this.timer !== undefined || this.holding.idle) return;
    const everyMs = Math.min(MOMENT_MS, this.terms.beatMs / 10);
    this.timer = clock.after(everyMs, () => {
      this.timer = undefined;
      const now = clock.monotonic();
      // A tenth early: the interval is "at the least".
      if (this.holding.look(now - everyMs, now - this.beatAt >= this.terms.beatMs * 0.9 - everyMs)) this.say();
      this.arm();
    });
  }
}

function tooLarge(result: Result, message: string): Result {
  return failureResult(result, Code.RESOURCE_EXHAUSTED, 'result_too_large', message, false);
}

/**
 * A replica gives the jobs of a worker whose stream was reset to others after 3 s: who holds any tries faster than others at first, which is over
 * after some 10 s.
 */
const FIRST_MS = 50;
const HURRIED_MS = 500;
const HURRIED_TRIES = 20;
/** So many tries that brought no connection are worth a word. */
const TRIES_TOLD = 5;
