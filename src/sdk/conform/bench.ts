import type { Clock, Ids } from '../../domain/clock.js';
import { codeName } from '../api-error.js';
import type { Attempt, End, Lease, Level, Order, Sight, Subject, Work } from './types.js';

export interface BenchOptions {
  subject: Subject;
  kind: string;
  clock: Clock;
  ids: Ids;
  /** How long the jobs last during which something else is tried. */
  holdMs: number;
  /** By then a worker has answered what needs no work. */
  patienceMs: number;
  /** Gets the worker to stop in an orderly way, as SIGTERM does; may only ask a person to. */
  stop: () => void | Promise<void>;
  /** By then it was stopped. */
  stopWithinMs: number;
  /** By then a worker has ended that was stopped and holds nothing any more. */
  endingMs: number;
}

/** One thing that a worker must do. It throws Violation when the worker does not. */
export interface Check<S extends Subject = Subject> {
  name: string;
  level: Level;
  remedy: string;
  /** Default: to every worker. */
  applies?(subject: Subject): boolean;
  run(bench: Bench, subject: S): Promise<void>;
}

/** What was seen instead. */
export class Violation extends Error {
  override readonly name = 'Violation';
}

/** The answer of one run, in its parts. */
export interface Answer {
  echo: string;
  attempt: number;
  runs: number;
}

const POLL_MS = 10;
/** Longer than anybody here waits for an attempt that is to be ended early. */
const LONG = 10;

/** The tester's hands: orders with fresh names, waits with bounds, and answers taken apart. */
export class Bench {
  readonly #options: BenchOptions;
  readonly #open = new Map<Attempt, true>();
  #fence: bigint;
  #stopped = false;

  constructor(options: BenchOptions) {
    this.#options = options;
    this.#fence = BigInt(Math.floor(options.clock.now())) * 1_000n;
  }

  get holdMs(): number {
    return this.#options.holdMs;
  }

  get patienceMs(): number {
    return this.#options.patienceMs;
  }

  get endingMs(): number {
    return this.#options.endingMs;
  }

  get stopWithinMs(): number {
    return this.#options.stopWithinMs;
  }

  get longMs(): number {
    return Math.max(this.#options.holdMs * LONG, this.#options.patienceMs * 4);
  }

  now(): number {
    return this.#options.clock.monotonic();
  }

  /** A job of its own unless `rest` says otherwise. */
  order(work: Work, rest: Partial<Order> = {}): Order {
    const { ids, kind } = this.#options;
    this.#fence += 1n;
    return { jobId: `conform-${ids.jobId()}`, fence: String(this.#fence), kind, work, attempt: 1, runTimeoutMs: 0, ...rest };
  }

  assign(order: Order): Attempt {
    const attempt = this.#options.subject.assign(order);
    this.#open.set(attempt, true);
    void attempt.end.then(() => this.#open.delete(attempt));
    return attempt;
  }

  /** Its end, or a Violation when none comes within `ms`. */
  async end(attempt: Attempt, ms: number, what: string): Promise<End> {
    const end = await this.within(attempt.end, ms);
    if (end === undefined) throw new Violation(`${what}: no answer within ${Math.round(ms)} ms`);
    return end;
  }

  /** undefined: not within `ms`. */
  async within<T>(promise: Promise<T>, ms: number): Promise<T | undefined> {
    const over = new AbortController();
    try {
      return await Promise.race([promise, this.#options.clock.sleep(ms, over.signal).then(() => undefined)]);
    } finally {
      over.abort();
    }
  }

  /** The condition's first true value; undefined after `ms`. What it throws counts as not yet. */
  async until<T>(condition: () => T | Promise<T>, ms: number): Promise<NonNullable<T> | undefined> {
    const { clock } = this.#options;
    const end = clock.monotonic() + ms;
    for (;;) {
      const value = await Promise.resolve()
        .then(condition)
        .catch(() => undefined);
      if (value) return value;
      if (clock.monotonic() > end) return undefined;
      await clock.sleep(POLL_MS);
    }
  }

  /** Runs it to its end and takes the answer apart. */
  async answer(order: Order): Promise<Answer> {
    const attempt = this.assign(order);
    return this.read(await this.end(attempt, (order.work.sleep_ms ?? 0) + this.patienceMs, 'a job'), order);
  }

  read(end: End, { work, attempt }: Pick<Order, 'work' | 'attempt'>): Answer {
    if (end.how !== 'output') throw new Violation(`a job that should succeed ended otherwise: ${tell(end)}`);
    const [, echo = '', given, runs] = /^(.*) (\d+) (\d+)$/s.exec(end.output) ?? [];
    if (given === undefined || echo !== work.echo || Number(given) !== attempt)
      throw new Violation(`answered ${JSON.stringify(end.output.slice(0, 80))} instead of "${work.echo} ${attempt} <runs>"`);
    return { echo, attempt: Number(given), runs: Number(runs) };
  }

  /** Resolves when the worker names it, or with its end when that comes first. */
  async held(attempt: Attempt): Promise<End | undefined> {
    let end: End | undefined;
    void attempt.end.then((value) => {
      end = value;
    });
    const seen = await this.until(async () => end ?? names(await this.#options.subject.look(), attempt), this.patienceMs);
    if (seen === undefined) throw new Violation(`a job was given to it ${this.patienceMs} ms ago, and it does not name it among what it holds`);
    return end;
  }

  /** Takes a job that lasts `ms`; resolves once the worker names it. */
  async hold(ms: number, rest: Partial<Order> = {}): Promise<{ attempt: Attempt; order: Order }> {
    const order = this.order({ sleep_ms: ms, echo: 'held' }, rest);
    const started = this.now();
    const attempt = this.assign(order);
    const end = await this.held(attempt);
    if (end?.how === 'output' && this.now() - started >= ms * 0.9) throw new Violation('a job ran, and was never named among what is held');
    if (end !== undefined) throw new Violation(`a job of ${ms} ms ended at once: ${tell(end)}`);
    return { attempt, order };
  }

  /** The number of runs that the process has begun, this one included. */
  async runs(): Promise<number> {
    return (await this.answer(this.order({ echo: 'count' }))).runs;
  }

  async stop(): Promise<void> {
    if (this.#stopped) return;
    this.#stopped = true;
    await this.#options.stop();
  }

  /** Between two checks: nothing of the last one runs on. */
  async settle(): Promise<void> {
    const { subject, patienceMs } = this.#options;
    for (const attempt of this.#open.keys())
      await this.within(
        subject.abort(attempt).catch(() => undefined),
        patienceMs,
      );
    if (this.#stopped) return;
    const idle = async () => {
      const { busy, held } = await subject.look();
      return busy !== true && held.length === 0;
    };
    await this.until(idle, this.longMs + patienceMs);
  }
}

export function names({ held }: Sight, { jobId, fence }: Lease): { done: boolean } | undefined {
  return held.find((lease) => lease.jobId === jobId && lease.fence === fence);
}

export function tell(end: End): string {
  switch (end.how) {
    case 'output':
      return `output ${JSON.stringify(end.output.slice(0, 80))}`;
    case 'failure':
      return `Failure ${codeName(end.code)}${end.retryable ? ', retryable' : ''}: ${end.message}`;
    case 'refused':
      return `status ${codeName(end.code)}: ${end.message}`;
    case 'broken':
      return `broken off: ${end.message}`;
    case 'elsewhere':
      return '`accepted`, with the result to be reported elsewhere: test such a worker with --listen, and let it register there';
  }
}
