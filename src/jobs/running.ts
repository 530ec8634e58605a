import type { LeaseRef } from '../domain/link.js';
import type { Contract } from '../domain/worker.js';

/**
 * Where an attempt on one of this replica's links stands.
 *
 * `calling`: its call is open. `accepted`: the worker has it and reports later. `foreign`: the home before us delivered it, and the worker
 * cannot be asked for it again. `doubtful`: its call broke; the worker is being asked. `finishing`: its result is on its way to Redis.
 */
export type Phase = 'calling' | 'accepted' | 'foreign' | 'doubtful' | 'finishing';

export interface Attempt extends LeaseRef {
  boot: string;
  link: string;
  phase: Phase;
  /** Monotonic ms. */
  since: number;
  /** The protocol of the link that it was sent over. */
  contract?: Contract;
  /** How long it may run, where this replica sent it. */
  runTimeoutMs?: number;
  /** Monotonic ms when Redis was last told that it runs; 0: never. */
  vouchedAt: number;
}

/** The worker has it, as far as we know, and no call of ours is open for it. */
export function isRestless({ phase }: Attempt): boolean {
  return phase === 'accepted' || phase === 'foreign' || phase === 'doubtful';
}

/**
 * What runs on this replica's links: a cache of leases. Redis holds the truth; a beat compares the two.
 *
 * A lease belongs to one worker. Every lookup names the worker, so that a lease which another worker names is not found.
 */
export class Running {
  readonly #attempts = new Map<string, Attempt>();
  readonly #ofWorker = new Map<string, Set<Attempt>>();

  get size(): number {
    return this.#attempts.size;
  }

  get(lease: LeaseRef): Attempt | undefined {
    return this.#attempts.get(key(lease));
  }

  add(attempt: Attempt): void {
    this.#attempts.set(key(attempt), attempt);
    const worker = `${attempt.pool} ${attempt.worker}`;
    const there = this.#ofWorker.get(worker);
    if (there) there.add(attempt);
    else this.#ofWorker.set(worker, new Set([attempt]));
  }

  /** `boot`, if given: only of that incarnation. */
  remove(lease: LeaseRef & { boot?: string }): void {
    const attempt = this.get(lease);
    if (!attempt || (lease.boot ?? attempt.boot) !== attempt.boot) return;
    this.#attempts.delete(key(lease));
    const worker = `${lease.pool} ${lease.worker}`;
    const there = this.#ofWorker.get(worker);
    there?.delete(attempt);
    if (there?.size === 0) this.#ofWorker.delete(worker);
  }

  ofWorker(pool: string, worker: string): Attempt[] {
    return [...(this.#ofWorker.get(`${pool} ${worker}`) ?? [])];
  }

  /** Of everything that runs. */
  *pools(): Generator<string> {
    for (const { pool } of this.#attempts.values()) yield pool;
  }

  all(): IterableIterator<Attempt> {
    return this.#attempts.values();
  }
}

function key({ pool, worker, jobId, fence }: LeaseRef): string {
  return `${pool} ${worker} ${jobId} ${fence}`;
}
