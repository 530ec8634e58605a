import type { Clock } from '../domain/clock.js';
import { Code } from '../domain/job.js';
import type { Assignment, Held, Result } from '../grpc/generated/muster/v1/common.js';
import { sdkClock } from './clock.js';
import { fromDuration } from './duration.js';
import { type AbortWhy, JobAborted, PermanentError } from './errors.js';
import { Newest, Remembered } from './memory.js';
import { failureOf, failureResult } from './results.js';
import { consuming } from './tracing.js';

export { PermanentError } from './errors.js';

/** What a handler is given. */
export interface AttemptContext {
  jobId: string;
  /** Grows with each attempt of the job: what the work writes elsewhere can be guarded by it. */
  fence: string;
  attempt: number;
  /** One of the two; the other is ''. */
  kind: string;
  method: string;
  payload: Buffer;
  metadata: Record<string, string>;
  /** What an earlier attempt reported last. */
  progress: Buffer;
  /** Aborted, with a JobAborted as its reason, when the attempt is not wanted any more. */
  readonly signal: AbortSignal;
  /** The same as `signal.aborted`, without making a signal: that costs more than many a job. */
  readonly aborted: boolean;
  /** How far it is: the newest is kept and named with the attempt in `held`. ≤ 4 KiB. */
  report(progress: Uint8Array): void;
}

/** Does the work; resolves with the output. Throwing ends the attempt, which may be repeated unless it throws PermanentError. */
export type Handler = (context: AttemptContext) => Promise<Buffer>;

/** By kind or method; a function is asked with each assignment. */
export type HandlerTable = Readonly<Record<string, Handler>> | ((assignment: Assignment) => Handler | undefined);

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

export interface Running {
  readonly jobId: string;
  readonly fence: string;
  /** Monotonic ms. */
  readonly since: number;
  /** Why it was aborted first; undefined: it was not. */
  readonly why: AbortWhy | undefined;
  /** Its answer: the handler's, or earlier that its time was over. Never rejects. */
  readonly result: Promise<Result>;
  /** The handler is over, and with it the slot. Never rejects. */
  readonly stopped: Promise<void>;
}

interface Attempt extends Running {
  result: Promise<Result>;
  stopped: Promise<void>;
  why: AbortWhy | undefined;
  /** Made when the handler first looks. */
  controller: AbortController | undefined;
  progress: Buffer;
}

export type Taken =
  /** It was begun now. */
  | { kind: 'begun'; running: Running }
  /** It runs already. */
  | { kind: 'runs'; running: Running }
  /** It ran; this is what it came to. */
  | { kind: 'ran'; result: Result };

const NO_BYTES = Buffer.alloc(0);

/**
 * What one worker process runs. A (job, fence) runs once: named again it joins the running attempt or gets the remembered result.
 * A fence older than one seen for its job is refused, and a newer one aborts what runs. A slot is taken until its handler is over,
 * whatever was answered before.
 */
export class Attempts {
  private readonly running = new Map<string, Attempt>();
  private readonly newest = new Newest();
  private readonly remembered: Remembered;
  private closedFor: string | undefined;

  constructor(
    private readonly slots: number,
    private readonly handlers: HandlerTable,
    private readonly clock: Clock = sdkClock,
    /** For traces. */
    private readonly pool = '',
  ) {
    this.remembered = new Remembered(clock);
  }

  get free(): boolean {
    return this.closedFor === undefined && this.running.size < this.slots;
  }

  get size(): number {
    return this.running.size;
  }

  /** Runs it or joins it; resolves with its end. Throws Refusal. */
  execute(assignment: Assignment): Promise<Result> {
    const taken = this.take(assignment);
    return taken.kind === 'ran' ? Promise.resolve(taken.result) : taken.running.result;
  }

  /** Begins it, unless it runs or ran. Throws Refusal. */
  take(assignment: Assignment): Taken {
    const { jobId, fence } = assignment;
    const key = keyOf(jobId, fence);
    const running = this.running.get(key);
    if (running !== undefined) return { kind: 'runs', running };
    const ran = this.remembered.get(key);
    if (ran !== undefined) return { kind: 'ran', result: ran };
    this.admit(assignment);
    // Started, not running and not remembered: its result was pushed out. To run it again would break "once".
    if (this.newest.started(jobId, fence)) return { kind: 'ran', result: forgotten(assignment) };
    this.supersede(jobId);
    const handler = this.handlerFor(assignment);
    if (this.closedFor !== undefined) throw new Refusal(Code.RESOURCE_EXHAUSTED, this.closedFor);
    if (this.running.size >= this.slots) throw new Refusal(Code.RESOURCE_EXHAUSTED, `all ${this.slots} slots are taken`);
    this.newest.start(jobId, fence);
    return { kind: 'begun', running: this.start(key, assignment, handler) };
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
    const attempt = this.abortNow(jobId, fence, 'cancelled');
    if (attempt === undefined) return;
    const over = new AbortController();
    await Promise.race([attempt.stopped, this.clock.sleep(waitMs, over.signal)]);
    over.abort();
  }

  /** Aborts it; undefined: it is not running. */
  abortNow(jobId: string, fence: string, why: AbortWhy): Running | undefined {
    const attempt = this.running.get(keyOf(jobId, fence));
    if (attempt !== undefined) abort(attempt, why);
    return attempt;
  }

  /** What runs, oldest first. */
  all(): IterableIterator<Running> {
    return this.running.values();
  }

  /** Every attempt that runs, and those whose result nobody came for yet. */
  held(): Held[] {
    const running = [...this.running.values()].map(({ jobId, fence, progress }) => ({ jobId, fence, done: false, progress }));
    const done = this.remembered.unfetched().filter(({ jobId, fence }) => !this.running.has(keyOf(jobId, fence)));
    return [...running, ...done.map((lease) => ({ ...lease, done: true, progress: NO_BYTES }))];
  }

  /** Takes nothing new from now on. */
  refuse(why: string): void {
    this.closedFor ??= why;
  }

  abortAll(): void {
    for (const attempt of this.running.values()) abort(attempt, 'draining');
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
    for (const attempt of this.running.values()) if (attempt.jobId === jobId) abort(attempt, 'lease_lost');
  }

  private handlerFor(assignment: Assignment): Handler {
    const { kind, method } = assignment;
    const name = kind === '' ? method : kind;
    const table = this.handlers;
    const handler = typeof table === 'function' ? table(assignment) : Object.hasOwn(table, name) ? table[name] : undefined;
    if (handler === undefined) throw new Refusal(Code.UNIMPLEMENTED, `${name === '' ? 'no kind' : name}: not known here`);
    return handler;
  }

  private start(key: string, assignment: Assignment, handler: Handler): Running {
    const { jobId, fence } = assignment;
    const since = this.clock.monotonic();
    const over = Promise.resolve();
    const unset = new Promise<Result>(() => {});
    const attempt: Attempt = { jobId, fence, since, why: undefined, controller: undefined, progress: NO_BYTES, result: unset, stopped: over };
    this.running.set(key, attempt);
    const work = this.work(assignment, handler, attempt);
    const result = this.answer(assignment, work, () => abort(attempt, 'deadline')).then((end) => {
      this.remembered.add(key, end);
      return end;
    });
    const stopped = work.then(() => void this.running.delete(key));
    return Object.assign(attempt, { result, stopped });
  }

  private async work(assignment: Assignment, handler: Handler, attempt: Attempt): Promise<Result> {
    const { jobId, fence } = assignment;
    // Who asked for it goes on first; one that is aborted by then never begins.
    await undefined;
    try {
      if (attempt.why !== undefined) throw new JobAborted(attempt.why);
      const output = await consuming(this.pool, assignment, () => handler(contextOf(assignment, attempt)));
      if (!(output instanceof Uint8Array)) throw new PermanentError('the handler answered no bytes');
      return { jobId, fence, outcome: { $case: 'output', value: output } };
    } catch (thrown) {
      return { jobId, fence, outcome: { $case: 'failure', value: failureOf(thrown, attempt.why) } };
    }
  }

  /** The work's end, or at its deadline that its time is over, whichever is first. */
  private answer(assignment: Assignment, work: Promise<Result>, abortIt: () => void): Promise<Result> {
    const timeoutMs = fromDuration(assignment.runTimeout) ?? 0;
    if (timeoutMs <= 0) return work;
    return new Promise((resolve) => {
      const cancel = this.clock.after(timeoutMs, () => {
        abortIt();
        resolve(failureResult(assignment, Code.DEADLINE_EXCEEDED, 'run_timeout', `not done within ${timeoutMs} ms`));
      });
      void work.then((end) => {
        cancel();
        resolve(end);
      });
    });
  }
}

function contextOf({ kind, method, payload, metadata, progress, attempt: number, jobId, fence }: Assignment, attempt: Attempt): AttemptContext {
  return {
    jobId,
    fence,
    attempt: number,
    kind,
    method,
    payload,
    metadata,
    progress,
    get signal() {
      if (attempt.controller === undefined) {
        attempt.controller = new AbortController();
        if (attempt.why !== undefined) attempt.controller.abort(new JobAborted(attempt.why));
      }
      return attempt.controller.signal;
    },
    get aborted() {
      return attempt.why !== undefined;
    },
    report: (bytes) => {
      attempt.progress = Buffer.from(bytes);
    },
  };
}

function abort(attempt: Attempt, why: AbortWhy): void {
  if (attempt.why !== undefined) return;
  attempt.why = why;
  attempt.controller?.abort(new JobAborted(why));
}

function keyOf(jobId: string, fence: string): string {
  return `${jobId}/${fence}`;
}

function forgotten(assignment: Assignment): Result {
  return failureResult(assignment, Code.DATA_LOSS, 'result_forgotten', 'too many results since');
}
