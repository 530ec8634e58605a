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
  override readonly name: string = 'ApiError';

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

/** A refusal that asking again does not change. `message` is the server's own, and after it the remedy. */
export abstract class AccessError extends ApiError {
  constructor(
    code: number,
    reason: string,
    /** The server's own words. */
    readonly said: string,
    /** What to do about it, in terms of this SDK's options. */
    readonly remedy: string,
    details?: ApiErrorDetails,
    options?: ErrorOptions,
  ) {
    super(code, reason, `${said}; ${remedy}`, details, options);
  }
}

/** UNAUTHENTICATED: the replicas do not know who asks. */
export class Unauthenticated extends AccessError {
  override readonly name = 'Unauthenticated';
  constructor(reason: string, said: string, details?: ApiErrorDetails, options?: ErrorOptions) {
    super(status.UNAUTHENTICATED, reason, said, 'set `token` to one that the replicas know, or `tls.cert` and `tls.key`', details, options);
  }
}

/** PERMISSION_DENIED: the replicas know who asks, and it may not do that. */
export class PermissionDenied extends AccessError {
  override readonly name = 'PermissionDenied';
  constructor(reason: string, said: string, details?: ApiErrorDetails, options?: ErrorOptions) {
    super(status.PERMISSION_DENIED, reason, said, 'use a `token`, or certificate, that may, or have this one allowed it', details, options);
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
  return apiError(error.code, reason, error.details || error.message, details, { cause: error });
}

/** Of the class that goes with the code. */
export function apiError(code: number, reason: string, message: string, details?: ApiErrorDetails, options?: ErrorOptions): ApiError {
  if (code === status.UNAUTHENTICATED) return new Unauthenticated(reason, message, details, options);
  // An address that may not be dialed is no matter of who asks: what to do stands in the message.
  if (code === status.PERMISSION_DENIED && reason !== 'ADDRESS_REFUSED') return new PermissionDenied(reason, message, details, options);
  return new ApiError(code, reason, message, details, options);
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
