import type { Clock, Random } from '../domain/clock.js';
import { MusterError } from '../domain/errors.js';
import { failpoint } from '../domain/failpoints.js';
import type { Link } from '../domain/link.js';
import { Turns } from '../domain/turns.js';
import type { AttachedInfo, WorkerRef } from '../domain/worker.js';
import type { Matching } from '../jobs/matching.js';
import type { Attempt, Running } from '../jobs/running.js';
import type { LeaseName } from '../store/scripts/workers.js';
import type { Store } from '../store/store.js';
import type { FleetLinks } from './links.js';
import { notYours } from './ownership.js';

export interface AttacherOptions {
  store: Store;
  matching: Matching;
  running: Running;
  links: FleetLinks;
  clock: Clock;
  random: Random;
  maxLinks: number;
  /** So many attach at once. */
  concurrency: number;
  /** A stream is asked to renew itself when it is so old, less a random part. */
  turnOverMs: number;
  /** How long a worker may take to come back over another stream. */
  reattachMs: number;
  /** The same for one whose stream its host closed without a word. */
  resetGraceMs: number;
  /** This replica ends its streams itself. */
  stopping: () => boolean;
  /** Tells Redis at once that these attempts of one pool were sent. Never rejects. */
  confirm: (pool: string, attempts: readonly Attempt[]) => Promise<void>;
  onError: (error: unknown) => void;
}

export interface HeldByWorker extends LeaseName {
  /** Only its result is outstanding. */
  done: boolean;
}

type OpenLink = (ref: WorkerRef, abandon: LeaseName[]) => Link;

const TURN_JITTER = 0.2;
/** After that part of its time it is seen whether a worker is back, and whether other streams broke with its own. */
const LOOK = 1 / 3;
/** So many streams that break together may be more than a host that died. */
const MANY = 3;

/** Workers that open streams to this replica: their coming, going, and moving on. */
export class Attacher {
  readonly #options: AttacherOptions;
  /** Link → monotonic ms from which on it is to be renewed. */
  readonly #renewAt = new Map<Link, number>();
  /** A fleet that comes back at once must not keep jobs waiting: what all of them ask at once would be answered at once. */
  readonly #turns: Turns;
  /** Monotonic ms of the streams that were reset lately. */
  #resets: number[] = [];

  constructor(options: AttacherOptions) {
    this.#options = options;
    this.#turns = new Turns(options.concurrency);
  }

  /**
   * Puts the worker on the roll with this replica as its home. `open` makes the link under its epoch, and is told what it must stop, before
   * any assignment goes out. `wanted`, called when its turn has come, throws what it rejects with if it is not to attach any more. `by`: whose
   * word it is (see `speakerOf`), and whose the worker is from now on. Rejects with MusterError (see WorkerService.Attach).
   */
  async attach(info: AttachedInfo, held: readonly HeldByWorker[], open: OpenLink, wanted: () => void, by: string): Promise<Link> {
    const { links, maxLinks } = this.#options;
    if (links.size + this.#turns.size >= maxLinks && !links.get(info.pool, info.id)) {
      throw new MusterError(
        'resource_exhausted',
        'TOO_MANY_LINKS',
        `this replica holds as many links as it may (${maxLinks}): attach again, another may take it`,
        {
          retryAfterMs: 1000,
        },
      );
    }
    return this.#turns.run(async () => {
      wanted();
      return await this.#attach(info, held, open, by);
    });
  }

  async #attach(info: AttachedInfo, held: readonly HeldByWorker[], open: OpenLink, by: string): Promise<Link> {
    const { store, matching, links } = this.#options;
    const { pool, id, boot } = info;
    const opened: Link[] = [];
    const attached = await matching.call(pool, async () => {
      const matched = await store.within(pool, by, () => store.workers.attach(info, held, by));
      if (matched.reply.kind === 'ok') {
        const { link: epoch, kept, abandon } = matched.reply;
        const link = open({ pool, id, boot, link: epoch }, abandon);
        links.install(link, info.slots);
        this.#forget(link.ref, kept);
        this.#keep(link, kept);
        opened.push(link);
        failpoint('attach-installed');
      }
      return matched;
    });
    const [link] = opened;
    if (attached.kind === 'ok' && link) return link;
    throw refusal(info, attached);
  }

  /** The stream of that link is gone: the worker has a while to come back. `reset`: its host closed it without a word. */
  async detached(link: Link, reason: string, reset = false): Promise<void> {
    const { links, running, confirm, reattachMs, onError } = this.#options;
    this.#renewAt.delete(link);
    if (this.#numberedAnew(link)) return;
    links.release(link.ref, reason);
    const { pool, id, link: epoch } = link.ref;
    await confirm(
      pool,
      running.ofWorker(pool, id).filter((attempt) => attempt.link === epoch && attempt.phase === 'accepted'),
    );
    try {
      await this.#detach(link, reason, reattachMs);
      if (reset) void this.#hasten(link, reason);
    } catch (error) {
      // Its home lives and has no link to it: found when a job is for it, or by the search for orphans once this home is gone.
      onError(error);
      await this.#detachLater(link, reason);
    }
  }

  /** Links that grew old are asked to renew themselves. Called on a timer. */
  renewOld(): void {
    const now = this.#options.clock.monotonic();
    for (const [link, at] of this.#renewAt) {
      if (now < at) continue;
      this.#renewAt.set(link, now + this.#options.turnOverMs);
      link.reattach?.('age', this.#options.reattachMs);
    }
  }

  /** Every attached worker, or those of one pool, is asked to come back elsewhere. */
  sendAway(reason: string, pool?: string): void {
    for (const link of this.#options.links.all()) if (pool === undefined || link.ref.pool === pool) link.reattach?.(reason, this.#options.reattachMs);
  }

  /** Sent over its former stream to this very replica, and not arrived: the script sends them again or has given them up. */
  #forget({ pool, id }: WorkerRef, kept: LeaseName[]): void {
    const { running } = this.#options;
    const has = new Set(kept.map(({ jobId, fence }) => `${jobId} ${fence}`));
    for (const attempt of running.ofWorker(pool, id)) {
      if (attempt.phase !== 'finishing' && !has.has(`${attempt.jobId} ${attempt.fence}`)) running.remove(attempt);
    }
  }

  /** What the worker brought along goes on, and this replica vouches for it from now on. */
  #keep(link: Link, kept: LeaseName[]): void {
    const { running, clock, random, turnOverMs } = this.#options;
    const now = clock.monotonic();
    this.#renewAt.set(link, now + turnOverMs * (1 - TURN_JITTER * random()));
    const { pool, id, boot, link: epoch } = link.ref;
    for (const { jobId, fence } of kept) {
      const lease = { pool, worker: id, jobId, fence };
      if (!running.get(lease)) running.add({ ...lease, boot, link: epoch, phase: 'accepted', since: now, vouchedAt: now });
    }
  }

  /**
   * A Redis that lost its data counts links from the beginning: the worker's present link may have the number of this one. Its end must not be
   * taken for the end of that.
   */
  #numberedAnew(link: Link): boolean {
    const { pool, id, boot, link: epoch } = link.ref;
    const there = this.#options.links.get(pool, id);
    return there !== undefined && there !== link && there.ref.boot === boot && there.ref.link === epoch;
  }

  async #detach({ ref }: Link, reason: string, graceMs: number): Promise<void> {
    const { store, matching } = this.#options;
    await matching.call(ref.pool, () => store.workers.detach(ref, reason.slice(0, 60), graceMs));
  }

  /**
   * A process that was killed never comes back, and its jobs wait for it; a worker that lost its stream is back within a moment. Whoever is not
   * gets a shorter time. If most streams broke together, a proxy or a network did, and everybody keeps the whole time. Never rejects.
   */
  async #hasten(link: Link, reason: string): Promise<void> {
    const { links, clock, resetGraceMs, stopping, onError } = this.#options;
    const at = clock.monotonic();
    const lookMs = resetGraceMs * LOOK;
    this.#resets = this.#resets.filter((one) => at - one < 2 * lookMs);
    this.#resets.push(at);
    await clock.sleep(lookMs);
    const together = this.#resets.filter((one) => Math.abs(at - one) < lookMs).length;
    const left = [...links.all()].filter(({ contract }) => contract === 'ATTACHED').length;
    if (stopping() || (together >= MANY && together > left)) return;
    // Not done, it has the longer time.
    await this.#detach(link, reason, resetGraceMs - lookMs).catch(onError);
  }

  async #detachLater(link: Link, reason: string): Promise<void> {
    const { clock, reattachMs, onError } = this.#options;
    for (let tries = 0; tries < DETACH_TRIES; tries++) {
      await clock.sleep(reattachMs / DETACH_TRIES);
      try {
        await this.#detach(link, reason, reattachMs);
        return;
      } catch (error) {
        onError(error);
      }
    }
  }
}

const DETACH_TRIES = 10;

function refusal({ pool, id }: AttachedInfo, attached: { kind: string; family?: string; home?: string }): MusterError {
  switch (attached.kind) {
    case 'foreign':
      return notYours(id, 'hello.worker.id');
    case 'superseded':
      return new MusterError(
        'failed_precondition',
        'SUPERSEDED',
        `hello.worker.boot: a newer life of worker ${id} is registered: start with a new boot`,
        {
          field: 'hello.worker.boot',
        },
      );
    case 'exists':
      return new MusterError(
        'already_exists',
        'WORKER_EXISTS',
        `hello.worker.id: another life of worker ${id} is attached: stop it first, or use another id`,
        {
          field: 'hello.worker.id',
          retryAfterMs: 2000,
        },
      );
    default:
      return new MusterError(
        'failed_precondition',
        'WRONG_FAMILY',
        `hello.worker.pool: the workers and jobs of pool ${pool} are ${attached.family}: use another pool`,
        {
          field: 'hello.worker.pool',
        },
      );
  }
}
