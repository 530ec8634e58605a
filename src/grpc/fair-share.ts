import type { Clock } from '../domain/clock.js';
import { MusterError } from '../domain/errors.js';

/** Something that has work for the event loop, one piece at a time. */
export interface Task {
  /** Does one piece. Answers whether there is another one now. Never throws. */
  step(): boolean;
}

/** What the requests of one caller may hold here at once. */
export interface CallerLimits {
  /** Submissions and results that Redis has not answered yet. They travel in batches. */
  items: number;
  /** Requests that cost Redis a round trip each. */
  calls: number;
  /** Bytes of requests that are not in Redis yet. */
  bytes: number;
  /** Calls that wait for the end of a job. */
  waits: number;
}

export interface FairShareOptions {
  clock: Pick<Clock, 'monotonic'>;
  limits?: Partial<CallerLimits>;
  /** Bytes of all callers. */
  totalBytes?: number;
}

const MIB = 1024 * 1024;
const LIMITS: CallerLimits = { items: 1_024, calls: 64, bytes: 64 * MIB, waits: 25_000 };
const TOTAL_BYTES = 256 * MIB;
/** Clients' work in one turn of the event loop. Then timers, Redis, and the network have theirs. */
const TURN_MS = 4;
/** What a caller uses of it before the next one has its turn. */
const QUANTUM_MS = 0.5;
const RETRY_MS = 500;

/**
 * Shares the event loop of this process between its callers.
 *
 * Every frame of a stream, and the start of every call, is a piece of work here. While nothing queues, a piece runs at once. Beyond TURN_MS
 * in one turn of the event loop the rest queues, and callers take turns by the time that they use: the frames of one caller do not delay
 * those of another by more than a quantum for each caller, and they never delay timers or Redis by more than a turn.
 */
export class FairShare {
  readonly #clock: Pick<Clock, 'monotonic'>;
  readonly #limits: CallerLimits;
  readonly #totalBytes: number;
  readonly #callers = new Map<string, Caller>();
  /** Callers with queued tasks, in their order. */
  readonly #queue: Caller[] = [];
  #bytes = 0;
  /** ms of this turn of the event loop that are used. */
  #spent = 0;
  #scheduled = false;
  #running = false;

  constructor({ clock, limits = {}, totalBytes = TOTAL_BYTES }: FairShareOptions) {
    this.#clock = clock;
    this.#limits = { ...LIMITS, ...limits };
    this.#totalBytes = totalBytes;
  }

  /** Callers that have something open here. */
  get size(): number {
    return this.#callers.size;
  }

  /** The caller of that name, for one call or stream more. `leave` ends it. */
  enter(name: string): Caller {
    let caller = this.#callers.get(name);
    if (!caller) {
      const gone = () => this.#callers.delete(name);
      const hold = (bytes: number) => {
        this.#bytes += bytes;
      };
      caller = new Caller(name, this.#limits, { ready: (one, task) => this.#ready(one, task), hold, gone });
      this.#callers.set(name, caller);
    }
    caller.open++;
    return caller;
  }

  /** Counts the bytes of a request. Throws `resource_exhausted` when all callers have too many here. */
  admit(caller: Caller, bytes: number): void {
    if (this.#bytes + bytes <= this.#totalBytes || caller.bytes === 0) return caller.hold('bytes', bytes);
    const message = `this replica has requests of ${this.#bytes} bytes under way, as many as it takes: send fewer at once`;
    throw new MusterError('resource_exhausted', 'TOO_MANY_BYTES', message, { retryAfterMs: RETRY_MS });
  }

  #ready(caller: Caller, task: Task): void {
    if (this.#queue.length === 0 && !this.#running && this.#spent < TURN_MS) {
      if (!this.#runNow(task)) return;
    }
    if (caller.tasks.push(task) === 1 && !caller.queued) {
      caller.queued = true;
      this.#queue.push(caller);
    }
    this.#schedule();
  }

  /** Answers whether the task has more to do. */
  #runNow(task: Task): boolean {
    this.#running = true;
    const began = this.#clock.monotonic();
    let now = began;
    let more = true;
    while (more && this.#spent + now - began < TURN_MS) {
      more = task.step();
      now = this.#clock.monotonic();
    }
    this.#running = false;
    this.#spent += now - began;
    this.#schedule();
    return more;
  }

  /** The next turn of the event loop has its own time. */
  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#spent = 0;
      this.#drain();
    });
  }

  #drain(): void {
    if (this.#queue.length === 0) return;
    this.#running = true;
    const began = this.#clock.monotonic();
    let now = began;
    while (now - began < TURN_MS) {
      const caller = this.#queue.shift();
      if (!caller) break;
      // What it used beyond its last turn is taken off this one. What it did not use is not kept.
      caller.credit = Math.min(0, caller.credit) + QUANTUM_MS;
      while (caller.credit > 0) {
        const task = caller.tasks.shift();
        if (!task) break;
        // Its streams take turns, too.
        if (task.step()) caller.tasks.push(task);
        const after = this.#clock.monotonic();
        caller.credit -= after - now;
        now = after;
      }
      if (caller.tasks.length > 0) this.#queue.push(caller);
      else caller.queued = false;
    }
    this.#running = false;
    this.#spent = now - began;
    if (this.#queue.length > 0) this.#schedule();
  }
}

interface CallerPort {
  ready(caller: Caller, task: Task): void;
  hold(bytes: number): void;
  gone(): void;
}

/** What one identity (or, where nobody is asked who calls, one connection) has under way. */
export class Caller {
  readonly name: string;
  readonly tasks: Task[] = [];
  /** In the queue of callers. */
  queued = false;
  /** ms that it may use; below 0 it used more than its part. */
  credit = 0;
  /** Calls and streams. */
  open = 0;
  readonly #limits: CallerLimits;
  readonly #port: CallerPort;
  readonly #held = { items: 0, calls: 0, bytes: 0, waits: 0 };
  /** Those that wait until the caller has room. */
  readonly #blocked = new Set<() => void>();

  constructor(name: string, limits: CallerLimits, port: CallerPort) {
    this.name = name;
    this.#limits = limits;
    this.#port = port;
  }

  get bytes(): number {
    return this.#held.bytes;
  }

  get waits(): number {
    return this.#held.waits;
  }

  /** It has less in work than it may, and its bytes leave room: a request of it may be read. */
  get hasRoom(): boolean {
    const { items, calls, bytes } = this.#held;
    return items < this.#limits.items && calls < this.#limits.calls && bytes < this.#limits.bytes;
  }

  /** So many wait for room. */
  get blocked(): number {
    return this.#blocked.size;
  }

  ready(task: Task): void {
    this.#port.ready(this, task);
  }

  /** Calls that once, when the caller has room. */
  block(wake: () => void): void {
    this.#blocked.add(wake);
  }

  unblock(wake: () => void): void {
    this.#blocked.delete(wake);
  }

  hold(what: 'items' | 'calls' | 'bytes', n: number): void {
    this.#held[what] += n;
    if (what === 'bytes') this.#port.hold(n);
  }

  release(what: 'items' | 'calls' | 'bytes', n: number): void {
    this.hold(what, -n);
    this.passOn();
  }

  /** There is room: the next one that waits for it may go on. Each of them passes it on when it has done its piece. */
  passOn(): void {
    if (this.#blocked.size === 0 || !this.hasRoom) return;
    const [wake] = this.#blocked;
    if (wake === undefined) return;
    this.#blocked.delete(wake);
    wake();
  }

  /** One wait for the end of a job. Throws `resource_exhausted` QUOTA_WAITS. */
  wait(): void {
    if (this.#held.waits >= this.#limits.waits) {
      const message = `${this.name} waits for ${this.#limits.waits} jobs at this replica, as many as one caller may: end some waits, or try another replica`;
      throw new MusterError('resource_exhausted', 'QUOTA_WAITS', message, { retryAfterMs: 1_000 });
    }
    this.#held.waits++;
  }

  endWait(): void {
    this.#held.waits--;
  }

  /** The end of one call or stream, once for each `enter`. */
  leave(): void {
    if (--this.open === 0) this.#port.gone();
  }
}
