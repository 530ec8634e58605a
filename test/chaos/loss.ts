import type { Operation } from './history.js';

/**
 * A loss of writes that a fault brings about and declares: what Redis was told within it may be gone, or be as it was before. What was
 * acknowledged outside of it must be kept. ms since 1970.
 */
export interface Loss {
  /** -Infinity: nothing of what was before is kept. */
  from: number;
  to: number;
}

/** Acknowledged by what was lost. */
export function mayBeGone({ ackedAt }: Operation, loss: Loss | undefined): boolean {
  return loss !== undefined && ackedAt !== undefined && ackedAt >= loss.from && ackedAt <= loss.to;
}

/** Begun before the end of the loss, and not over before its beginning: it may have run, or have been told to have, and Redis not know. */
export function mayBeOtherwise({ invokedAt, end }: Operation, loss: Loss | undefined): boolean {
  return loss !== undefined && invokedAt <= loss.to && (end === undefined || end.at >= loss.from);
}
