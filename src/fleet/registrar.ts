import type { Clock } from '../domain/clock.js';
import { MusterError, unavailable } from '../domain/errors.js';
import { failpoint } from '../domain/failpoints.js';
import { type DialTarget, type Link, otherThan, type ProbeAnswer, ProbeFailed } from '../domain/link.js';
import { type Address, formatAddress, type WorkerInfo, type WorkerRecord } from '../domain/worker.js';
import type { Matching } from '../jobs/matching.js';
import type { Running } from '../jobs/running.js';
import { keys } from '../store/keys.js';
import type { Store } from '../store/store.js';
import { noteForeign } from './foreign.js';
import type { FleetLinks } from './links.js';
import { targetOf } from './links.js';
import { isForeign, notYours } from './ownership.js';

export interface RegistrarOptions {
  store: Store;
  matching: Matching;
  links: FleetLinks;
  clock: Clock;
  /** May that address be dialed for a worker that speaks from that peer? Throws MusterError. */
  policy: { check(address: Address, peerIp: string | undefined): void };
  /** Reaches a worker over a connection of its own. Rejects with ProbeFailed. */
  probeOnce: (target: DialTarget, timeoutMs: number) => Promise<ProbeAnswer>;
  pingTimeoutMs: number;
  maxLinks: number;
  running: Running;
  /** A worker that holds something has come: what it holds is compared with Redis. */
  onHolding: (link: Link) => void;
}

export interface Registration {
  boot: string;
  /** The link epoch under which this replica is the worker's home. */
  link: string;
}

/**
 * Registering a worker is more than one step: policy → lock → is its old life still there? → reach it → the roll → link. The lock keeps two
 * replicas from dialing for the same id at once; what is true is decided by the register script.
 */
export class Registrar {
  readonly #options: RegistrarOptions;

  constructor(options: RegistrarOptions) {
    this.#options = options;
  }

  /** `by`: whose word it is (see `speakerOf`), and whose the worker is from now on. */
  async register(info: WorkerInfo, peerIp: string | undefined, by: string): Promise<Registration> {
    const { store, policy, links, maxLinks, pingTimeoutMs } = this.#options;
    policy.check(info.address, peerIp);
    if (links.size >= maxLinks && !links.get(info.pool, info.id)) {
      throw new MusterError(
        'resource_exhausted',
        'TOO_MANY_LINKS',
        `this replica holds as many links as it may (${maxLinks}): register again, another may take it`,
        {
          retryAfterMs: 1000,
        },
      );
    }
    await store.enter(info.pool, by);
    const lock = await store.locks.acquire(keys.workerLock(info.pool, info.id), 3 * pingTimeoutMs, pingTimeoutMs);
    if (!lock)
      throw new MusterError('aborted', 'REGISTRATION_BUSY', `another registration of worker ${info.id} is under way: try again`, {
        retryAfterMs: 500,
      });
    try {
      return await this.#registerLocked(info, lock.signal, by);
    } finally {
      await lock.release();
    }
  }

  async #registerLocked(info: WorkerInfo, lost: AbortSignal, by: string): Promise<Registration> {
    const { store, matching, links, running, clock, onHolding } = this.#options;
    const [before] = await store.readWorkers(info.pool, [info.id]);
    if (before && isForeign(before, by)) throw notYours(info.id, 'id');
    if (before) await this.#refuseWhileOldLifeAnswers(before, info);
    const answer = await this.#reach(info);
    if (lost.aborted)
      throw new MusterError('aborted', 'REGISTRATION_BUSY', `reaching worker ${info.id} took too long: try again`, { retryAfterMs: 500 });

    const known = before !== undefined && before.state !== 'dead';
    // The script's assignments are for a link that is opened with its epoch: they wait for it.
    const registered = await matching.call(info.pool, async () => {
      const matched = await store.within(info.pool, by, () => store.workers.register(info, known, by));
      if (matched.reply.kind === 'ok') {
        links.open({
          ref: { pool: info.pool, id: info.id, boot: info.boot, link: matched.reply.link },
          address: info.address,
          contract: info.contract,
          slots: info.slots,
        });
        const { link, leases } = matched.reply;
        noteForeign(running, { worker: info, link, leases, busy: answer.busy, now: clock.monotonic() });
        failpoint('register-linked');
      }
      return matched;
    });
    switch (registered.kind) {
      case 'superseded':
        throw new MusterError('failed_precondition', 'SUPERSEDED', `boot: a newer life of worker ${info.id} is registered: start with a new boot`, {
          field: 'boot',
        });
      case 'foreign':
        throw notYours(info.id, 'id');
      case 'attached':
        throw new MusterError('already_exists', 'WORKER_EXISTS', `id: worker ${info.id} is attached by a stream: stop it first, or use another id`, {
          field: 'id',
          retryAfterMs: 2000,
        });
      case 'taken':
        throw new MusterError(
          'already_exists',
          'ADDRESS_TAKEN',
          `ip, port: a worker of another identity stands at ${formatAddress(info.address)}: register another address, or again once that one is missed`,
          { field: 'ip', retryAfterMs: 5000 },
        );
      case 'family':
        throw new MusterError(
          'failed_precondition',
          'WRONG_FAMILY',
          `contract: the workers and jobs of pool ${info.pool} are ${registered.family}, this one is ${info.contract}: use another pool`,
          { field: 'contract' },
        );
      case 'ok': {
        const { link } = registered;
        if (answer.busy)
          await matching.call(info.pool, () => store.workers.probed({ pool: info.pool, id: info.id, boot: info.boot, link }, 0, true, []));
        const there = links.get(info.pool, info.id);
        if (there && answer.held?.length) onHolding(there);
        return { boot: info.boot, link };
      }
    }
  }

  /** Two live workers under one id would share one worker's leases. */
  async #refuseWhileOldLifeAnswers(before: WorkerRecord, info: WorkerInfo): Promise<void> {
    const elsewhere = before.boot !== info.boot && before.address !== formatAddress(info.address);
    const target = targetOf(before, before.link);
    if (before.state === 'dead' || !elsewhere || !target) return;
    try {
      if (otherThan(before, await this.#options.probeOnce(target, this.#options.pingTimeoutMs))) return;
    } catch (error) {
      if (error instanceof ProbeFailed) return;
      throw error;
    }
    throw new MusterError('already_exists', 'WORKER_EXISTS', `id: worker ${info.id} answers at ${before.address}: stop it first, or use another id`, {
      field: 'id',
    });
  }

  async #reach(info: WorkerInfo): Promise<ProbeAnswer> {
    const { probeOnce, pingTimeoutMs } = this.#options;
    const { pool, id, boot, address, contract, slots } = info;
    const at = formatAddress(address);
    try {
      const answer = await probeOnce({ ref: { pool, id, boot, link: '0' }, address, contract, slots }, pingTimeoutMs);
      const other = otherThan(info, answer);
      if (other) {
        const field = answer.workerId === '' || answer.workerId === id ? 'boot' : 'id';
        const remedy = `register with the id and boot that it says in Probe`;
        throw new MusterError('failed_precondition', 'WRONG_WORKER', `${field}: who is reached at ${at} ${other}: ${remedy}`, { field });
      }
      return answer;
    } catch (error) {
      if (!(error instanceof ProbeFailed)) throw error;
      throw new MusterError(
        'failed_precondition',
        error.kind === 'untrusted' ? 'UNTRUSTED_WORKER' : 'UNDIALABLE',
        `ip, port: this replica cannot reach a ${contract} worker at ${at}: ${error.message}`,
        {
          field: 'ip',
          retryAfterMs: 1000,
          cause: error,
        },
      );
    }
  }
}

export function draining(): MusterError {
  return unavailable('DRAINING', 'this replica is stopping: call again, another answers');
}
