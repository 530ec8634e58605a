import { status } from '@grpc/grpc-js';
import { ApiError } from './api-error.js';
import type { Entry } from './pendings.js';

/** What a replica takes, as it said. */
export interface Limits {
  /** Of one payload. */
  payloadBytes: number;
  /** Of one message. */
  frameBytes: number;
}

/** 0 says nothing. */
export function limitsOf({ maxPayloadBytes, maxFrameBytes }: { maxPayloadBytes: number; maxFrameBytes: number }): Limits {
  return { payloadBytes: maxPayloadBytes || Number.POSITIVE_INFINITY, frameBytes: maxFrameBytes || Number.POSITIVE_INFINITY };
}

export const NO_LIMITS: Limits = limitsOf({ maxPayloadBytes: 0, maxFrameBytes: 0 });

/** Why no replica takes that job. */
export function tooLarge({ spec, bytes }: Entry, { payloadBytes, frameBytes }: Limits): ApiError | undefined {
  const size = spec?.payload.length ?? 0;
  if (size > payloadBytes) return tooLargeError('payload', `has ${size} bytes, and the replicas take ${payloadBytes} (MAX_PAYLOAD_BYTES)`);
  if (bytes > frameBytes) return tooLargeError('spec', `has up to ${bytes} bytes on the wire, and the replicas receive ${frameBytes}`);
  return undefined;
}

export function tooLargeError(field: string, description: string): ApiError {
  const details = { domain: 'muster', metadata: { field }, fields: [{ field, description }], retryAfterMs: undefined };
  return new ApiError(status.INVALID_ARGUMENT, 'TOO_LARGE', `${field}: ${description}`, details);
}

/** The stream broke because one message was larger than the other side, or a proxy between, receives. */
export function brokeByFrame({ code, message }: ApiError): boolean {
  return code === status.RESOURCE_EXHAUSTED && /larger than/i.test(message);
}
