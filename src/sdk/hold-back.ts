import type { Clock, Random } from '../domain/clock.js';
import { Backoff } from './backoff.js';
import type { Entry } from './pendings.js';

export interface HoldBackOptions {
  clock: Clock;
  random: Random;
  /** These may be submitted now, before all others. */
  release: (entries: Entry[]) => void;
}

const TIMES = { firstMs: 100, maxMs: 2_000 };

interface Hold {
  backoff: Backoff;
  /** Each with the monotonic ms when it was held back first. */
  entries: Map<Entry, number>;
  /** Submitted to find out whether the pool takes jobs again. */
  probe: { entry: Entry; since: number } | undefined;
  cancel: (() => void) | undefined;
}

/**
 * The submissions of pools that take none for the moment, such as while Redis is away. After each pause one job of the pool is submitted, and
 * all others follow when it is accepted. The pauses are of the pool, not of its jobs: 1,000 jobs that wait cost no more calls than one.
 */
export class HoldBack {
  private readonly holds = new Map<string, Hold>();

  constructor(private readonly options: HoldBackOptions) {}

  /** Pools that are held back. */
  get size(): number {
    return this.holds.size;
  }

  /** The pool refused that job for the moment. */
  refused(entry: Entry): void {
    const { random } = this.options;
    const hold = this.holds.get(entry.pool) ?? { backoff: new Backoff(random, TIMES), entries: new Map(), probe: undefined, cancel: undefined };
    this.holds.set(entry.pool, hold);
    if (hold.probe?.entry === entry) {
      hold.entries.set(entry, hold.probe.since);
      hold.probe = undefined;
    } else this.add(hold, entry);
    this.arm(entry.pool, hold);
  }

  /** Holds back a job that is to be submitted. False: it may be submitted now. */
  takes(entry: Entry): boolean {
    const hold = this.holds.get(entry.pool);
    if (hold === undefined || hold.probe?.entry === entry) return false;
    this.add(hold, entry);
    return true;
  }

  /** Those of the pool that are held back since then, or longer. */
  since(pool: string, monotonicMs: number): Entry[] {
    const entries = this.holds.get(pool)?.entries ?? [];
    return [...entries].filter(([, since]) => since <= monotonicMs).map(([entry]) => entry);
  }

  /** The pool answered that job for good. `taken`: jobs of the pool are taken again. */
  answered(entry: Entry, taken: boolean): void {
    const hold = this.holds.get(entry.pool);
    if (hold === undefined) return;
    if (hold.probe?.entry === entry) hold.probe = undefined;
    if (taken) this.open(entry.pool, hold);
    else this.arm(entry.pool, hold);
  }

  /** That job was given up. */
  dropped(entry: Entry): void {
    this.holds.get(entry.pool)?.entries.delete(entry);
    this.answered(entry, false);
  }

  close(): void {
    for (const { cancel } of this.holds.values()) cancel?.();
    this.holds.clear();
  }

  private add(hold: Hold, entry: Entry): void {
    if (!hold.entries.has(entry)) hold.entries.set(entry, this.options.clock.monotonic());
  }

  private arm(pool: string, hold: Hold): void {
    if (hold.probe !== undefined || hold.cancel !== undefined) return;
    if (hold.entries.size === 0) return void this.holds.delete(pool);
    hold.cancel = this.options.clock.after(hold.backoff.nextMs(), () => {
      hold.cancel = undefined;
      const [first] = hold.entries;
      if (first === undefined) return void this.holds.delete(pool);
      const [entry, since] = first;
      hold.entries.delete(entry);
      hold.probe = { entry, since };
      this.options.release([entry]);
    });
  }

  private open(pool: string, { cancel, entries }: Hold): void {
    cancel?.();
    this.holds.delete(pool);
    this.options.release([...entries.keys()]);
  }
}
