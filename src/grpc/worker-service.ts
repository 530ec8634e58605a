import type { handleBidiStreamingCall } from '@grpc/grpc-js';
import { invalid } from '../domain/errors.js';
import { allowPool, type Identity, speakerOf } from '../domain/identity.js';
import type { Verdict } from '../domain/job.js';
import { checkId, isId } from '../domain/names.js';
import type { ReportedResult, WorkerManager } from '../fleet/worker-manager.js';
import { toReportedOutcome } from './convert-job.js';
import { checkHeld, legacyWorkerInfo, toWorkerInfo, type WorkerLimits } from './convert-worker.js';
import {
  type AttachRequest,
  type AttachResponse,
  Verdict as ProtoVerdict,
  type ReportRequest,
  type WorkerServiceServer,
} from './generated/muster/v1/worker.js';
import type { WorkerServiceServer as LegacyServer } from './generated/worker/worker.js';
import { durationMs, toDuration } from './time.js';
import { ipOf, type Unary } from './unary.js';

export interface WorkerServiceOptions {
  manager: WorkerManager;
  unary: Unary;
  attach: handleBidiStreamingCall<AttachRequest, AttachResponse>;
  limits: WorkerLimits & { maxResultBytes: number };
  /** How often a worker should Ping. */
  pingIntervalMs: number;
  /** Told of leases that a worker named and that are other workers'. */
  onGuess: (leases: number) => void;
  /** This replica asks for credentials: a caller without (at LEGACY_ADDR) has no say over workers of those with. */
  secured?: boolean;
}

const MAX_RESULTS = 64;

/** On the wire. */
export const VERDICTS: Record<Verdict, ProtoVerdict> = {
  accepted: ProtoVerdict.VERDICT_ACCEPTED,
  duplicate: ProtoVerdict.VERDICT_DUPLICATE,
  stale: ProtoVerdict.VERDICT_STALE,
  gone: ProtoVerdict.VERDICT_GONE,
  cancelled: ProtoVerdict.VERDICT_CANCELLED,
  foreign: ProtoVerdict.VERDICT_STALE,
};

/** What workers call. */
export class OrchestratorGrpcServer {
  readonly manager: WorkerManager;
  readonly #options: WorkerServiceOptions;

  constructor(options: WorkerServiceOptions) {
    this.manager = options.manager;
    this.#options = options;
  }

  /** muster.v1.WorkerService. */
  handlers(): WorkerServiceServer {
    const { manager, unary, limits, pingIntervalMs } = this.#options;
    return {
      register: unary(async (request, { peer, identity }) => {
        const info = toWorkerInfo(request, limits, ipOf(peer));
        allowPool(identity, info.pool, 'pool');
        const { boot } = await manager.registerWorker(info, ipOf(peer), this.#by(identity));
        return { success: true, message: '', boot, replica: manager.replica, pingInterval: toDuration(pingIntervalMs) };
      }),
      ping: unary(async ({ pool, id, boot }, { identity }) =>
        manager.ping(allowPool(identity, pool, 'pool'), checkId(id, 'id'), boot, this.#by(identity)),
      ),
      deregister: unary(async ({ pool, id, boot, drainTimeout }, { identity }) => {
        const allowed = allowPool(identity, pool, 'pool');
        const timeoutMs = durationMs(drainTimeout, 'drain_timeout', { zero: true });
        return { held: await manager.deregister(allowed, checkId(id, 'id'), boot, timeoutMs, this.#by(identity)) };
      }),
      report: unary(async (request, { identity }) => this.#report(request, identity)),
      attach: this.#options.attach,
    };
  }

  /** worker.WorkerService, the first contract: the same, with what it cannot say filled in. */
  legacyHandlers(): LegacyServer {
    const { manager, unary, limits } = this.#options;
    return {
      register: unary(async (request, { peer, identity }) => {
        const info = legacyWorkerInfo(request, allowPool(identity, limits.legacyPool, 'pool'), ipOf(peer));
        await manager.registerWorker(info, ipOf(peer), this.#by(identity));
        return { success: true, message: '' };
      }),
      ping: unary(async ({ id }, { identity }) => {
        const pool = allowPool(identity, limits.legacyPool, 'pool');
        const { healthy } = await manager.ping(pool, checkId(id, 'id'), '', this.#by(identity));
        return { healthy };
      }),
    };
  }

  #by(identity: Identity | undefined): string {
    return speakerOf(identity, this.#options.secured ?? false);
  }

  async #report(request: ReportRequest, identity: Identity | undefined) {
    const { manager, limits } = this.#options;
    if (request.results.length > MAX_RESULTS) throw invalid('results', `must be at most ${MAX_RESULTS}`);
    const held = request.beat && checkHeld(request.beat.held, 'beat.held');
    const results = request.results.flatMap((result): ReportedResult[] => {
      const { jobId, fence } = result;
      return isId(jobId) ? [{ jobId, fence, outcome: toReportedOutcome(result, limits) }] : [];
    });
    // Without it, any life of the worker could renew what another one holds.
    if (held && held.length > 0 && request.boot === '') throw invalid('boot', 'must be set beside beat.held: what RegisterAck.boot said');
    const reported = await manager.report({
      pool: allowPool(identity, request.pool, 'pool'),
      worker: checkId(request.workerId, 'worker_id'),
      boot: request.boot,
      results,
      held,
      by: this.#by(identity),
    });
    if (reported.foreign > 0) this.#options.onGuess(reported.foreign);
    const verdicts = reported.verdicts.values();
    return {
      // No job has a name that is none: the worker has nothing to bring again.
      settlements: request.results.map(({ jobId, fence }) => {
        const verdict = isId(jobId) ? (verdicts.next().value ?? 'stale') : 'gone';
        return { jobId, fence, verdict: VERDICTS[verdict] };
      }),
      revoked: reported.revoked.map((lease) => ({ ...lease, done: false, progress: Buffer.alloc(0) })),
    };
  }
}
