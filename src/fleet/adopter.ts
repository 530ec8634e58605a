import type { Clock } from '../domain/clock.js';
import { MusterError } from '../domain/errors.js';
import { failpoint } from '../domain/failpoints.js';
import { Lanes } from '../domain/lanes.js';
import { type DialTarget, type Link, otherThan, type ProbeAnswer, ProbeFailed, untrusted } from '../domain/link.js';
import type { Observer } from '../domain/observer.js';
import type { WorkerRecord } from '../domain/worker.js';
import type { Matching } from '../jobs/matching.js';
import type { Running } from '../jobs/running.js';
import type { Store } from '../store/store.js';
import { noteForeign } from './foreign.js';
import { type FleetLinks, targetOf } from './links.js';
import type { CheckQueue, CheckTarget, Judgement } from './ports.js';

export interface AdopterOptions {
  store: Store;
  matching: Matching;
  running: Running;
  links: FleetLinks;
  clock: Clock;
  checks: CheckQueue;
  judgement: Judgement;
  /** See `DialKeys.proven`. */
  keysProven: () => boolean;
  observer: Pick<Observer, 'spared'>;
  probeOnce: (target: DialTarget, timeoutMs: number) => Promise<ProbeAnswer>;
  timeoutMs: number;
  /** How long an attached worker may take to come back over another stream. */
  reattachMs: number;
  /** A worker that holds something has come: what it holds is compared with Redis. */
  onHolding: (link: Link) => void;
  onError: (error: unknown) => void;
}

export type Checked = 'adopted' | 'buried' | 'moved_on' | 'spared';

const PAGE = 500;

/** Workers whose home cannot reach them, or is gone: found, reached by another replica, and then taken over, or buried. */
export class Adopter {
  readonly #options: AdopterOptions;
  readonly #searching = new Set<string>();

  constructor(options: AdopterOptions) {
    this.#options = options;
  }

  /** Some homes of that pool are dead: what is orphaned is checked, and then they are forgotten. */
  async onDeadHomes(pool: string, homes: string[]): Promise<void> {
    // Only after the search: if whoever searches dies in between, the next tick names the homes again.
    if (!(await this.#search(pool))) return;
    failpoint('forget-before');
    await this.#options.store.workers.forgetHomes(pool, homes);
  }

  /** Looks for orphans whose check was lost: in all pools, now and then. */
  async searchAll(): Promise<void> {
    const { store, onError } = this.#options;
    const lanes = new Lanes<string>((pool) => store.shardOf(pool), 1);
    await lanes.run(await store.pools(), (pool) => this.#search(pool).catch(onError));
  }

  /** Pages through the roll of a pool once, and has what is orphaned checked. false: a search is under way already. */
  async #search(pool: string): Promise<boolean> {
    if (this.#searching.has(pool)) return false;
    this.#searching.add(pool);
    const { store, checks } = this.#options;
    try {
      for (let cursor = '0', first = true; first || cursor !== '0'; first = false) {
        const page = await store.workers.orphans(pool, cursor, PAGE);
        cursor = page.cursor;
        if (page.orphans.length > 0) failpoint('orphans-page');
        await checks.request(page.orphans);
      }
      return true;
    } finally {
      this.#searching.delete(pool);
    }
  }

  /** Redis names this replica as that worker's home: the link that belongs to it. Answers whether there is one now. Never rejects. */
  async openLink(pool: string, id: string, epoch: string): Promise<boolean> {
    const { store, links, reattachMs, onError } = this.#options;
    try {
      const [record] = await store.readWorkers(pool, [id]);
      if (!record || record.state === 'dead' || record.home !== store.home || record.link !== epoch) return false;
      // The reply that brought the assignment may be looked at before the one that made the link, if Redis sent both in one piece. The link
      // is there by now, and its worker must not be taken for one whose stream is gone.
      if (links.get(pool, id)?.ref.link === epoch) return true;
      const target = targetOf(record, epoch);
      if (target) links.open(target);
      // Its stream went while Redis did not answer.
      else await this.#options.matching.call(pool, () => store.workers.detach(record, 'detached', reattachMs));
      return target !== undefined;
    } catch (error) {
      onError(error);
      return false;
    }
  }

  /**
   * Tries to reach one worker over a fresh connection. Reached: this replica is its home from now on. Not reached: it is dead, unless a
   * sign of life came meanwhile, or nothing but our own keys speaks against it: then it stays suspect, and its home asks again. Rejects with
   * MusterError when this replica may not judge: another must.
   */
  async check(target: CheckTarget): Promise<Checked> {
    const { store, judgement, clock, timeoutMs, probeOnce } = this.#options;
    if (!(await judgement.sound())) throw new MusterError('unavailable', 'NOT_SOUND', 'this replica is in no state to judge others');
    const [record] = await store.readWorkers(target.pool, [target.id]);
    if (!record || record.state === 'dead' || record.boot !== target.boot || record.link !== target.link) return 'moved_on';
    const dial = targetOf(record, record.link);
    if (!dial) return 'moved_on';
    const asked = clock.monotonic();
    try {
      const answer = await probeOnce(dial, timeoutMs);
      const other = otherThan(record, answer);
      if (other) return await this.#bury(target, asked, other);
      return await this.#adopt(record, answer);
    } catch (error) {
      if (!(error instanceof ProbeFailed)) throw error;
      if (error.kind === 'untrusted') {
        this.#options.onError(untrusted(target, error));
        if (!this.#mayDistrust(target)) return 'spared';
      }
      return await this.#bury(target, asked, error.kind);
    }
  }

  /** A DIAL_CA that is wrong for the whole fleet must not bury it: these keys, or those of the home that asks, have been seen to work. */
  #mayDistrust({ distrusted = false }: CheckTarget): boolean {
    const { keysProven, observer, onError } = this.#options;
    if (distrusted || keysProven()) return true;
    observer.spared();
    const message =
      'no worker was met by TLS since DIAL_CA, DIAL_CERT and DIAL_KEY were read: who is not trusted is suspect and not buried; see whether these files are right';
    onError(new MusterError('failed_precondition', 'DIAL_KEYS_UNPROVEN', message));
    return false;
  }

  async #adopt(record: WorkerRecord, answer: ProbeAnswer): Promise<Checked> {
    const { store, matching, links, running, clock, onHolding } = this.#options;
    await store.enter(record.pool);
    const adopted = await matching.call(record.pool, async () => {
      const matched = await store.workers.adopt(record);
      if (matched.reply.kind === 'ok') {
        const target = targetOf(record, matched.reply.link);
        if (target) links.open(target);
        const { link, leases } = matched.reply;
        noteForeign(running, { worker: record, link, leases, busy: answer.busy, now: clock.monotonic() });
      }
      return matched;
    });
    if (adopted.kind === 'stale') return 'moved_on';
    if (answer.busy) await matching.call(record.pool, () => store.workers.probed({ ...record, link: adopted.link }, 0, true, []));
    const link = links.get(record.pool, record.id);
    if (link && (answer.held?.length || adopted.leases.some(({ quarantined }) => quarantined))) onHolding(link);
    return 'adopted';
  }

  async #bury(target: CheckTarget, asked: number, reason: string): Promise<Checked> {
    const { store, matching, links, clock } = this.#options;
    const buried = await matching.call(target.pool, () => store.workers.bury(target, clock.monotonic() - asked, reason));
    if (buried === 'stale') return 'spared';
    links.drop(target);
    return 'buried';
  }
}
