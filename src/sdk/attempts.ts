import type { Clock } from '../domain/clock.js';
import { Code } from '../domain/job.js';
import type { Assignment, Failure, Held, Result } from '../grpc/generated/muster/v1/common.js';
import { sdkClock, TIMER_MAX_MS } from './clock.js';
import { fromDuration } from './duration.js';
import { Newest, Remembered } from './memory.js';

/** What a handler is given. */
export interface AttemptContext {
  jobId: string;
  /** Grows with each attempt of the job: what the work writes elsewhere can be guarded by it. */
  fence: string;
  attempt: number;
  payload: Buffer;
  metadata: Record<string, string>;
  /** What an earlier attempt reported last. */
  progress: Buffer;
  /** Aborted when the attempt is not wanted any more: the job was cancelled, its time is over, or a newer attempt came. */
  signal: AbortSignal;
}

/** Does the work; resolves with the output. Throwing ends the attempt, which may be repeated unless it throws PermanentError. */
export type Handler = (context: AttemptContext) => Promise<Buffer>;

/** A handler's word that repeating the attempt is useless: the job fails at once. */
export class PermanentError extends Error {
  override readonly name = 'PermanentError';
}

/** Why an assignment was not taken; nothing ran. */
export class Refusal extends Error {
  override readonly name = 'Refusal';
  constructor(
    readonly code: number,
    message: string,
  ) {
    super(message);
  }
}

interface Running {
  jobId: string;
  fence: string;
  controller: AbortController;
  /** Its answer: the handler's, or earlier that its time was over. */
  result: Promise<Result>;
  /** The handler is over, and with it the slot. Never rejects. */
  stopped: Promise<void>;
}

/**
 * What one worker process runs. A (job, fence) runs once: named again it joins the running attempt or gets the remembered result.
 * A fence older than one seen for its job is refused, and a newer one aborts what runs. A slot is taken until its handler is over,
 * whatever was answered before.
 */
export class Attempts {
  private readonly running = new Map<string, Running>();
  private readonly newest = new Newest();
  private readonly remembered: Remembered;
  private closedFor: string | undefined;

  constructor(
    private readonly slots: number,
    private readonly handlers: Readonly<Record<string, Handler>>,
    private readonly clock: Clock = sdkClock,
  ) {
    this.remembered = new Remembered(clock);
  }

  get free(): boolean {
    return this.closedFor === undefined && this.running.size < this.slots;
  }

  /** Runs it or joins it; resolves with its end. Throws Refusal. */
  execute(assignment: Assignment): Promise<Result> {
    const { jobId, fence } = assignment;
    const key = keyOf(jobId, fence);
    const known = this.running.get(key)?.result ?? this.remembered.get(key);
    if (known !== undefined) return Promise.resolve(known);
    this.admit(assignment);
    // Started, not running and not remembered: its result was pushed out. To run it again would break "once".
    if (this.newest.started(jobId, fence)) return Promise.resolve(failed(assignment, Code.DATA_LOSS, 'result_forgotten', 'too many results since'));
    this.supersede(jobId);
    const handler = this.handlerFor(assignment);
    if (this.closedFor !== undefined) throw new Refusal(Code.RESOURCE_EXHAUSTED, this.closedFor);
    if (this.running.size >= this.slots) throw new Refusal(Code.RESOURCE_EXHAUSTED, `all ${this.slots} slots are taken`);
    this.newest.start(jobId, fence);
    return this.start(key, assignment, handler).result;
  }

  /** The answer of an `execute` reached nobody: `held` names it until someone comes for it. */
  unfetched(jobId: string, fence: string): void {
    this.remembered.setFetched(keyOf(jobId, fence), false);
  }

  /** Someone came for it. */
  fetched(jobId: string, fence: string): void {
    this.remembered.setFetched(keyOf(jobId, fence), true);
  }

  /** Aborts it and resolves when its handler is over, `waitMs` have passed, or at once when it is not running. */
  async abort(jobId: string, fence: string, waitMs: number): Promise<void> {
    this.fetched(jobId, fence);
    const attempt = this.running.get(keyOf(jobId, fence));
    if (attempt === undefined) return;
    attempt.controller.abort(new Error('the attempt was aborted'));
    const over = new AbortController();
    await Promise.race([attempt.stopped, this.clock.sleep(waitMs, over.signal)]);
    over.abort();
  }

  /** Every attempt that runs, and those whose result nobody came for yet. */
  held(): Held[] {
    const running = [...this.running.values()].map(({ jobId, fence }) => ({ jobId, fence }));
    return [
      ...running.map((lease) => ({ ...lease, done: false, progress: Buffer.alloc(0) })),
      ...this.remembered.unfetched().map((lease) => ({ ...lease, done: true, progress: Buffer.alloc(0) })),
    ].filter((lease, index, all) => all.findIndex((other) => other.jobId === lease.jobId && other.fence === lease.fence) === index);
  }

  /** Takes nothing new from now on. */
  refuse(why: string): void {
    this.closedFor ??= why;
  }

  abortAll(): void {
    for (const { controller } of this.running.values()) controller.abort(new Error('the worker stops'));
  }

  /** Nothing runs any more. */
  async idle(): Promise<void> {
    while (this.running.size > 0) await Promise.all([...this.running.values()].map(({ stopped }) => stopped));
  }

  private admit({ jobId, fence }: Assignment): void {
    if (this.newest.see(jobId, fence)) return;
    throw new Refusal(Code.FAILED_PRECONDITION, `fence ${fence} of job ${jobId} is stale: ${this.newest.of(jobId)} was seen`);
  }

  private supersede(jobId: string): void {
    for (const attempt of this.running.values()) {
      if (attempt.jobId === jobId) attempt.controller.abort(new Error('a newer attempt of the job came'));
    }
  }

  private handlerFor({ kind, method }: Assignment): Handler {
    const name = kind === '' ? method : kind;
    const handler = Object.hasOwn(this.handlers, name) ? this.handlers[name] : undefined;
    if (handler === undefined) throw new Refusal(Code.UNIMPLEMENTED, `${name === '' ? 'no kind' : name}: not known here`);
    return handler;
  }

  private start(key: string, assignment: Assignment, handler: Handler): Running {
    const { jobId, fence } = assignment;
    const controller = new AbortController();
    const { signal } = controller;
    const work = this.work(assignment, handler, signal);
    const result = Promise.race([work, this.timeUp(assignment, controller, work)]).then((end) => {
      this.remembered.add(key, end);
      return end;
    });
    const stopped = work.then(() => void this.running.delete(key));
    const running = { jobId, fence, controller, result, stopped };
    this.running.set(key, running);
    return running;
  }

  private async work(assignment: Assignment, handler: Handler, signal: AbortSignal): Promise<Result> {
    const { jobId, fence, attempt, payload, metadata, progress } = assignment;
    try {
      const output = await handler({ jobId, fence, attempt, payload, metadata, progress, signal });
      if (!(output instanceof Uint8Array)) throw new PermanentError('the handler answered no bytes');
      return { jobId, fence, outcome: { $case: 'output', value: output } };
    } catch (thrown) {
      const message = thrown instanceof Error ? thrown.message : String(thrown);
      if (signal.aborted) return failed(assignment, Code.CANCELLED, 'aborted', message);
      const permanent = thrown instanceof PermanentError;
      return failed(assignment, Code.UNKNOWN, permanent ? 'permanent' : 'handler_threw', message, !permanent);
    }
  }

  private async timeUp(assignment: Assignment, controller: AbortController, work: Promise<Result>): Promise<Result> {
    const timeoutMs = fromDuration(assignment.runTimeout) ?? 0;
    if (timeoutMs <= 0 || timeoutMs > TIMER_MAX_MS) return work;
    const over = new AbortController();
    void work.then(() => over.abort());
    await this.clock.sleep(timeoutMs, over.signal);
    if (over.signal.aborted) return work;
    controller.abort(new Error("the attempt's time is over"));
    return failed(assignment, Code.DEADLINE_EXCEEDED, 'run_timeout', `not done within ${timeoutMs} ms`);
  }
}

function keyOf(jobId: string, fence: string): string {
  return `${jobId}/${fence}`;
}

/** A failure's text ends up in Redis and in many answers. */
const MESSAGE_MAX = 1_024;

function failed({ jobId, fence }: Assignment, code: number, reason: string, message: string, retryable = true): Result {
  const failure: Failure = { code, message: message.slice(0, MESSAGE_MAX), reason, retryable, details: Buffer.alloc(0) };
  return { jobId, fence, outcome: { $case: 'failure', value: failure } };
}
