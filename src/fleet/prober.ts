import type { Clock, Random } from '../domain/clock.js';
import { toError } from '../domain/errors.js';
import type { Outcome } from '../domain/job.js';
import { Lanes } from '../domain/lanes.js';
import { type LeaseRef, type Link, otherThan, type ProbeAnswer, ProbeFailed, untrusted } from '../domain/link.js';
import type { HeldLease } from '../domain/worker.js';
import type { Finisher } from '../jobs/finisher.js';
import type { Matching } from '../jobs/matching.js';
import { type Attempt, isRestless, type Running } from '../jobs/running.js';
import type { ProbedLease, Standing } from '../store/scripts/workers.js';
import type { Store } from '../store/store.js';
import type { FleetLinks } from './links.js';
import type { CheckQueue, Judgement } from './ports.js';

export interface ProberOptions {
  store: Store;
  matching: Matching;
  finisher: Finisher;
  running: Running;
  links: FleetLinks;
  clock: Clock;
  random: Random;
  checks: CheckQueue;
  judgement: Judgement;
  /** See `DialKeys.proven`. */
  keysProven: () => boolean;
  intervalMs: number;
  /** Attached workers are asked to speak so often. */
  beatMs: number;
  timeoutMs: number;
  misses: number;
  concurrency: number;
  /** An attached worker answers nothing on its stream. */
  onMute: (link: Link) => void;
  /** Tells Redis at once that these attempts of one pool were sent. Never rejects. */
  confirm: (pool: string, attempts: readonly Attempt[]) => Promise<void>;
  /** The attempt is sent again, with its fence, to a worker that has it: the call joins what runs. */
  rejoin: (lease: LeaseRef) => void;
  onError: (error: unknown) => void;
}

/** A link that is to be asked, and what stood in Redis of its worker. */
interface Due {
  link: Link;
  standing: Exclude<Standing, 'moved'>;
}

/** Links of one pool, as many as one script call takes. */
interface LinkPage {
  pool: string;
  links: Link[];
}

/** Pages of one shard that are looked at at once. */
const PAGES_AT_ONCE = 4;
/** Workers a script call. */
const PAGE = 200;
/** The questions of a sweep are spread over that part of the interval; what is left is for answers that take long. */
const SPREAD = 0.5;
/** Asked in one turn. */
const TOGETHER = 32;
/** A beat that is later than that, as a part of its interval, is missed. */
const LATE_BEAT = 1.5;

/** What this replica knows of its own workers by asking them. */
export class Prober {
  readonly #options: ProberOptions;
  readonly #probing = new Set<Link>();
  /** Its worker ran what it should not when it was asked last. */
  readonly #astray = new WeakSet<Link>();

  constructor(options: ProberOptions) {
    this.#options = options;
  }

  /**
   * Looks at every link: those that were not heard for an interval (with calls open: two) are asked, and so are those in whose leases
   * something is to be cleared up. Answers how many were asked.
   */
  async checkAll(): Promise<number> {
    const { links, judgement, concurrency, random, intervalMs, clock } = this.#options;
    if (!(await judgement.sound())) return 0;
    const due = await this.#due([...links.all()]);
    // A few at a time, over a part of the interval: asked as fast as they answer, ten thousand would keep jobs waiting for a second; asked one by
    // one, each would cost a turn of the event loop of its own.
    const stepMs = due.length > concurrency ? (SPREAD * intervalMs) / due.length : 0;
    const firstAt = clock.monotonic() + random() * stepMs * concurrency;
    let next = 0;
    const lane = async () => {
      for (let i = next++; i < due.length; i = next++) {
        const { link, standing } = due[i] as Due;
        const leftMs = firstAt + (i - (i % TOGETHER)) * stepMs - clock.monotonic();
        if (leftMs > 0) await clock.sleep(leftMs);
        // Heard since: nothing is left to ask.
        if (standing === 'unsettled' || this.#quiet(link)) await this.probe(link, standing);
      }
    };
    await Promise.all(Array.from({ length: Math.min(concurrency, due.length) }, lane));
    return due.length;
  }

  async #due(all: Link[]): Promise<Due[]> {
    const { store, onError } = this.#options;
    const due: Due[] = [];
    const away = new Set<string>();
    const lanes = new Lanes<LinkPage>(({ pool }) => store.shardOf(pool), PAGES_AT_ONCE);
    // A server that is away is no reason to leave the workers of others unasked, nor to wait for it page by page.
    await lanes.run(pages(all), async (page) => {
      const shard = store.shardOf(page.pool);
      if (away.has(shard)) return;
      try {
        due.push(...(await this.#dueOf(page)));
      } catch (error) {
        away.add(shard);
        onError(error);
      }
    });
    return due;
  }

  async #dueOf(page: LinkPage): Promise<Due[]> {
    const { store, running } = this.#options;
    const standings = await store.workers.standing(
      page.pool,
      page.links.map(({ ref }) => ref),
    );
    return page.links.flatMap((link, i): Due[] => {
      const standing = standings[i] ?? 'moved';
      if (standing === 'moved') {
        this.#options.links.release(link.ref);
        return [];
      }
      const unsettled = standing === 'unsettled' || this.#astray.has(link) || running.ofWorker(page.pool, link.ref.id).some(isRestless);
      return unsettled || this.#quiet(link) ? [{ link, standing: unsettled ? 'unsettled' : standing }] : [];
    });
  }

  /** A call that is open is a word of the worker to come; an attached one speaks by its beats. */
  #quiet(link: Link): boolean {
    const { clock, intervalMs, beatMs } = this.#options;
    const allowed = link.contract === 'ATTACHED' ? Math.max(intervalMs, LATE_BEAT * beatMs) : intervalMs;
    return clock.monotonic() - link.heardAt >= (link.openCalls > 0 ? 2 : 1) * allowed;
  }

  /**
   * Asks one worker and tells Redis what that means. One question to a worker at a time. `standing`: as it was a moment ago; of a worker that
   * holds nothing, and about which nothing is to be cleared up, an answer says no more than that it lives. Never rejects.
   */
  async probe(link: Link, standing: Due['standing'] = 'unsettled'): Promise<void> {
    if (this.#probing.has(link)) return;
    this.#probing.add(link);
    try {
      const [held = []] = standing === 'idle' ? [] : await this.#options.store.readHeld(link.ref.pool, [link.ref.id]);
      const asked = this.#silentAttempts(link);
      const answer = await this.#ask(link);
      if (!answer) return;
      await this.#tell(link, answer, standing, this.#verdicts(link, answer, held, asked));
      await this.#reconcile(link, answer, held);
    } catch (error) {
      this.#options.onError(error);
    } finally {
      this.#probing.delete(link);
    }
  }

  /** A call broke: the attempt may run, may have ended, may be lost. `outcome`: what to say of it if it is lost. Never rejects. */
  async resolveDoubt(attempt: Attempt, outcome: Outcome): Promise<void> {
    const { links, finisher, timeoutMs, rejoin, onError } = this.#options;
    const link = links.get(attempt.pool, attempt.worker);
    // Another is its home by now, and asks it: what we say of it would only spend an attempt that may go on there.
    if (!link) {
      // But for the worker whose calls cannot be taken up by another: with the call its result is gone.
      if (attempt.contract === 'METHOD' || attempt.contract === 'LEGACY') return finisher.settle(attempt, outcome);
      return this.#options.running.remove(attempt);
    }
    if (link.contract === 'METHOD') return finisher.settle(attempt, outcome);
    try {
      const answer = await link.probe(timeoutMs);
      const has = answer.held?.some(({ jobId, fence }) => jobId === attempt.jobId && fence === attempt.fence);
      if (has) return rejoin(attempt);
      // A LEGACY worker that is busy may be busy with it, but will never tell its result.
      finisher.settle(attempt, outcome);
      if (answer.busy) await this.probe(link);
    } catch (error) {
      if (!(error instanceof ProbeFailed)) onError(error);
      // Nobody there: others make sure at once. Silence: the lease stays, and the sweep goes on asking.
      const refused = error instanceof ProbeFailed && error.kind === 'refused';
      const { confirm, running } = this.#options;
      await confirm(attempt.pool, running.ofWorker(attempt.pool, attempt.worker).filter(isRestless));
      // When Redis does not answer either, the attempt stays doubtful: the next sweep asks again.
      await this.#missed(link, refused ? 1 : this.#options.misses, error).catch(onError);
    }
  }

  async #ask(link: Link): Promise<ProbeAnswer | undefined> {
    try {
      return await link.probe(this.#options.timeoutMs);
    } catch (error) {
      if (!(error instanceof ProbeFailed)) throw error;
      if (error.kind === 'untrusted') this.#options.onError(untrusted(link.ref, error));
      await this.#missed(link, this.#options.misses, error);
      return undefined;
    }
  }

  async #tell(link: Link, answer: ProbeAnswer, standing: Due['standing'], leases: ProbedLease[]): Promise<void> {
    const { store, matching, links } = this.#options;
    const { ref } = link;
    const other = otherThan(ref, answer);
    if (other) {
      await matching.call(ref.pool, () => store.workers.bury(ref, 0, other));
      return links.drop(ref);
    }
    // That it lives is passed on with the next beat, in one call for many.
    if (standing !== 'unsettled' && !answer.busy && leases.length === 0) return;
    const status = await matching.call(ref.pool, () => store.workers.probed(ref, 0, answer.busy, leases));
    if (status === 'stale') links.release(ref);
    else
      for (const { what, jobId, fence } of leases)
        if (what === 'lost') this.#options.running.remove({ pool: ref.pool, worker: ref.id, jobId, fence });
  }

  /**
   * Where the worker and Redis disagree, what was said once is said again, at each probe until they agree: what it runs under a lease that was
   * taken away is to stop, and what a RUNNER should run is sent to it under its fence. The words before may have been lost, or the replica that
   * was to say them. `held`: as it was before the worker was asked; what was given since is looked up.
   */
  async #reconcile(link: Link, answer: ProbeAnswer, before: HeldLease[]): Promise<void> {
    const { store, running, rejoin } = this.#options;
    const { pool, id } = link.ref;
    if (answer.held === undefined || otherThan(link.ref, answer)) return;
    const known = new Set(before.filter(({ quarantined }) => !quarantined).map(nameOf));
    const astray = answer.held.filter((lease) => !lease.done && !known.has(nameOf(lease)));
    if (astray.length === 0) this.#astray.delete(link);
    else {
      const [now = []] = await store.readHeld(pool, [id]);
      const given = new Set(now.filter(({ quarantined }) => !quarantined).map(nameOf));
      const unwanted = astray.filter((lease) => !given.has(nameOf(lease))).slice(0, TOGETHER);
      if (unwanted.length > 0) this.#astray.add(link);
      for (const { jobId, fence } of unwanted) {
        if (link.revoke) link.revoke(jobId, fence);
        else void link.abort(jobId, fence);
      }
    }
    if (link.contract !== 'RUNNER') return;
    for (const { jobId, fence, quarantined } of before) {
      const lease = { pool, worker: id, jobId, fence };
      if (!quarantined && !running.get(lease)) rejoin(lease);
    }
  }

  /** What the answer means for the leases that were held before it was asked for; younger ones it could not know. */
  #verdicts(link: Link, answer: ProbeAnswer, held: HeldLease[], asked: Set<string>): ProbedLease[] {
    if (!answer.tellsIdle) return [];
    const names = (leases: { jobId: string; fence: string }[] = []) => new Set(leases.map(nameOf));
    const has = names(answer.held);
    // Nobody comes for the result of a lease that was taken away: it keeps no slot.
    const runs = names(answer.held?.filter(({ done }) => !done));
    const verdicts: ProbedLease[] = [];
    for (const { jobId, fence, quarantined } of held) {
      if ((quarantined ? runs : has).has(`${jobId} ${fence}`) || link.isOpen(jobId, fence)) continue;
      if (quarantined) verdicts.push({ what: 'idle', jobId, fence });
      else if (asked.has(`${jobId} ${fence}`) && this.#stillSilent(link, jobId, fence)) verdicts.push({ what: 'lost', jobId, fence });
    }
    return verdicts;
  }

  /** Attempts that the worker has, as far as we know, without a call of ours open: only of those does its silence say anything. */
  #silentAttempts(link: Link): Set<string> {
    const silent = new Set<string>();
    for (const attempt of this.#options.running.ofWorker(link.ref.pool, link.ref.id))
      if (isRestless(attempt)) silent.add(`${attempt.jobId} ${attempt.fence}`);
    return silent;
  }

  /** Its result may have come while it was asked. */
  #stillSilent({ ref }: Link, jobId: string, fence: string): boolean {
    const attempt = this.#options.running.get({ pool: ref.pool, worker: ref.id, jobId, fence });
    return attempt !== undefined && isRestless(attempt);
  }

  async #missed(link: Link, limit: number, error: unknown): Promise<void> {
    const { store, matching, links, checks, judgement, keysProven } = this.#options;
    const { ref } = link;
    if (!(await judgement.sound())) return;
    const status = await matching.call(ref.pool, () => store.workers.suspect(ref, limit, toError(error).message.slice(0, 60)));
    if (status === 'stale') return links.release(ref);
    if (status !== 'suspect') return;
    // Nobody else can ask an attached worker: a stream on which nothing is answered is as good as gone.
    if (link.contract === 'ATTACHED') this.#options.onMute(link);
    else await checks.request([{ ...ref, home: store.home, distrusted: isUntrusted(error) && keysProven() }]);
  }
}

/** Those of one pool together, not too many for one script. */
function pages(links: Link[]): LinkPage[] {
  const open = new Map<string, LinkPage>();
  const all: LinkPage[] = [];
  for (const link of links) {
    const { pool } = link.ref;
    let page = open.get(pool);
    if (!page || page.links.length >= PAGE) {
      page = { pool, links: [] };
      open.set(pool, page);
      all.push(page);
    }
    page.links.push(link);
  }
  return all;
}

function nameOf({ jobId, fence }: { jobId: string; fence: string }): string {
  return `${jobId} ${fence}`;
}

function isUntrusted(error: unknown): boolean {
  return error instanceof ProbeFailed && error.kind === 'untrusted';
}
