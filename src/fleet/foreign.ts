import type { WorkerRecord } from '../domain/worker.js';
import type { Running } from '../jobs/running.js';
import type { AdoptedLease } from '../store/scripts/workers.js';

export interface TakenOver {
  worker: Pick<WorkerRecord, 'pool' | 'id' | 'boot' | 'contract'>;
  /** The link epoch under which this replica owns it. */
  link: string;
  leases: readonly AdoptedLease[];
  /** The worker said that it runs something. */
  busy: boolean;
  /** Monotonic ms. */
  now: number;
}

/**
 * Notes the leases of a LEGACY worker that this replica took over from an owner that is gone. What such a worker runs cannot be asked for
 * again, so its lease is renewed until the worker says that it is free. So is a lease that was never confirmed, if the worker says that it is
 * busy: it can only be busy with that. A METHOD worker says neither: its leases run out.
 */
export function noteForeign(running: Running, { worker, link, leases, busy, now }: TakenOver): void {
  const { pool, id, boot, contract } = worker;
  if (contract !== 'LEGACY') return;
  for (const { jobId, fence, delivered, quarantined } of leases) {
    const lease = { pool, worker: id, jobId, fence };
    if ((!delivered && !busy) || quarantined || running.get(lease)) continue;
    running.add({ ...lease, boot, link, contract, phase: 'foreign', since: now, vouchedAt: delivered ? now : 0 });
  }
}
