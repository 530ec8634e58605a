import type { WorkerRef } from '../domain/worker.js';

/** A worker that somebody else than its home should try to reach. */
export interface CheckTarget extends WorkerRef {
  /** The home that cannot reach it, or is gone. */
  home: string;
  /** What it showed is not trusted by the home either, whose keys others are met by. */
  distrusted?: boolean;
}

/** Gets workers checked by another replica; `health/` does it over BullMQ. */
export interface CheckQueue {
  request(targets: CheckTarget[]): Promise<void>;
}

/** May this replica judge others now? Not while its event loop lags, or Redis does not answer it: then the fault is likely its own. */
export interface Judgement {
  sound(): Promise<boolean>;
}
