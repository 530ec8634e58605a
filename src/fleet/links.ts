import type { Verdict } from '../domain/job.js';
import type { Dialer, DialTarget, LeaseRef, Link, LinkEvents } from '../domain/link.js';
import type { Observer } from '../domain/observer.js';
import type { WorkerRecord, WorkerRef } from '../domain/worker.js';
import { parseAddress } from '../domain/worker.js';
import type { Running } from '../jobs/running.js';
import type { LinkTable } from '../links/table.js';

export interface FleetLinksOptions {
  table: LinkTable;
  dialer: Dialer;
  events: LinkEvents;
  running: Running;
  observer: Pick<Observer, 'linked' | 'unlinked'>;
}

const MOVE_WITHIN_MS = 1_000;

/** Opens and closes this replica's links, and keeps what runs on them in step with their epochs. */
export class FleetLinks {
  readonly #options: FleetLinksOptions;
  /** Links that are another's by now, and have calls open. */
  readonly #retired = new Set<Link>();
  readonly #slots = new WeakMap<Link, number>();

  constructor(options: FleetLinksOptions) {
    this.#options = options;
  }

  get(pool: string, id: string): Link | undefined {
    return this.#options.table.get(pool, id);
  }

  /** The link on which the call for that lease is open; otherwise the worker's link. */
  carrying(lease: LeaseRef): Link | undefined {
    const link = this.get(lease.pool, lease.worker);
    if (link?.isOpen(lease.jobId, lease.fence)) return link;
    for (const retired of this.#retired) {
      if (retired.ref.pool === lease.pool && retired.ref.id === lease.worker && retired.isOpen(lease.jobId, lease.fence)) return retired;
    }
    return link;
  }

  all(): Iterable<Link> {
    return this.#options.table.all();
  }

  get size(): number {
    return this.#options.table.size;
  }

  /**
   * The link of a worker whose home we have just become. One to the same life of it at the same address goes on under its new epoch,
   * with the calls that are open on it.
   */
  open(target: DialTarget): Link {
    const { table, dialer, events } = this.#options;
    const { pool, id, boot, link: epoch } = target.ref;
    const there = table.get(pool, id);
    if (there && there.ref.boot === boot && there.ref.link === epoch && sameAddress(there, target)) {
      this.#slots.set(there, target.slots);
      return there;
    }
    const link = dialer.dial(target, events);
    this.install(link, target.slots);
    return link;
  }

  /** That link is the worker's from now on; what runs on its former one goes on under the new epoch. */
  install(link: Link, slots: number): void {
    const { table, running, observer } = this.#options;
    try {
      const replaced = table.set(link);
      if (replaced) this.#retire(replaced);
    } catch (error) {
      link.close();
      throw error;
    }
    this.#slots.set(link, slots);
    const { pool, id, boot, link: epoch } = link.ref;
    observer.linked(pool, id);
    for (const attempt of running.ofWorker(pool, id)) if (attempt.boot === boot) attempt.link = epoch;
  }

  /** The worker takes so many jobs at once from now on. */
  resized(ref: WorkerRef, slots: number): void {
    const link = this.get(ref.pool, ref.id);
    if (link?.ref.boot === ref.boot && link.ref.link === ref.link) this.#slots.set(link, slots);
  }

  /** Slots of the workers whose home this replica is, by pool. */
  slots(): Map<string, number> {
    const slots = new Map<string, number>();
    for (const link of this.all()) slots.set(link.ref.pool, (slots.get(link.ref.pool) ?? 0) + (this.#slots.get(link) ?? 0));
    return slots;
  }

  /** That worker is not ours any more. What is open on the link may still end: its results are told by their fences. */
  release(ref: WorkerRef, why = 'moved'): void {
    const { table, observer } = this.#options;
    const link = table.remove(ref);
    if (!link) return;
    observer.unlinked(ref.pool, ref.id, why);
    // A worker that knows no other home yet is to look for one now, not when its last result is settled.
    if (link.openCalls > 0) link.reattach?.('moved', MOVE_WITHIN_MS);
    this.#retire(link);
  }

  /** That worker is dead: nothing that is open will end well. */
  drop(ref: WorkerRef): void {
    const { table, observer } = this.#options;
    const link = table.remove(ref);
    if (!link) return;
    observer.unlinked(ref.pool, ref.id, 'dead');
    link.close();
  }

  /**
   * Redis has answered for a result, or (undefined) it was given up: whichever link of that incarnation it came over is told, a retired one too, which waits for nothing else.
   */
  settled({ pool, worker, jobId, fence, boot }: LeaseRef & { boot: string }, verdict: Verdict | undefined): void {
    const present = this.get(pool, worker);
    for (const link of present ? [present, ...this.#retired] : this.#retired) {
      const { ref } = link;
      if (ref.pool === pool && ref.id === worker && ref.boot === boot) link.settled?.(jobId, fence, verdict);
    }
  }

  /** Calls open on all links, retired ones too. */
  get openCalls(): number {
    let open = 0;
    for (const link of this.all()) open += link.openCalls;
    for (const link of this.#retired) open += link.openCalls;
    return open;
  }

  /** Retired links without calls are closed. Called on a timer. */
  sweepRetired(): void {
    for (const link of this.#retired) {
      if (link.openCalls > 0) continue;
      this.#retired.delete(link);
      link.close();
    }
  }

  closeAll(): void {
    for (const link of [...this.#options.table.clear(), ...this.#retired]) link.close();
    this.#retired.clear();
  }

  #retire(link: Link): void {
    if (link.openCalls === 0) link.close();
    else this.#retired.add(link);
  }
}

function sameAddress(link: Link, { address }: DialTarget): boolean {
  return link.address.ip === address.ip && link.address.port === address.port;
}

/** What is dialed for a worker as it stands on the roll; undefined for one that is not dialed. */
export function targetOf(record: WorkerRecord, epoch: string): DialTarget | undefined {
  const { pool, id, boot, contract, slots } = record;
  if (contract === 'ATTACHED') return undefined;
  return { ref: { pool, id, boot, link: epoch }, address: parseAddress(record.address), contract, slots };
}
