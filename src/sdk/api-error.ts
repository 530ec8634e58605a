import { type ServiceError, status } from '@grpc/grpc-js';
import { BadRequest, ErrorInfo, RetryInfo } from '../grpc/generated/google/rpc/error_details.js';
import { Status } from '../grpc/generated/google/rpc/status.js';
import { fromDuration } from './duration.js';

/** What came along with a refusal in `grpc-status-details-bin`; empty where the server sent none. */
export interface ApiErrorDetails {
  /** ErrorInfo's. */
  domain: string;
  metadata: Record<string, string>;
  /** The fields at fault, as the caller wrote them. */
  fields: { field: string; description: string }[];
  /** When it makes sense to try again. */
  retryAfterMs: number | undefined;
}

/** A call that brought no answer. `message` is the server's own, or grpc-js's when no server was reached. */
export class ApiError extends Error {
  override readonly name = 'ApiError';

  constructor(
    /** A grpc status, never OK. */
    readonly code: number,
    /** ErrorInfo.reason: the word for machines; '' when the server gave none. */
    readonly reason: string,
    message: string,
    readonly details: ApiErrorDetails = noDetails(),
    options?: ErrorOptions,
  ) {
    super(message, options);
  }

  /** The code's name, such as `NOT_FOUND`. */
  get codeName(): string {
    return codeName(this.code);
  }

  /**
   * The call broke, or brought no answer in time: what was asked may or may not have happened. Worth asking again, for what is
   * idempotent. INTERNAL counts only where grpc-js made it out of a broken stream; CANCELLED, because a stopping server resets streams so.
   */
  get broken(): boolean {
    if (this.code === status.INTERNAL) return this.message.includes('RST_STREAM');
    return BROKEN.has(this.code);
  }
}

const BROKEN: ReadonlySet<number> = new Set([status.UNAVAILABLE, status.ABORTED, status.DEADLINE_EXCEEDED, status.CANCELLED]);

/** The name of a grpc status (and google.rpc.Code), such as `NOT_FOUND`; `CODE_99` for one that is none. */
export function codeName(code: number): string {
  return status[code] ?? `CODE_${code}`;
}

/** Reads grpc-js's error; details that cannot be decoded are left out, never thrown over. */
export function toApiError(error: ServiceError): ApiError {
  const bytes = error.metadata?.get('grpc-status-details-bin')[0];
  const { reason, details } = Buffer.isBuffer(bytes) ? decodeDetails(bytes) : { reason: '', details: noDetails() };
  return new ApiError(error.code, reason, error.details || error.message, details, { cause: error });
}

function decodeDetails(bytes: Buffer): { reason: string; details: ApiErrorDetails } {
  const details = noDetails();
  let reason = '';
  try {
    for (const any of Status.decode(bytes).details) {
      const type = any.typeUrl.slice(any.typeUrl.lastIndexOf('/') + 1);
      if (type === 'google.rpc.ErrorInfo') {
        const info = ErrorInfo.decode(any.value);
        reason = info.reason;
        details.domain = info.domain;
        details.metadata = info.metadata;
      } else if (type === 'google.rpc.BadRequest') {
        details.fields.push(...BadRequest.decode(any.value).fieldViolations);
      } else if (type === 'google.rpc.RetryInfo') {
        details.retryAfterMs = fromDuration(RetryInfo.decode(any.value).retryDelay);
      }
    }
  } catch {
    // Bytes of some other software between us and the server: the status itself still says what happened.
  }
  return { reason, details };
}

function noDetails(): ApiErrorDetails {
  return { domain: '', metadata: {}, fields: [], retryAfterMs: undefined };
}
