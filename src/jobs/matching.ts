import type { Clock } from '../domain/clock.js';
import { MusterError } from '../domain/errors.js';
import type { Assignment } from '../domain/job.js';
import { Lanes } from '../domain/lanes.js';
import type { Matched, Withheld } from '../store/parse.js';
import type { JobScripts } from '../store/scripts/jobs.js';

export interface MatchingOptions {
  jobs: JobScripts;
  clock: Clock;
  /** Assignments for workers of this replica. `calledAt`: monotonic ms at which the script was called, from which they age. */
  deliver: (assignments: Assignment[], calledAt: number) => void;
  /** The same, when the reply was full: they are asked for. */
  ask: (withheld: Withheld[]) => void;
  /** An undelivered lease of ours may be found by `mine` for so long after its script ran. */
  deliveryMs: number;
  /** Pools of one shard wait for the same Redis server. Default: all do. */
  shardOf?: (pool: string) => string;
  onError: (error: unknown) => void;
}

const PAGE = 500;
/** Pools of one shard that are asked about at once. */
const AT_ONCE = 16;

/**
 * What every script call that may match has in common: its assignments go out, what it left over is matched on, and when its reply did
 * not come the pool is in doubt: it may have given us leases that we do not know of.
 */
export class Matching {
  readonly #options: MatchingOptions;
  readonly #pumping = new Set<string>();
  /** Pool → monotonic ms until which leases may turn up that nobody told us of. */
  readonly #doubts = new Map<string, number>();
  readonly #lanes: Lanes<string>;

  constructor(options: MatchingOptions) {
    this.#options = options;
    this.#lanes = new Lanes(options.shardOf ?? (() => ''), AT_ONCE);
  }

  async call<T>(pool: string, run: () => Promise<Matched<T>>): Promise<T> {
    const calledAt = this.#options.clock.monotonic();
    try {
      const { reply, assignments, withheld, more } = await run();
      if (assignments.length > 0) this.#options.deliver(assignments, calledAt);
      if (withheld) this.#options.ask(withheld);
      if (more) void this.#pump(pool);
      return reply;
    } catch (error) {
      if (error instanceof MusterError && error.reason === 'REDIS_UNKNOWN') this.doubt(pool);
      throw error;
    }
  }

  /** Hints or replies of that pool may be missing. A call that timed out may even run later, when Redis goes on. */
  doubt(pool: string): void {
    this.#doubts.set(pool, this.#options.clock.monotonic() + this.#options.deliveryMs);
  }

  /** Asks for the leases that nobody told us of, where there may be any. Called on a timer; a shard that is still being asked is left out. */
  recover(): Promise<void> {
    return this.#lanes.run(this.#doubts.keys(), (pool) => this.#recover(pool));
  }

  async #recover(pool: string): Promise<void> {
    const until = this.#doubts.get(pool);
    if (until === undefined) return;
    try {
      for (let offset = 0; offset >= 0; ) offset = await this.call(pool, () => this.#options.jobs.mine(pool, offset, PAGE));
      // In doubt again meanwhile: then it stays so.
      if (this.#options.clock.monotonic() > until && this.#doubts.get(pool) === until) this.#doubts.delete(pool);
    } catch (error) {
      this.#options.onError(error);
    }
  }

  /** A script stopped at its bound: go on where it stopped. One at a time, a pool. */
  async #pump(pool: string): Promise<void> {
    if (this.#pumping.has(pool)) return;
    this.#pumping.add(pool);
    try {
      for (let more = true; more; ) {
        const calledAt = this.#options.clock.monotonic();
        const matched = await this.#options.jobs.match(pool);
        if (matched.assignments.length > 0) this.#options.deliver(matched.assignments, calledAt);
        if (matched.withheld) this.#options.ask(matched.withheld);
        more = matched.more;
      }
    } catch (error) {
      // The next script of the pool, at the latest the next tick, goes on.
      if (error instanceof MusterError && error.reason === 'REDIS_UNKNOWN') this.doubt(pool);
      this.#options.onError(error);
    } finally {
      this.#pumping.delete(pool);
    }
  }
}
