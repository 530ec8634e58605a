import type { Clock } from '../domain/clock.js';
import { failpoint } from '../domain/failpoints.js';
import { type Assignment, Code, type Outcome } from '../domain/job.js';
import type { Delivery, LeaseRef, Link } from '../domain/link.js';
import type { Observer } from '../domain/observer.js';
import type { WorkerRef } from '../domain/worker.js';
import type { JobScripts } from '../store/scripts/jobs.js';
import { PoolBatchers } from './batcher.js';
import type { Finisher } from './finisher.js';
import type { Matching } from './matching.js';
import type { Attempt, Running } from './running.js';

export interface DispatcherOptions {
  jobs: JobScripts;
  matching: Matching;
  finisher: Finisher;
  running: Running;
  links: {
    get(pool: string, id: string): Link | undefined;
    /** The link on which the call for that lease is open; otherwise the worker's link. */
    carrying(lease: LeaseRef): Link | undefined;
  };
  clock: Clock;
  /** An assignment older than that is asked for again before it is sent. */
  acceptAgeMs: number;
  batchMax: number;
  maxQueue: number;
  /** The call of that attempt broke: ask the worker, and settle it. `outcome`: what to say of it if it proves lost. */
  onDoubtful: (attempt: Attempt, outcome: Outcome) => void;
  /** Redis says that this replica is the worker's home, and it has no link: make one, if that is still so. Answers whether there is one. */
  openLink: (pool: string, worker: string, epoch: string) => Promise<boolean>;
  /** The worker was told to stop that attempt: ask it whether it has. */
  onAborted: (attempt: LeaseRef) => void;
  observer: Pick<Observer, 'batch' | 'assigned'>;
  onError: (error: unknown) => void;
}

/** For replies that came in one piece with this one to be looked at: they wait for no more than microtasks. */
const TURN_MS = 1;

type Hinted = LeaseRef & { link: string };

const ABORTED: Outcome = {
  ok: false,
  failure: { code: Code.CANCELLED, message: 'aborted by its replica', reason: 'aborted', retryable: true, details: Buffer.alloc(0) },
};

/** Sends assignments to workers, and reads what their calls come to. */
export class Dispatcher {
  readonly #options: DispatcherOptions;
  readonly #accepts: PoolBatchers<Hinted, boolean>;

  constructor(options: DispatcherOptions) {
    this.#options = options;
    const { jobs, matching, batchMax, maxQueue, observer } = options;
    this.#accepts = new PoolBatchers((pool) => ({
      run: (items) => {
        observer.batch('accept', items.length);
        return matching.call(pool, () => jobs.accept(pool, items));
      },
      sizeOf: () => 0,
      maxItems: batchMax,
      maxBytes: Number.POSITIVE_INFINITY,
      maxQueue,
    }));
  }

  /** Out of a script's reply. `calledAt`: monotonic ms at which the script was called. */
  deliver(assignments: Assignment[], calledAt: number): void {
    const { clock, acceptAgeMs } = this.#options;
    const old = clock.monotonic() - calledAt > acceptAgeMs;
    for (const assignment of assignments) {
      if (this.#options.running.get(lease(assignment))) continue;
      // The lease may have moved on while we did not look: a replica that was stopped for a while must not wake up and send it.
      if (old) this.ask({ ...lease(assignment), link: assignment.link });
      else void this.#send(assignment);
    }
  }

  /** A lease that may be ours: its assignment comes back through `deliver` if it is. */
  ask(hinted: Hinted): void {
    this.#accepts.add(hinted.pool, hinted).catch((error: unknown) => this.#options.onError(error));
  }

  /** The job was cancelled, or its lease taken away: the worker is told to stop it. */
  async abort(lease: LeaseRef): Promise<void> {
    const { links, running, onAborted } = this.#options;
    await links.carrying(lease)?.abort(lease.jobId, lease.fence);
    const attempt = running.get(lease);
    if (attempt && attempt.phase !== 'calling' && attempt.phase !== 'finishing') running.remove(lease);
    onAborted(lease);
  }

  /**
   * What a call came to. `ref` is the worker at the other end of the link: a delivery counts for that incarnation of that worker alone, whatever
   * lease it names. Redis compares them once more.
   */
  delivered(lease: LeaseRef, ref: WorkerRef, delivery: Delivery): void {
    const { finisher, running, onDoubtful } = this.#options;
    const there = running.get(lease);
    if (there && there.boot !== ref.boot) {
      // An older incarnation speaks of a lease of the present one. Nothing here is changed; Redis has the last word on its result.
      if (delivery.kind === 'result') finisher.settle(this.#attempt(lease, ref), delivery.outcome);
      return;
    }
    // Forgotten since it was sent: its worker attached anew and is sent it again. Were it taken up here, that would be left out.
    if (!there && delivery.kind === 'accepted') return;
    const attempt = there ?? this.#track(lease, ref);
    switch (delivery.kind) {
      case 'result':
        return finisher.settle(attempt, delivery.outcome);
      case 'aborted':
        // A LEGACY worker hears nothing of it, and a RUNNER may not heed it: the slot stays taken until the worker says that it is free of it.
        if (!delivery.stopped) return running.remove(attempt);
        return finisher.settle(attempt, ABORTED);
      case 'accepted':
        attempt.phase = 'accepted';
        return;
      case 'released':
        return finisher.release(attempt, delivery);
      case 'unknown':
        attempt.phase = 'doubtful';
        return onDoubtful(attempt, delivery.outcome);
    }
  }

  async #send(assignment: Assignment): Promise<void> {
    const { links, finisher, openLink, matching, clock, observer } = this.#options;
    const { pool, worker, link: epoch } = assignment;
    // The reply to the script that made this replica the worker's home may have been lost.
    if (!links.get(pool, worker) && !(await openLink(pool, worker, epoch))) {
      return finisher.release({ ...lease(assignment), link: epoch }, { reason: 'its replica had no link to the worker', blocked: false });
    }
    // Two replies of Redis may come in one piece: the one that makes the link of this epoch may be looked at after this one. Sent over the
    // link before, the assignment would go to a stream that its worker has left.
    if (links.get(pool, worker)?.ref.link !== epoch) await clock.sleep(TURN_MS);
    const link = links.get(pool, worker);
    if (this.#options.running.get(lease(assignment))) return;
    if (link?.ref.link !== epoch) return matching.doubt(pool);
    this.#track(lease(assignment), link.ref, { contract: link.contract, runTimeoutMs: assignment.runTimeoutMs });
    observer.assigned(assignment);
    failpoint('assign-unsent');
    link.assign(assignment);
  }

  #track(lease: LeaseRef, ref: WorkerRef, sent: Pick<Attempt, 'contract' | 'runTimeoutMs'> = {}): Attempt {
    const attempt = { ...this.#attempt(lease, ref), ...sent };
    this.#options.running.add(attempt);
    return attempt;
  }

  #attempt({ pool, worker, jobId, fence }: LeaseRef, { boot, link }: WorkerRef): Attempt {
    return { pool, worker, jobId, fence, boot, link, phase: 'calling', since: this.#options.clock.monotonic(), vouchedAt: 0 };
  }
}

function lease({ pool, worker, jobId, fence }: Assignment): LeaseRef {
  return { pool, worker, jobId, fence };
}
