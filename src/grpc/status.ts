import { Metadata, status as Status } from '@grpc/grpc-js';
import { type ErrorCode, MusterError } from '../domain/errors.js';
import { cutUtf8 } from './checks.js';
import type { Any } from './generated/google/protobuf/any.js';
import { BadRequest, ErrorInfo, RetryInfo } from './generated/google/rpc/error_details.js';
import { Status as RpcStatus } from './generated/google/rpc/status.js';
import { toDuration } from './time.js';

export const ERROR_DOMAIN = 'muster';
export const DETAILS_KEY = 'grpc-status-details-bin';
/** Texts travel in HTTP/2 headers, percent-encoded and once more in the details: so few bytes of each. */
const MAX_TEXT_BYTES = 1024;
const MAX_FIELD_BYTES = 256;
const INTERNAL_MESSAGE = 'an internal error; the replica has logged it';

const CODES: Record<ErrorCode, Status> = {
  invalid_argument: Status.INVALID_ARGUMENT,
  unauthenticated: Status.UNAUTHENTICATED,
  permission_denied: Status.PERMISSION_DENIED,
  failed_precondition: Status.FAILED_PRECONDITION,
  already_exists: Status.ALREADY_EXISTS,
  aborted: Status.ABORTED,
  not_found: Status.NOT_FOUND,
  resource_exhausted: Status.RESOURCE_EXHAUSTED,
  unavailable: Status.UNAVAILABLE,
  internal: Status.INTERNAL,
};

/** What a handler's callback takes as its error. */
export interface StatusReply {
  code: Status;
  details: string;
  metadata: Metadata;
}

/** An error in the words that go out. */
export interface ErrorWords {
  /** A google.rpc.Code. */
  code: Status;
  message: string;
  /** The word for machines. */
  reason: string;
}

/** The words for whatever was thrown. What we did not mean to say, and everything internal, is INTERNAL with a message that tells nothing. */
export function wordsOf(thrown: unknown): ErrorWords {
  if (!(thrown instanceof MusterError)) return { code: Status.INTERNAL, message: INTERNAL_MESSAGE, reason: 'INTERNAL' };
  if (thrown.code === 'internal') return { code: Status.INTERNAL, message: INTERNAL_MESSAGE, reason: thrown.reason };
  return { code: CODES[thrown.code], message: cutUtf8(thrown.message, MAX_TEXT_BYTES), reason: thrown.reason };
}

/**
 * The gRPC status for whatever was thrown: code, message, and a google.rpc.Status in `grpc-status-details-bin` with ErrorInfo always,
 * BadRequest when a field is at fault, RetryInfo when it makes sense to try again.
 */
export function toStatus(thrown: unknown): StatusReply {
  const { code, message, reason } = wordsOf(thrown);
  const field = thrown instanceof MusterError && thrown.field !== undefined ? cutUtf8(thrown.field, MAX_FIELD_BYTES) : undefined;
  const retryAfterMs = thrown instanceof MusterError ? thrown.retryAfterMs : undefined;
  const details = [pack('ErrorInfo', ErrorInfo.encode({ reason, domain: ERROR_DOMAIN, metadata: field === undefined ? {} : { field } }))];
  if (field !== undefined) {
    const description = message.startsWith(`${field}: `) ? message.slice(field.length + 2) : message;
    details.push(pack('BadRequest', BadRequest.encode({ fieldViolations: [{ field, description }] })));
  }
  if (retryAfterMs !== undefined) details.push(pack('RetryInfo', RetryInfo.encode({ retryDelay: toDuration(retryAfterMs) })));
  const metadata = new Metadata();
  metadata.set(DETAILS_KEY, Buffer.from(RpcStatus.encode({ code, message, details }).finish()));
  return { code, details: message, metadata };
}

function pack(name: string, encoded: { finish(): Uint8Array }): Any {
  return { typeUrl: `type.googleapis.com/google.rpc.${name}`, value: Buffer.from(encoded.finish()) };
}
