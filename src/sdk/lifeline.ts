import { status } from '@grpc/grpc-js';
import type { Clock, Random } from '../domain/clock.js';
import { Heartbeat, SILENT_INTERVALS } from '../domain/heartbeat.js';
import type { Access } from './access.js';
import { ApiError } from './api-error.js';
import { Pipe, type PipeMethod } from './pipe.js';

/**
 * One stream to the replicas, kept alive: opened when wanted, opened again when it breaks, and renewed without a gap when the replica asks.
 *
 * idle → connecting → greeting (the first frame is out) → current. While a stream is current, another one may be on its way to take its place
 * (make before break): the old one is used until the new one was welcomed, and then ended.
 *
 * A current stream on which the replica sends nothing for two heartbeat intervals is silent: another stream is opened, to another replica if there
 * is one. The silent one stays in use meanwhile, because its replica may only be slow.
 */
export interface LifelineOptions<Out, In> {
  access: Access;
  method: PipeMethod<Out, In>;
  clock: Clock;
  random: Random;
  /** Is a stream needed when there is none? Asked before every try. */
  wanted(): boolean;
  /** The first frame, made at the last moment. */
  greet(): Out;
  /** What a frame is while the answer is awaited. `refused`: another replica is tried. */
  answer(frame: In): 'welcome' | 'refused' | 'other';
  /** The stream is the current one now; here is the answer. */
  welcomed(frame: In): void;
  /** How often the replica sends heartbeats, as its answer says, in ms; 0: never, so that its silence means nothing. */
  heartbeatMs(welcome: In): number;
  /** A frame that says only that this side lives. */
  heartbeat: Out;
  /** The replica has sent nothing on the current stream for that long. Called once a silence. */
  silent?(forMs: number): void;
  /** Of the current stream, or of one that is being replaced. */
  frame(frame: In): void;
  /** The current stream takes frames (again). */
  writable(): void;
  /** The current stream broke. */
  lost(error: ApiError): void;
  /** A try brought nothing. Answers with how long to wait at the least, in ms; undefined: as usual. */
  failed(error: ApiError, tries: number): number | undefined;
}

const FIRST_MS = 100;
const MAX_MS = 5_000;
/** A stream that lasted so long had nothing wrong with it. */
const STEADY_MS = 5_000;
/** The peer answers the first frame by then, or says by heartbeats that it will. */
const WELCOME_MS = 6_000;
/** After several silences in a row. */
const SILENT_INTERVALS_MOST = 16;
/** A replica that asked to leave it, or that did not answer, is the last choice for so long. */
const AVOID_MS = 30_000;

export class Lifeline<Out, In> {
  private current: Pipe<Out, In> | undefined;
  private heartbeat: Heartbeat | undefined;
  private silent = false;
  /** Doubled by each silence, so that one message that takes longer than that over a slow network arrives in the end. */
  private silentIntervals = SILENT_INTERVALS;
  private readonly older = new Set<Pipe<Out, In>>();
  private coming: Pipe<Out, In> | undefined;
  private greeted = false;
  private renewal = false;
  private working = false;
  private closed = false;
  private hurry = new AbortController();
  /** Streams in a row that were not there, or did not stay. */
  private tries = 0;
  /** Monotonic ms. */
  private welcomedAt = 0;
  private awaitWelcome = () => {};
  private cancelWelcome = () => {};
  /** Address → the monotonic ms until which it is the last choice. */
  private readonly avoided = new Map<string, number>();

  constructor(private readonly options: LifelineOptions<Out, In>) {}

  get attached(): boolean {
    return this.current !== undefined;
  }

  /** There is a stream, and its replica is heard on it. */
  get serving(): boolean {
    return this.current !== undefined && !this.silent;
  }

  /** A first frame is out and not answered: what is said on the current stream now, the next replica may not know. */
  get greeting(): boolean {
    return this.greeted;
  }

  get writable(): boolean {
    return this.current?.writable ?? false;
  }

  write(frame: Out): void {
    this.current?.write(frame);
  }

  /** A stream is wanted. */
  need(): void {
    if (!this.working && this.wants()) void this.work();
  }

  /** The current stream is to be replaced, at a random moment within so many ms. `elsewhere`: by one to another replica, if there is one. */
  renew(withinMs: number, elsewhere: boolean): void {
    if (this.current === undefined) return;
    if (elsewhere) this.avoid(this.current);
    // One that has time, and is wanted now.
    if (this.renewal && withinMs === 0) this.hurry.abort();
    if (this.renewal) return;
    this.renewal = true;
    if (!this.working) void this.work(this.options.random() * withinMs);
  }

  /** For good. `gently`: what was written still arrives. */
  close(gently = false): void {
    this.closed = true;
    this.hurry.abort();
    this.heartbeat?.stop();
    this.coming?.cut();
    if (gently) this.retire(this.current);
    else for (const pipe of [this.current, ...this.older]) pipe?.cut();
    this.current = undefined;
  }

  private avoid({ peer }: Pipe<Out, In>): void {
    if (peer !== undefined) this.avoided.set(peer, this.options.clock.monotonic() + AVOID_MS);
  }

  private toAvoid(): ReadonlySet<string> {
    const now = this.options.clock.monotonic();
    for (const [address, untilMs] of this.avoided) if (untilMs <= now) this.avoided.delete(address);
    return new Set(this.avoided.keys());
  }

  private wants(): boolean {
    if (this.closed) return false;
    return this.current === undefined ? this.options.wanted() : this.renewal;
  }

  private async work(delayMs = 0): Promise<void> {
    const { clock, random, failed } = this.options;
    this.working = true;
    let waitMs = delayMs;
    while (this.wants()) {
      this.hurry = new AbortController();
      if (waitMs > 0) await clock.sleep(waitMs, this.hurry.signal);
      if (!this.wants()) break;
      try {
        await this.connect();
        waitMs = 0;
      } catch (thrown) {
        if (this.closed) break;
        const error = thrown instanceof ApiError ? thrown : new ApiError(status.INTERNAL, '', String(thrown), undefined, { cause: thrown });
        const most = this.pauseMs();
        const least = failed(error, this.tries);
        waitMs = least === undefined ? random() * most : least * (0.75 + 0.5 * random());
      }
    }
    this.working = false;
    // It was asked for between the last look and now.
    if (this.wants()) void this.work(0);
  }

  /** The longest pause before the next try; one is drawn from the whole range (full jitter), because those who lost the same replica must not return together. */
  private pauseMs(): number {
    return Math.min(MAX_MS, FIRST_MS * 2 ** Math.min(this.tries++, 10));
  }

  /** Resolves when the new stream is the current one. Rejects with ApiError. */
  private async connect(): Promise<void> {
    const { access, method, clock, random, greet } = this.options;
    let welcome = (_frame: In) => {};
    let fail = (_error: ApiError) => {};
    const welcomed = new Promise<In>((resolve, reject) => {
      welcome = resolve;
      fail = reject;
    });
    // A failure is awaited below; one that comes before that is not unhandled.
    welcomed.catch(() => undefined);
    const pipe: Pipe<Out, In> = new Pipe<Out, In>(
      access,
      {
        frame: (frame) => (pipe === this.coming ? this.greetedWith(frame, welcome, fail) : this.received(pipe, frame)),
        writable: () => {
          if (pipe === this.current) this.options.writable();
        },
        closed: (error) => (pipe === this.coming ? fail(error) : this.broken(pipe, error)),
      },
      clock,
      random,
      this.toAvoid(),
    );
    this.coming = pipe;
    this.awaitWelcome = () => {
      this.cancelWelcome();
      this.cancelWelcome = clock.after(WELCOME_MS, () => fail(new ApiError(status.DEADLINE_EXCEEDED, '', `no welcome within ${WELCOME_MS} ms`)));
    };
    try {
      const headers = await pipe.ready();
      this.greeted = true;
      pipe.open(method, greet(), headers);
      this.awaitWelcome();
      await welcomed;
    } catch (error) {
      this.avoid(pipe);
      pipe.cut();
      throw error;
    } finally {
      this.cancelWelcome();
      this.greeted = false;
      if (this.coming === pipe) this.coming = undefined;
    }
  }

  /** In the same turn as the frame: what comes behind the welcome must find the stream current. */
  private greetedWith(frame: In, welcome: (frame: In) => void, fail: (error: ApiError) => void): void {
    const { answer, welcomed } = this.options;
    const kind = answer(frame);
    if (kind === 'refused') return fail(new ApiError(status.UNAVAILABLE, '', 'the replica is stopping'));
    if (kind === 'other') return this.awaitWelcome();
    const pipe = this.coming;
    const former = this.current;
    this.coming = undefined;
    this.greeted = false;
    this.renewal = false;
    this.current = pipe;
    this.welcomedAt = this.options.clock.monotonic();
    this.listen(pipe, frame);
    welcomed(frame);
    this.retire(former);
    welcome(frame);
  }

  private received(pipe: Pipe<Out, In>, frame: In): void {
    if (pipe === this.current) {
      this.silent = false;
      this.heartbeat?.received();
      if (this.options.clock.monotonic() - this.welcomedAt >= AVOID_MS) this.silentIntervals = SILENT_INTERVALS;
    }
    this.options.frame(frame);
  }

  /** Heartbeats of the stream that is the current one from now on. */
  private listen(pipe: Pipe<Out, In> | undefined, welcome: In): void {
    const { clock, heartbeat, heartbeatMs, silent } = this.options;
    this.heartbeat?.stop();
    this.heartbeat = undefined;
    this.silent = false;
    const intervalMs = heartbeatMs(welcome);
    if (intervalMs <= 0) return;
    const send = () => {
      // Full: what waits there says as much.
      if (pipe?.writable) pipe.write(heartbeat);
    };
    const { silentIntervals } = this;
    const onSilent = () => {
      if (!this.silent) {
        this.silent = true;
        silent?.(silentIntervals * intervalMs);
        this.silentIntervals = Math.min(2 * silentIntervals, SILENT_INTERVALS_MOST);
      }
      this.renew(0, true);
    };
    this.heartbeat = new Heartbeat({ clock, intervalMs, send, silentIntervals, onSilent });
  }

  /** It is heard until the replica ends it too. */
  private retire(pipe: Pipe<Out, In> | undefined): void {
    if (pipe === undefined) return;
    for (const former of this.older) if (former.isOver) this.older.delete(former);
    this.older.add(pipe);
    pipe.end();
  }

  private broken(pipe: Pipe<Out, In>, error: ApiError): void {
    this.older.delete(pipe);
    if (pipe !== this.current) return;
    this.current = undefined;
    this.heartbeat?.stop();
    this.silent = false;
    this.renewal = false;
    this.options.lost(error);
    const { clock, random } = this.options;
    // A stream that is welcomed and broken at once is no success: its successor waits longer.
    if (clock.monotonic() - this.welcomedAt >= STEADY_MS) this.tries = 0;
    if (!this.working && this.wants()) void this.work(random() * this.pauseMs());
    else this.hurry.abort();
  }
}
