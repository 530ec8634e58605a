import { status } from '@grpc/grpc-js';
import { ApiError } from './api-error.js';

/** What a replica refuses for now, in its answer to one job: submitted again after a pause. */
export const BRIEF: ReadonlySet<number> = new Set([status.UNAVAILABLE, status.ABORTED, status.DEADLINE_EXCEEDED]);
/** Answers that show that the pool takes jobs. */
export const TAKEN: ReadonlySet<number> = new Set([status.OK, status.ALREADY_EXISTS, status.RESOURCE_EXHAUSTED]);

/** What no other replica would take either. */
export const HOPELESS: ReadonlySet<number> = new Set([
  status.INVALID_ARGUMENT,
  status.PERMISSION_DENIED,
  status.UNAUTHENTICATED,
  status.UNIMPLEMENTED,
]);

export function closedError(): ApiError {
  return new ApiError(status.CANCELLED, 'CLOSED', 'the client was closed before the outcome came');
}

export function tooManyPending(maxPending: number): ApiError {
  const remedy = 'await some before you submit more';
  return new ApiError(status.RESOURCE_EXHAUSTED, 'TOO_MANY_PENDING', `${maxPending} jobs of this client are under way: ${remedy}`);
}

export function windowFull(window: number, giveUpMs: number): ApiError {
  const why = `${window} jobs of this client are awaited, and none of them ended: await fewer at once`;
  return new ApiError(status.RESOURCE_EXHAUSTED, 'WINDOW_FULL', `given up after ${giveUpMs} ms: ${why}`);
}
