import { Code } from '../domain/job.js';
import type { Assignment, Failure, Result } from '../grpc/generated/muster/v1/common.js';
import { toDuration } from './duration.js';
import { type AbortWhy, AttemptError } from './errors.js';

/** A failure's text ends up in Redis and in many answers. */
const MESSAGE_MAX = 1_024;
const DETAILS_MAX = 4_096;
const NO_BYTES = Buffer.alloc(0);

/** The failure of an attempt whose handler threw that. `why`: it had been aborted. */
export function failureOf(thrown: unknown, why: AbortWhy | undefined): Failure {
  const message = cut(thrown instanceof Error ? thrown.message : String(thrown));
  if (why !== undefined) {
    const reason = why === 'draining' ? 'draining' : 'aborted';
    return { code: Code.CANCELLED, message, reason, retryable: true, details: NO_BYTES, retryDelay: undefined };
  }
  if (!(thrown instanceof AttemptError))
    return { code: Code.UNKNOWN, message, reason: 'handler_threw', retryable: true, details: NO_BYTES, retryDelay: undefined };
  const { code, reason, retryable, retryAfterMs, details } = thrown;
  const kept = details.length <= DETAILS_MAX ? Buffer.from(details) : NO_BYTES;
  return { code, message, reason, retryable, details: kept, retryDelay: retryAfterMs === undefined ? undefined : toDuration(retryAfterMs) };
}

/** A failure that the SDK itself found. */
export function failureResult(
  { jobId, fence }: Pick<Assignment, 'jobId' | 'fence'>,
  code: number,
  reason: string,
  message: string,
  retryable = true,
): Result {
  const failure: Failure = { code, message: cut(message), reason, retryable, details: NO_BYTES, retryDelay: undefined };
  return { jobId, fence, outcome: { $case: 'failure', value: failure } };
}

/** The bytes that a result takes on the wire, roughly. */
export function sizeOf({ outcome }: Result): number {
  if (outcome?.$case === 'output') return outcome.value.length + 64;
  return outcome?.$case === 'failure' ? outcome.value.message.length * 3 + outcome.value.details.length + 128 : 64;
}

function cut(message: string): string {
  return message.slice(0, MESSAGE_MAX);
}
