import type { Clock } from '../domain/clock.js';
import { MusterError } from '../domain/errors.js';
import { isTerminal, type JobRecord } from '../domain/job.js';

/** How a job ended, as far as the replica that ended it knows without reading: all but what was submitted. */
export type End = Pick<JobRecord, 'state' | 'attempt' | 'worker' | 'startedAt' | 'finishedAt' | 'output' | 'failure'>;
export type Ended = { kind: 'end'; end: End } | { kind: 'record'; record: JobRecord } | { kind: 'gone' };

interface Waiter {
  pool: string;
  id: string;
  readAt: number;
  resolve: (ended: Ended) => void;
}

/** One wait. */
export interface Waiting {
  /** Undefined: it was over before the job was. */
  ended: Promise<Ended | undefined>;
  /** It is over. Idempotent. */
  end(): void;
  /** It is over, and `ended` never resolves. Idempotent. */
  drop(): void;
}

export interface WaitersOptions {
  read: (pool: string, ids: string[]) => Promise<(JobRecord | undefined)[]>;
  clock: Clock;
  rereadMs: number;
  maxWaiters: number;
  onError: (error: unknown) => void;
}

const READ_AT_ONCE = 64;

/**
 * Who waits here for which job. Three ways to learn of an end: this replica ended it; a hint came; or a reading, at the latest every
 * WAIT_REREAD_MS, so that no lost hint makes anybody wait for ever.
 */
export class Waiters {
  readonly #options: WaitersOptions;
  readonly #waiters = new Map<string, Set<Waiter>>();
  /** Pool → jobs that are to be read. */
  readonly #due = new Map<string, Set<string>>();
  readonly #reading = new Set<string>();
  #count = 0;

  constructor(options: WaitersOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#count;
  }

  /**
   * Waits for the end of the job, at the longest until `end`. Begin before the job can end, and end it in every case.
   * Throws `resource_exhausted` TOO_MANY_WAITERS.
   */
  wait(pool: string, id: string): Waiting {
    if (this.#count >= this.#options.maxWaiters) {
      throw new MusterError('resource_exhausted', 'TOO_MANY_WAITERS', 'as many calls wait at this replica as may: try again, or wait less', {
        retryAfterMs: 1000,
      });
    }
    let end = () => {};
    let drop = () => {};
    const ended = new Promise<Ended | undefined>((resolve) => {
      const waiter: Waiter = { pool, id, readAt: this.#options.clock.monotonic(), resolve: (ended) => settle(ended) };
      const settle = (ended: Ended | undefined) => {
        this.#remove(waiter);
        resolve(ended);
      };
      end = () => settle(undefined);
      drop = () => this.#remove(waiter);
      this.#add(waiter);
    });
    return { ended, end, drop };
  }

  /** Where somebody waits. */
  *pools(): Generator<string> {
    for (const waiters of this.#waiters.values()) for (const { pool } of waiters) yield pool;
  }

  /** This replica's finish ended it. */
  ended(pool: string, id: string, end: End): void {
    this.#settle(pool, id, { kind: 'end', end });
  }

  /** Somebody else's script ended it, or may have. */
  look(pool: string, id: string): void {
    if (!this.#waiters.has(`${pool} ${id}`)) return;
    const due = this.#due.get(pool) ?? new Set();
    this.#due.set(pool, due.add(id));
    void this.#readDue(pool);
  }

  /** Whoever was not told for long enough reads again. Called on a timer. */
  lookAtStale(): void {
    const now = this.#options.clock.monotonic();
    for (const waiters of this.#waiters.values()) {
      for (const waiter of waiters) {
        if (now - waiter.readAt < this.#options.rereadMs) continue;
        waiter.readAt = now;
        this.look(waiter.pool, waiter.id);
      }
    }
  }

  /** One reading at a time, a pool; what becomes due meanwhile goes with the next. */
  async #readDue(pool: string): Promise<void> {
    if (this.#reading.has(pool)) return;
    this.#reading.add(pool);
    for (let due = this.#due.get(pool); due !== undefined; due = this.#due.get(pool)) {
      const ids = [...due].slice(0, READ_AT_ONCE);
      for (const id of ids) due.delete(id);
      if (due.size === 0) this.#due.delete(pool);
      await this.#read(pool, ids);
    }
    this.#reading.delete(pool);
  }

  async #read(pool: string, ids: string[]): Promise<void> {
    try {
      const records = await this.#options.read(pool, ids);
      ids.forEach((id, i) => {
        const record = records[i];
        if (!record) this.#settle(pool, id, { kind: 'gone' });
        else if (isTerminal(record.state)) this.#settle(pool, id, { kind: 'record', record });
      });
    } catch (error) {
      // They read again in WAIT_REREAD_MS.
      this.#options.onError(error);
    }
  }

  #settle(pool: string, id: string, ended: Ended): void {
    for (const waiter of [...(this.#waiters.get(`${pool} ${id}`) ?? [])]) waiter.resolve(ended);
  }

  #add(waiter: Waiter): void {
    const key = `${waiter.pool} ${waiter.id}`;
    const there = this.#waiters.get(key);
    if (there) there.add(waiter);
    else this.#waiters.set(key, new Set([waiter]));
    this.#count++;
  }

  #remove(waiter: Waiter): void {
    const key = `${waiter.pool} ${waiter.id}`;
    const there = this.#waiters.get(key);
    if (!there?.delete(waiter)) return;
    this.#count--;
    if (there.size === 0) this.#waiters.delete(key);
  }
}
