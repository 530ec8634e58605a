import type { Clock } from '../domain/clock.js';
import { failpoint } from '../domain/failpoints.js';
import type { LeaseRef, Link } from '../domain/link.js';
import type { Observer } from '../domain/observer.js';
import type { BeatAnswer, BeatItem, WorkerScripts } from '../store/scripts/workers.js';
import type { Matching } from './matching.js';
import { type Attempt, isRestless, type Running } from './running.js';

export interface VouchingOptions {
  workers: WorkerScripts;
  matching: Matching;
  running: Running;
  links: {
    all(): Iterable<Link>;
    get(pool: string, id: string): Link | undefined;
    /** The link on which the call for that lease is open; otherwise the worker's link. */
    carrying(lease: LeaseRef): Link | undefined;
  };
  clock: Clock;
  confirmMs: number;
  beatMs: number;
  homeBeatMs: number;
  /** A worker's sign of life is passed on at most that often. */
  signMs: number;
  /** The lease is no longer ours to keep. */
  onGone: (lease: LeaseRef) => void;
  /** Another replica is the worker's home, or it is dead: our link to it is of no more use. */
  onNotHome: (link: Link) => void;
  observer: Pick<Observer, 'batch'>;
  onError: (error: unknown) => void;
}

interface Vouch {
  item: BeatItem;
  attempt?: Attempt;
  link?: Link;
  heardAt?: number;
}

const CHUNK = 500;

/**
 * What this replica tells Redis on its own account: that it lives, that its workers were heard, and that jobs still run. A job that ends
 * within CONFIRM_MS is never vouched for, so that short jobs cost nothing here.
 */
export class Vouching {
  readonly #options: VouchingOptions;
  /** Pool → monotonic ms of the last beat. */
  readonly #beats = new Map<string, number>();
  /** Link → the sign of life that was passed on last. */
  readonly #signs = new WeakMap<Link, number>();
  /** Pools whose last words are on their way. */
  readonly #saying = new Set<string>();
  /** Pool → monotonic ms since which Redis takes nothing for it. */
  readonly #silentSince = new Map<string, number>();
  #leaving = false;

  constructor(options: VouchingOptions) {
    this.#options = options;
  }

  /** Pools for which Redis has taken nothing for longer than that. */
  silent(ms: number): string[] {
    const now = this.#options.clock.monotonic();
    return [...this.#silentSince].filter(([, since]) => now - since > ms).map(([pool]) => pool);
  }

  /** Called every CONFIRM_MS at the least. A pool of which Redis has not taken the last items yet is left out. Answers how many items were said. */
  async runOnce(): Promise<number> {
    const said = await Promise.all([...this.#due()].map(([pool, vouches]) => this.#say(pool, vouches)));
    return said.reduce((sum, n) => sum + n, 0);
  }

  /** Only these pools have links here. */
  forget(linked: ReadonlySet<string>): void {
    for (const pool of this.#beats.keys()) if (!linked.has(pool)) this.#beats.delete(pool);
  }

  /** This replica is no home from now on: others take its workers. Each lease is kept for a last time. */
  async leave(): Promise<void> {
    this.#leaving = true;
    const pools = new Map<string, Vouch[]>();
    for (const { ref } of this.#options.links.all()) pools.set(ref.pool, []);
    for (const attempt of this.#options.running.all()) if (!this.#onItsWay(attempt)) pools.get(attempt.pool)?.push(this.#leaseOf(attempt));
    await Promise.all([...pools].map(([pool, vouches]) => this.#say(pool, vouches)));
  }

  /**
   * Tells Redis now that these attempts of one pool were sent: the worker is about to be judged, and what it was sent and may have begun must not
   * pass for never delivered. Never rejects.
   */
  async confirm(pool: string, attempts: readonly Attempt[]): Promise<void> {
    const unconfirmed = attempts.filter(({ vouchedAt }) => vouchedAt === 0);
    if (unconfirmed.length > 0)
      await this.#say(
        pool,
        unconfirmed.map((attempt) => this.#leaseOf(attempt)),
      );
  }

  /**
   * Written to an attached worker's stream a moment ago: it may say Hello elsewhere without having read it. Not confirmed, it is sent again
   * there under its fence; confirmed, it would count as lost.
   */
  #onItsWay({ pool, worker, since, phase }: Attempt): boolean {
    const { clock, links, confirmMs } = this.#options;
    if (phase !== 'accepted' || clock.monotonic() - since >= confirmMs) return false;
    return links.get(pool, worker)?.contract === 'ATTACHED';
  }

  #due(): Map<string, Vouch[]> {
    const { clock, links, running, confirmMs, beatMs, homeBeatMs, signMs } = this.#options;
    const now = clock.monotonic();
    const due = new Map<string, Vouch[]>();
    const of = (pool: string) => {
      const there = due.get(pool) ?? [];
      due.set(pool, there);
      return there;
    };
    for (const link of links.all()) {
      const { pool, id } = link.ref;
      if (this.#saying.has(pool)) continue;
      if (now - (this.#beats.get(pool) ?? Number.NEGATIVE_INFINITY) >= homeBeatMs) of(pool);
      const passedOn = this.#signs.get(link) ?? Number.NEGATIVE_INFINITY;
      if (link.heardAt < 0 || link.heardAt - passedOn < signMs) continue;
      of(pool).push({ item: { worker: id, link: link.ref.link, ageMs: now - link.heardAt }, link, heardAt: link.heardAt });
    }
    for (const attempt of running.all()) {
      if (this.#saying.has(attempt.pool)) continue;
      const since = attempt.vouchedAt === 0 ? attempt.since : attempt.vouchedAt;
      // A run timeout is enforced once its lease is confirmed: a short one must not wait for that.
      const confirmAfterMs = Math.min(confirmMs, attempt.runTimeoutMs ?? confirmMs);
      if (now - since >= (attempt.vouchedAt === 0 ? confirmAfterMs : beatMs)) of(attempt.pool).push(this.#leaseOf(attempt));
    }
    return due;
  }

  async #say(pool: string, vouches: Vouch[]): Promise<number> {
    this.#saying.add(pool);
    try {
      return await this.#sayAll(pool, vouches);
    } finally {
      this.#saying.delete(pool);
    }
  }

  async #sayAll(pool: string, vouches: Vouch[]): Promise<number> {
    const { clock, workers, matching, observer, onError } = this.#options;
    for (let i = 0; i === 0 || i < vouches.length; i += CHUNK) {
      const chunk = vouches.slice(i, i + CHUNK);
      const now = clock.monotonic();
      try {
        const items = chunk.map(({ item }) => item);
        observer.batch('beat', items.length);
        if (chunk.some(({ attempt }) => attempt?.vouchedAt === 0)) failpoint('confirm-before');
        const answers = await matching.call(pool, () => workers.beat(pool, items, this.#leaving));
        this.#beats.set(pool, now);
        this.#silentSince.delete(pool);
        chunk.forEach((vouch, j) => {
          this.#read(vouch, answers[j] ?? 'ok', now);
        });
      } catch (error) {
        onError(error);
        if (!this.#silentSince.has(pool)) this.#silentSince.set(pool, now);
        // Its server is away: each further chunk would wait as long as this one. What was not said is due again at once.
        return i;
      }
    }
    return vouches.length;
  }

  #read({ attempt, link, item, heardAt }: Vouch, answer: BeatAnswer, now: number): void {
    if (link && heardAt !== undefined) this.#signs.set(link, heardAt);
    if (attempt) {
      attempt.vouchedAt = now;
      // A result that is on its way gets its verdict by itself.
      if ((answer === 'gone' || answer === 'cancelled' || answer === 'foreign') && attempt.phase !== 'finishing') this.#options.onGone(attempt);
      // Another replica owns the worker by now, and what it holds. Not so where the link was numbered anew since this was said.
      if (answer === 'not_home' && attempt.link === item.link && isRestless(attempt)) this.#options.running.remove(attempt);
    } else if (link && (answer === 'not_home' || answer === 'gone')) {
      this.#options.onNotHome(link);
    }
  }

  #leaseOf(attempt: Attempt): Vouch {
    const { worker, link, jobId, fence, since } = attempt;
    const { clock, links } = this.#options;
    const open = links.carrying(attempt)?.isOpen(jobId, fence) ?? false;
    return { item: { worker, link, lease: { jobId, fence }, ranMs: clock.monotonic() - since, open }, attempt };
  }
}
