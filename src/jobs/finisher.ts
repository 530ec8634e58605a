import type { Clock, Random } from '../domain/clock.js';
import { type ErrorCode, MusterError } from '../domain/errors.js';
import { failpoint } from '../domain/failpoints.js';
import { isTerminal, type Outcome, type Verdict } from '../domain/job.js';
import type { LeaseRef, Released } from '../domain/link.js';
import type { Observer } from '../domain/observer.js';
import type { Finished, FinishItem, JobScripts } from '../store/scripts/jobs.js';
import { PoolBatchers } from './batcher.js';
import type { Matching } from './matching.js';
import type { Attempt, Running } from './running.js';
import type { Waiters } from './waiters.js';

export interface FinisherOptions {
  jobs: JobScripts;
  matching: Matching;
  running: Running;
  waiters: Waiters;
  clock: Clock;
  random: Random;
  batchMax: number;
  batchBytes: number;
  maxQueue: number;
  /** May this replica be given further jobs? */
  claims: () => boolean;
  /** Redis has answered for that result; undefined: it was given up. */
  onSettled: (attempt: Attempt, verdict: Verdict | undefined) => void;
  /** A worker that could not be reached has been taken off the free list: it is to be asked again soon. */
  onUnreached: (lease: LeaseRef) => void;
  observer: Pick<Observer, 'batch' | 'ended'>;
  onError: (error: unknown) => void;
}

type Unbegun = LeaseRef & { link: string };

/** Redis cannot take a result now: it is away, full, or set up wrongly, which an operator mends. The result is kept. */
const PASSING: ReadonlySet<ErrorCode> = new Set(['unavailable', 'resource_exhausted', 'failed_precondition']);
const RETRY_MS = { first: 100, most: 2_000 };

/**
 * Ends attempts. What a worker said is kept until Redis has answered: a result is worth more than the memory it takes, and there are at
 * most as many as there are slots on this replica's links.
 */
export class Finisher {
  readonly #options: FinisherOptions;
  readonly #finishes: PoolBatchers<FinishItem, Finished>;
  readonly #releases: PoolBatchers<Unbegun & Released, boolean>;
  #pending = 0;
  #stopped = false;

  constructor(options: FinisherOptions) {
    this.#options = options;
    const { jobs, matching, batchMax, batchBytes, maxQueue, observer } = options;
    this.#finishes = new PoolBatchers((pool) => ({
      run: (items) => this.#finish(pool, items),
      sizeOf: ({ outcome }) => (outcome.ok ? outcome.output.length : 0),
      maxItems: batchMax,
      maxBytes: batchBytes,
      maxQueue,
    }));
    this.#releases = new PoolBatchers((pool) => ({
      run: (items) => {
        observer.batch('release', items.length);
        return matching.call(pool, () => jobs.release(pool, items));
      },
      sizeOf: () => 0,
      maxItems: batchMax,
      maxBytes: batchBytes,
      maxQueue,
    }));
  }

  /** Results that Redis has not answered yet. */
  get pending(): number {
    return this.#pending;
  }

  /** Gives up what is pending: leases will run out. */
  stop(): void {
    this.#stopped = true;
  }

  /** One result, once: for a worker that keeps it until it is settled. Rejects with MusterError. */
  finish(item: FinishItem): Promise<Finished> {
    return this.#finishes.add(item.pool, item);
  }

  /** The result of an attempt on one of our links, until Redis has answered. */
  settle(attempt: Attempt, outcome: Outcome): void {
    attempt.phase = 'finishing';
    failpoint('result-unfinished');
    const { pool, worker, jobId, fence, boot, link } = attempt;
    void this.#untilAnswered(() => this.finish({ pool, worker, jobId, fence, boot, link, outcome })).then((finished) => {
      this.#options.running.remove(attempt);
      if (finished) failpoint('settle-before');
      this.#options.onSettled(attempt, finished?.verdict);
    });
  }

  /** The attempt never began, under that link epoch. */
  release(lease: Unbegun, { reason, blocked, unreached = false }: Released): void {
    const { pool, worker, jobId, fence, link } = lease;
    void this.#untilAnswered(() => this.#releases.add(pool, { pool, worker, jobId, fence, link, blocked, unreached, reason })).then((hit) => {
      this.#options.running.remove(lease);
      if (hit && unreached) this.#options.onUnreached(lease);
    });
  }

  /** undefined: given up. */
  async #untilAnswered<T>(call: () => Promise<T>): Promise<T | undefined> {
    let answer: T | undefined;
    this.#pending++;
    const { clock, random, onError } = this.#options;
    for (let waitMs = RETRY_MS.first; !this.#stopped; waitMs = Math.min(2 * waitMs, RETRY_MS.most)) {
      try {
        answer = await call();
        break;
      } catch (error) {
        onError(error);
        // Anything else is about what was sent, so Redis would say it again: the lease runs out.
        if (!(error instanceof MusterError) || !PASSING.has(error.code)) break;
        await clock.sleep(waitMs * (0.5 + random()));
      }
    }
    this.#pending--;
    return answer;
  }

  async #finish(pool: string, items: FinishItem[]): Promise<Finished[]> {
    const { jobs, matching, waiters, claims, observer } = this.#options;
    observer.batch('finish', items.length);
    const finished = await matching.call(pool, () => jobs.finish(pool, items, claims()));
    for (const [i, item] of items.entries()) {
      const end = finished[i];
      if (end === undefined || end.state === '' || !isTerminal(end.state)) continue;
      if (end.verdict !== 'accepted') {
        // Somebody else's script may have ended it otherwise than by this result: then what stands in Redis counts.
        waiters.look(pool, item.jobId);
        continue;
      }
      observer.ended(item, { state: end.state, attempt: end.attempt, createdAt: end.createdAt, finishedAt: end.at });
      const { outcome, worker } = item;
      const result = outcome.ok ? { output: outcome.output } : { failure: outcome.failure };
      waiters.ended(pool, item.jobId, { state: end.state, attempt: end.attempt, worker, startedAt: end.startedAt, finishedAt: end.at, ...result });
    }
    return finished;
  }
}
