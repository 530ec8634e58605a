/**
 * The one closed set of errors. Their mapping to gRPC status is one exhaustive function at the edge (`grpc/status.ts`).
 *
 * `reason` is the word for machines that goes out as `ErrorInfo.reason`.
 */
export type ErrorCode =
  | 'invalid_argument'
  | 'unauthenticated'
  | 'permission_denied'
  | 'failed_precondition'
  | 'already_exists'
  | 'aborted'
  | 'not_found'
  | 'resource_exhausted'
  | 'unavailable'
  | 'internal';

export interface ErrorOptions {
  /** The field at fault, as the caller wrote it: `spec.retry.max_attempts`. */
  field?: string;
  /** When it makes sense to try again, in ms. */
  retryAfterMs?: number;
  cause?: unknown;
}

export class MusterError extends Error {
  override readonly name = 'MusterError';
  readonly field: string | undefined;
  readonly retryAfterMs: number | undefined;

  constructor(
    readonly code: ErrorCode,
    readonly reason: string,
    message: string,
    options: ErrorOptions = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.field = options.field;
    this.retryAfterMs = options.retryAfterMs;
  }
}

/** A field that cannot be taken. The message names it and says what can. */
export function invalid(field: string, remedy: string): MusterError {
  return new MusterError('invalid_argument', 'INVALID_FIELD', `${field}: ${remedy}`, { field });
}

/** Redis did not answer, or not in time: what was asked may have happened. Asking again under the same id is safe. */
export function unavailable(reason: string, message: string, cause?: unknown): MusterError {
  return new MusterError('unavailable', reason, message, { cause, retryAfterMs: 200 });
}

export function toError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}
