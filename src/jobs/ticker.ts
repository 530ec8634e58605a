import type { Clock, Random } from '../domain/clock.js';
import { MusterError } from '../domain/errors.js';
import { failpoint } from '../domain/failpoints.js';
import { Lanes } from '../domain/lanes.js';
import { keys } from '../store/keys.js';
import type { Held } from '../store/lock.js';
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
/** Of the pools of one shard. */
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
  readonly #lanes: Lanes<string>;
  #running: Promise<void> | undefined;

  constructor(options: TickerOptions) {
    this.#options = options;
    this.#lanes = new Lanes((pool) => options.store.shardOf(pool), AT_ONCE);
  }

  start(): void {
    this.#running ??= this.#loop();
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
    await this.#lanes.idle();
  }

  async #loop(): Promise<void> {
    const { clock, random, tickMs, onError } = this.#options;
    const { signal } = this.#stop;
    while (!signal.aborted) {
      try {
        const lock = await this.#lock();
        if (lock) {
          while (!signal.aborted && lock.remainingMs() > tickMs) {
            // Not awaited: a shard that does not answer delays only its own pools.
            this.runOnce().catch(onError);
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

  /** undefined: another replica ticks. While the lock's server is away every replica ticks: that costs work and harms nothing. */
  async #lock(): Promise<Pick<Held, 'remainingMs' | 'release'> | undefined> {
    const { store, clock, tickMs, onError } = this.#options;
    const ttlMs = LOCK_TICKS * tickMs;
    try {
      return await store.locks.acquire(keys.lock('ticker'), ttlMs, 0);
    } catch (error) {
      if (!(error instanceof MusterError && error.code === 'unavailable')) throw error;
      onError(error);
      const endsAt = clock.monotonic() + ttlMs;
      return { remainingMs: () => endsAt - clock.monotonic(), release: async () => undefined };
    }
  }

  /** Ticks every pool, and those with more to do again at once. Leaves out the pools of a shard whose last round has not ended. */
  async runOnce(): Promise<void> {
    const pools = await this.#options.store.pools();
    for (let left = pools; left.length > 0 && !this.#stop.signal.aborted; ) {
      const more: string[] = [];
      await this.#lanes.run(left, async (pool) => {
        if (await this.#tick(pool)) more.push(pool);
      });
      left = more;
    }
  }

  async #tick(pool: string): Promise<boolean> {
    const { store, matching, finishedKept, buriedKept, onDeadHomes, onError } = this.#options;
    let more = true;
    try {
      for (let round = 0; more && round < ROUNDS; round++) {
        const homes = await matching.call(pool, async () => {
          const matched = await store.jobs.tick(pool, { limit: LIMIT, finishedKept, buriedKept });
          more = matched.more;
          return { ...matched, more: false };
        });
        if (homes === 'gone') {
          await store.unlist(pool);
          return false;
        }
        if (homes.length > 0) await onDeadHomes(pool, homes);
        if (more) failpoint('tick-page');
      }
      return more;
    } catch (error) {
      onError(error);
      return false;
    }
  }
}
