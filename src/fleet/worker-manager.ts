import { MusterError, unavailable } from '../domain/errors.js';
import { failpoint } from '../domain/failpoints.js';
import { ANYBODY } from '../domain/identity.js';
import type { Outcome, Verdict } from '../domain/job.js';
import type { Link } from '../domain/link.js';
import type { AttachedInfo, WorkerInfo, WorkerRef, WorkerState } from '../domain/worker.js';
import type { Finisher } from '../jobs/finisher.js';
import type { Matching } from '../jobs/matching.js';
import type { LeaseName } from '../store/scripts/workers.js';
import type { Store } from '../store/store.js';
import type { Adopter, Checked } from './adopter.js';
import type { Attacher, HeldByWorker } from './attacher.js';
import type { FleetLinks } from './links.js';
import { isForeign, notYours } from './ownership.js';
import type { CheckTarget } from './ports.js';
import type { Prober } from './prober.js';
import { draining, type Registrar, type Registration } from './registrar.js';

export interface WorkerManagerOptions {
  store: Store;
  matching: Matching;
  finisher: Finisher;
  registrar: Registrar;
  prober: Prober;
  adopter: Adopter;
  attacher: Attacher;
  links: FleetLinks;
}

export interface ReportedResult {
  jobId: string;
  fence: string;
  outcome: Outcome;
}

export interface Report {
  pool: string;
  worker: string;
  boot: string;
  results: ReportedResult[];
  held: { jobId: string; fence: string; done: boolean; progress: Buffer }[] | undefined;
  /** Whose word it is; default: nobody asks. */
  by?: string;
}

export interface Reported {
  verdicts: Verdict[];
  /** Of what the beat named: no longer the worker's. */
  revoked: { jobId: string; fence: string }[];
  /** So many of the leases that it named, in results or in the beat, are other workers'. */
  foreign: number;
}

/** The states that somebody may put a worker into; `busy` follows from what it holds. */
export type SettableState = Exclude<WorkerState, 'busy'>;

/**
 * The roll of the fleet, as this replica keeps it: who is on it, over which links, and how they are. `by`: whose word a call is (see `speakerOf`);
 * of another identity's worker it is refused with `permission_denied` NOT_YOURS.
 */
export class WorkerManager {
  readonly #options: WorkerManagerOptions;
  #draining = false;

  constructor(options: WorkerManagerOptions) {
    this.#options = options;
  }

  get replica(): string {
    return this.#options.store.home;
  }

  /** Links that this replica holds. */
  get linkCount(): number {
    return this.#options.links.size;
  }

  /** This replica is stopping: it takes no more workers. */
  drain(): void {
    this.#draining = true;
  }

  /**
   * Puts a dialed worker on the roll and opens the persistent link to it. `peerIp`: the address that the call came from.
   * Resolves when it can be given jobs. Rejects with MusterError (see WorkerService.Register).
   */
  registerWorker(info: WorkerInfo, peerIp: string | undefined, by = ANYBODY): Promise<Registration> {
    if (this.#draining) return Promise.reject(draining());
    return this.#options.registrar.register(info, peerIp, by);
  }

  /**
   * `draining`: no more jobs. `free`: jobs again. `suspect`: none until it is heard again. `dead`: what it holds goes to others.
   * `who`: the operator. Answers with the state after. Rejects with `not_found`.
   */
  async setWorkerState(pool: string, id: string, state: SettableState, reason: string, who = ''): Promise<WorkerState> {
    const { store, matching, links } = this.#options;
    const [record] = await store.readWorkers(pool, [id]);
    if (!record) throw noWorker(pool, id);
    switch (state) {
      case 'draining':
      case 'free': {
        const after = await matching.call(pool, () => store.workers.drain(pool, id, state === 'draining', who));
        if (after === undefined) throw noWorker(pool, id);
        return after;
      }
      case 'suspect': {
        await matching.call(pool, () => store.workers.suspect(record, 1, reason));
        break;
      }
      case 'dead': {
        const buried = await matching.call(pool, () => store.workers.bury({ pool, id, boot: '', link: '' }, 0, reason, who));
        if (buried === 'unknown') throw noWorker(pool, id);
        links.drop(record);
        break;
      }
    }
    const [after] = await store.readWorkers(pool, [id]);
    return after?.state ?? 'dead';
  }

  /** Asks every worker of this replica that was not heard lately, and clears up what is unsettled. Answers how many were asked. */
  checkHealthForAll(): Promise<number> {
    return this.#options.prober.checkAll();
  }

  /** Tries to reach a worker of another home (see Adopter). */
  check(target: CheckTarget): Promise<Checked> {
    if (this.#draining) return Promise.reject(draining());
    return this.#options.adopter.check(target);
  }

  /** Puts a worker that opened a stream to this replica on the roll (see Attacher). `there`: its stream has not ended meanwhile. */
  attachWorker(
    info: AttachedInfo,
    held: readonly HeldByWorker[],
    open: (ref: WorkerRef, abandon: LeaseName[]) => Link,
    there: () => boolean,
    by = ANYBODY,
  ): Promise<Link> {
    if (this.#draining) return Promise.reject(draining());
    const wanted = () => {
      if (this.#draining) throw draining();
      if (!there()) throw unavailable('STREAM_ENDED', 'the stream ended before its worker was on the roll: attach again');
    };
    return this.#options.attacher.attach(info, held, open, wanted, by);
  }

  /** An attached worker takes so many jobs at once from now on. */
  async resize(ref: WorkerRef, slots: number): Promise<void> {
    const { store, matching, links } = this.#options;
    links.resized(ref, slots);
    await matching.call(ref.pool, () => store.workers.resize(ref, slots));
  }

  /** An attached worker says what has arrived, and (done) what it has stopped. Returns how many of these leases are other workers'. */
  async received(ref: WorkerRef, held: readonly HeldByWorker[]): Promise<number> {
    const { store, matching } = this.#options;
    const stopped = held.filter(({ done }) => done).map(({ jobId, fence }) => ({ what: 'idle' as const, jobId, fence }));
    const arrived = held.filter(({ done }) => !done).map((lease) => ({ worker: ref.id, link: ref.link, lease }));
    if (stopped.length > 0) await matching.call(ref.pool, () => store.workers.probed(ref, 0, false, stopped));
    if (arrived.length > 0) failpoint('received-before');
    if (arrived.length === 0) return 0;
    const answers = await matching.call(ref.pool, () => store.workers.beat(ref.pool, arrived, false));
    return answers.filter((answer) => answer === 'foreign').length;
  }

  /** An attached worker leaves; its stream stays until what it holds is settled. */
  async leave({ pool, id, boot }: WorkerRef, timeoutMs: number | undefined, by: string): Promise<void> {
    const { store, matching } = this.#options;
    const { status } = await matching.call(pool, () => store.workers.deregister(pool, id, boot, timeoutMs, by));
    if (status === 'foreign') throw notYours(id, 'id');
  }

  /** Looks for workers without a home whose check was lost (see Adopter). */
  searchOrphans(): Promise<void> {
    return this.#options.adopter.searchAll();
  }

  /** Ends every connection to a worker. What was open on them breaks. */
  closeGrpcAll(): void {
    this.#options.links.closeAll();
  }

  /** A worker tells that it lives. */
  async ping(pool: string, id: string, boot: string, by = ANYBODY): Promise<{ healthy: boolean; reason: string }> {
    const { known } = await this.#options.store.workers.workerBeat(pool, id, boot, [], by);
    if (known === 'foreign') throw notYours(id, 'id');
    const reasons = { ok: '', unknown: 'not on the roll: register', dead: 'declared dead: register again', superseded: 'a newer boot is registered' };
    return { healthy: known === 'ok', reason: reasons[known] };
  }

  /** Answers with how many jobs it still holds. */
  async deregister(pool: string, id: string, boot: string, timeoutMs: number | undefined, by = ANYBODY): Promise<number> {
    const { store, matching, links } = this.#options;
    const [record] = await store.readWorkers(pool, [id]);
    const { status, held } = await matching.call(pool, () => store.workers.deregister(pool, id, boot, timeoutMs, by));
    if (status === 'foreign') throw notYours(id, 'id');
    if (status === 'superseded')
      throw new MusterError('failed_precondition', 'SUPERSEDED', `boot: another life of worker ${id} is registered`, { field: 'boot' });
    if (status === 'unknown') throw noWorker(pool, id);
    if (held === 0 && record) links.release(record);
    return held;
  }

  /** Results and signs of life of a worker that reports by unary calls, at whichever replica. Rejects with `unavailable`: say it again. */
  async report({ pool, worker, boot, results, held, by = ANYBODY }: Report): Promise<Reported> {
    const { store, finisher, links } = this.#options;
    // Asked apart, so that `finish` need not: a worker that gets another owner meanwhile gets another boot too, and results name theirs.
    if (by !== ANYBODY && isForeign(await store.readOwner(pool, worker), by)) throw notYours(worker, 'worker_id');
    const link = links.get(pool, worker);
    // Only its home may be given its next job in the same reply.
    const epoch = link?.ref.boot === boot ? link.ref.link : '';
    const finished = await Promise.all(
      results.map(({ jobId, fence, outcome }) => finisher.finish({ pool, worker, boot, jobId, fence, link: epoch, outcome })),
    );
    const verdicts = finished.map(({ verdict }) => verdict);
    const guessed = verdicts.filter((verdict) => verdict === 'foreign').length;
    if (held === undefined) return { verdicts, revoked: [], foreign: guessed };
    const { known, revoked } = await store.workers.workerBeat(pool, worker, boot, held, by);
    if (known === 'foreign') throw notYours(worker, 'worker_id');
    return {
      verdicts,
      revoked: held.filter((_, i) => revoked[i]).map(({ jobId, fence }) => ({ jobId, fence })),
      foreign: guessed + revoked.filter((what) => what === 'foreign').length,
    };
  }
}

function noWorker(pool: string, id: string): MusterError {
  return new MusterError('not_found', 'NO_SUCH_WORKER', `the pool ${pool} has no worker ${id}`);
}
