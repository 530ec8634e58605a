import { EventEmitter } from 'node:events';
import { status } from '@grpc/grpc-js';
import { toError } from '../domain/errors.js';
import { ApiError } from './api-error.js';
import { Attachment } from './attachment.js';
import { Backoff } from './backoff.js';
import { connectBy } from './connect.js';
import { Handlers, type JobHandler } from './handlers.js';
import { type AnyJob, type Codecs, type InputReceived, isMethod, jobOf, type OutputSent } from './job.js';
import { retrying } from './retrying.js';
import { endWithSignals } from './signals.js';
import { checkSlots, type WorkerOptions, type WorkerSettings, workerSettings } from './worker-options.js';

export type { WorkerOptions } from './worker-options.js';

/** What a worker tells. */
export interface WorkerEvents {
  /** A replica has it on the roll; again after each change of replica. */
  attached: [{ replica: string }];
  /** Its stream broke; it opens another. What runs goes on. */
  detached: [{ error: Error }];
  /** A refusal that a person should look at, or five tries without a connection; it goes on trying. Without a listener: a process warning. */
  error: [Error];
  /** A handler threw. The job is retried, or fails, as the error says. */
  failed: [{ id: string; kind: string; attempt: number; error: unknown }];
}

export interface StopOptions {
  /** How long what runs may go on before it is aborted. Default 10 s. */
  graceMs?: number;
}

const GRACE_MS = 10_000;
/** After an abort: handlers end, and their results are settled, by then. */
const ABORTED_MS = 2_000;
/** The roll confirms by then that nothing is held. */
const CONFIRM_MS = 5_000;
const CONFIRMING = { firstMs: 50, maxMs: 1_000 };

/** created → running → leaving → stopped; only forward. */
type Mode = 'created' | 'running' | 'leaving' | 'stopped';

/**
 * A worker that opens a stream to the replicas and is given jobs over it; nothing needs to reach it. It keeps itself attached until stopped,
 * whatever happens to replicas and connections, and what runs goes on meanwhile. Throws TypeError or MusterError for bad options.
 */
export class Worker implements AsyncDisposable {
  private readonly settings: WorkerSettings;
  private readonly emitter = new EventEmitter<WorkerEvents>();
  private readonly attachment: Attachment;
  /** For testWorker. */
  readonly handlers: Handlers;
  private mode: Mode = 'created';
  private leaving: Promise<void> | undefined;
  private unwatch = () => {};
  private readonly started = new AbortController();
  private waiting: (() => void)[] = [];
  /** Why no replica takes it. */
  private refusal: ApiError | undefined;

  constructor(options: WorkerOptions) {
    this.settings = workerSettings(options);
    this.handlers = new Handlers(({ id, kind, attempt }, error) => void this.emitter.emit('failed', { id, kind, attempt, error }));
    this.attachment = new Attachment(
      this.settings,
      (assignment) => this.handlers.handlerFor(assignment),
      () => this.handlers.kinds(),
      {
        attached: (replica) => {
          this.started.abort();
          this.emitter.emit('attached', { replica });
        },
        detached: (error) => this.emitter.emit('detached', { error }),
        refused: (error) => {
          if (this.refusal === undefined) this.complain(error);
        },
        hopeless: (error) => {
          this.refusal = error;
          this.end(false);
        },
        moved: () => this.moved(),
      },
    );
  }

  get id(): string {
    return this.settings.id;
  }

  get pool(): string {
    return this.settings.pool;
  }

  /** New with each Worker. */
  get boot(): string {
    return this.attachment.boot;
  }

  get attached(): boolean {
    return this.attachment.attached;
  }

  /** How many jobs it runs now. */
  get running(): number {
    return this.attachment.attempts.size;
  }

  /** Runs jobs of that definition, or kind; the input arrives decoded and checked, the output is encoded. Throws TypeError for a second handler. */
  handle<J extends AnyJob>(job: J, run: JobHandler<InputReceived<J>, OutputSent<J>>): this;
  handle<const C extends Codecs>(kind: string, run: JobHandler<InputReceived<C>, OutputSent<C>>, codec: C): this;
  /** JSON, unchecked: the input is what the client sent, whatever type is written here. */
  handle<Input, Output>(kind: string, run: JobHandler<Input, Output>): this;
  handle(job: string | AnyJob, run: JobHandler<never>, codec?: Codecs): this {
    this.handlers.add(jobOf(job, codec), run);
    return this;
  }

  /** Runs jobs that name a method, `/package.Service/Method`: request bytes in, response bytes out, unless a codec says otherwise. */
  handleMethod(method: string, run: JobHandler<Buffer, Uint8Array>): this;
  handleMethod<const C extends Codecs>(method: string, run: JobHandler<InputReceived<C>, OutputSent<C>>, codec: C): this;
  handleMethod(method: string, run: JobHandler<never>, codec: Codecs = 'bytes'): this {
    if (!isMethod(method)) throw new TypeError(`${method}: write /package.Service/Method`);
    this.handlers.add(jobOf(method, codec), run);
    return this;
  }

  /** Runs whatever has no handler of its own, in bytes; the context says what it is. Without one, such a job fails with UNIMPLEMENTED `unknown_kind`. */
  handleOther(run: JobHandler<Buffer, Uint8Array>): this {
    this.handlers.addFallback(run);
    return this;
  }

  on<Name extends keyof WorkerEvents>(event: Name, listener: (...args: WorkerEvents[Name]) => void): this {
    // EventEmitter's own types do not follow a generic name.
    (this.emitter as EventEmitter).on(event, listener as (...args: unknown[]) => void);
    return this;
  }

  off<Name extends keyof WorkerEvents>(event: Name, listener: (...args: WorkerEvents[Name]) => void): this {
    (this.emitter as EventEmitter).off(event, listener as (...args: unknown[]) => void);
    return this;
  }

  /**
   * Resolves when it is attached for the first time (or stopped before). `signals` (default true): the first SIGTERM or SIGINT drains it, and
   * the process then ends by that signal; a second one aborts what runs. Rejects with TypeError when it was started before or handles nothing,
   * and with ApiError when its first stream is refused for good, as INVALID_ARGUMENT, UNAUTHENTICATED, PERMISSION_DENIED, or UNIMPLEMENTED: the
   * worker is stopped then. After the first stream, and for every other error, it goes on trying.
   */
  async start(options: { signals?: boolean } = {}): Promise<void> {
    if (this.mode !== 'created') throw new TypeError(`start: this worker is ${this.mode}; make another one`);
    if (this.handlers.size === 0) throw new TypeError('start: it handles nothing: call handle() first');
    this.mode = 'running';
    if (options.signals !== false) this.unwatch = endWithSignals({ drain: () => this.drain(), abort: () => this.stop({ graceMs: 0 }) });
    this.attachment.start();
    await new Promise<void>((resolve) => {
      if (this.started.signal.aborted) return resolve();
      this.started.signal.addEventListener('abort', () => resolve(), { once: true });
    });
    if (this.refusal !== undefined) throw this.refusal;
  }

  /** So many jobs at once from now on, 0 to MAX_SLOTS of the replicas; what runs goes on. Throws TypeError for more. */
  resize(slots: number): void {
    this.attachment.resize(checkSlots(slots));
  }

  /** Takes no more jobs. Resolves when nothing is held any more and the roll has confirmed it; the worker is stopped then. Idempotent. */
  drain(): Promise<void> {
    this.leaving ??= this.leave();
    return this.leaving;
  }

  /** Drains; what still runs after `graceMs` is aborted (`draining`) and given back to be retried. Resolves within 10 s after that. Idempotent. */
  async stop({ graceMs = GRACE_MS }: StopOptions = {}): Promise<void> {
    const drained = this.drain();
    await this.within(drained, graceMs);
    if (this.mode === 'leaving') {
      this.attachment.attempts.abortAll();
      await this.within(this.emptied(), ABORTED_MS);
    }
    // A handler that does not listen to its signal, or replicas that do not answer, keep nobody any longer.
    if (this.mode === 'leaving' && !this.attachment.holding.idle) this.end(false);
    await drained;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  private async leave(): Promise<void> {
    if (this.mode === 'created' || this.mode === 'stopped') return this.end(false);
    this.mode = 'leaving';
    this.attachment.leave();
    await this.emptied();
    if (this.started.signal.aborted) await this.confirmed().catch((error: unknown) => this.complain(toError(error)));
    this.end(true);
  }

  /** Resolves when nothing is held, or it was stopped. */
  private async emptied(): Promise<void> {
    while (this.mode === 'leaving' && !this.attachment.holding.idle) await new Promise<void>((resolve) => this.waiting.push(resolve));
  }

  /** An assignment may be on its way while we say goodbye: the roll knows. */
  private async confirmed(): Promise<void> {
    const { access, pool, id, clock, random } = this.settings;
    const api = connectBy(access, { clock });
    const endsAt = clock.monotonic() + CONFIRM_MS;
    const backoff = new Backoff(random, CONFIRMING);
    const ask = () => api.deregister({ pool, id, boot: this.boot, drainTimeout: undefined }, { deadlineMs: CONFIRM_MS });
    try {
      while (this.mode === 'leaving') {
        // Once it is off the roll its stream ends; another one would put it back.
        this.attachment.want(false);
        const { held } = await retrying(ask, { clock, random, giveUpMs: CONFIRM_MS });
        if (held === 0 || clock.monotonic() > endsAt) return;
        await clock.sleep(backoff.nextMs());
        if (this.attachment.holding.idle) continue;
        this.attachment.want(true);
        await this.emptied();
      }
    } catch (error) {
      // Not on the roll is as good as off it, and so is a newer life under its name.
      if (!(error instanceof ApiError && (error.code === status.NOT_FOUND || error.code === status.FAILED_PRECONDITION))) throw error;
    } finally {
      api.close();
    }
  }

  private end(gently: boolean): void {
    if (this.mode === 'stopped') return;
    this.mode = 'stopped';
    this.attachment.attempts.refuse('the worker has stopped');
    this.attachment.close(gently);
    this.unwatch();
    this.started.abort();
    this.moved();
  }

  private moved(): void {
    for (const resolve of this.waiting.splice(0)) resolve();
  }

  private complain(error: Error): void {
    if (this.emitter.listenerCount('error') > 0) this.emitter.emit('error', error);
    else process.emitWarning(`worker ${this.id}: ${error.message}`, 'MusterWarning');
  }

  private async within(promise: Promise<void>, ms: number): Promise<void> {
    const over = new AbortController();
    await Promise.race([promise, this.settings.clock.sleep(ms, over.signal)]);
    over.abort();
  }
}
