import type { Clock, Random } from '../domain/clock.js';
import { failpoint } from '../domain/failpoints.js';
import type { Store } from '../store/store.js';
import type { Matching } from './matching.js';

export interface TickerOptions {
  store: Store;
  matching: Matching;
  clock: Clock;
  random: Random;
  tickMs: number;
  finishedKept: number;
  buriedKept: number;
  /** These homes of that pool are dead. */
  onDeadHomes: (pool: string, homes: string[]) => Promise<void>;
  onError: (error: unknown) => void;
}

const LIMIT = 200;
/** Repetitions of one pool's tick within one round, so that one pool with much to do does not starve the others. */
const ROUNDS = 10;
const AT_ONCE = 16;
/** At most 2 s: so long nobody ticks after a ticker died. */
const LOCK_TICKS = 4;

/**
 * What is due by the clock, in all pools, by one replica at a time. The lock only saves work: tick is a script like the others, and two
 * tickers harm nothing.
 */
export class Ticker {
  readonly #options: TickerOptions;
  readonly #stop = new AbortController();
  #running: Promise<void> | undefined;

  constructor(options: TickerOptions) {
    this.#options = options;
  }

  start(): void {
    this.#running ??= this.#loop();
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #loop(): Promise<void> {
    const { store, clock, random, tickMs, onError } = this.#options;
    const { signal } = this.#stop;
    while (!signal.aborted) {
      try {
        const lock = await store.locks.acquire('ticker', LOCK_TICKS * tickMs, 0);
        if (lock) {
          while (!signal.aborted && lock.remainingMs() > tickMs) {
            await this.runOnce();
            await clock.sleep(tickMs, signal);
          }
          await lock.release();
        } else {
          await clock.sleep(tickMs * (1 + random()), signal);
        }
      } catch (error) {
        onError(error);
        await clock.sleep(tickMs, signal);
      }
    }
  }

  /** Ticks every pool once, and where there is much to do more often. */
  async runOnce(): Promise<void> {
    const pools = await this.#options.store.pools();
    for (let i = 0; i < pools.length; i += AT_ONCE) await Promise.all(pools.slice(i, i + AT_ONCE).map((pool) => this.#tick(pool)));
  }

  async #tick(pool: string): Promise<void> {
    const { store, matching, finishedKept, buriedKept, onDeadHomes, onError } = this.#options;
    try {
      for (let round = 0, more = true; more && round < ROUNDS; round++) {
        const homes = await matching.call(pool, async () => {
          const matched = await store.jobs.tick(pool, { limit: LIMIT, finishedKept, buriedKept });
          more = matched.more;
          return { ...matched, more: false };
        });
        if (homes.length > 0) await onDeadHomes(pool, homes);
        if (more) failpoint('tick-page');
      }
    } catch (error) {
      onError(error);
    }
  }
}
