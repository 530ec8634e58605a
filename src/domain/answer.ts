import { Code, type Failure, type Outcome } from './job.js';
import type { Delivery } from './link.js';

/**
 * How the answer of a gRPC call that runs an attempt is read; for the replica's own calls to dialed workers, and for a sidecar's to the
 * server beside it. Pure.
 *
 * One rule stands above the table: only what cannot have begun is `released`. That is what was never sent, what HTTP/2 says was not
 * processed, and what the worker itself refused. Whatever broke after sending is `unknown`, with the failure to use if it proves lost.
 */

/**
 * Why there is no connection. `refused`: somebody said no, or nobody listens. `silent`: nothing was heard by the bound, or the network itself
 * failed. `untrusted`: who answers cannot show by its certificate that it is who was wanted, or speaks no TLS.
 */
export type Unreached = 'refused' | 'silent' | 'untrusted';

/** What a call came to, before anyone reads a meaning into it. */
export interface Answer {
  code: number;
  details: string;
  /** The response message; set when code is OK. */
  bytes?: Buffer;
  /** Did a stream for it ever exist? `sent` in every case of doubt. The others mean that the worker cannot have seen it. */
  reach: 'sent' | Unreached;
  /** The status came from the worker, not from our own gRPC stack. */
  spoke: boolean;
  /** The worker had begun to answer (initial metadata came). */
  headers: boolean;
  /** That one stream was refused on a connection that lives on, which HTTP/2 allows only before any processing. */
  refusedStream: boolean;
}

/** A status that is not OK, of a call that may have been sent, as gRPC's stack tells it. */
export interface BrokenCall {
  code: number;
  details: string;
  /** The content type that came in one frame with the status; '' where gRPC's stack made the status itself. */
  contentType: string;
  /** Response headers of gRPC came before. */
  headers: boolean;
  /** The connection goes on. */
  alive: boolean;
}

export function answered(bytes: Buffer | undefined): Answer {
  return { code: Code.OK, details: '', bytes: bytes ?? Buffer.alloc(0), reach: 'sent', spoke: true, headers: true, refusedStream: false };
}

export function unsent(code: number, details: string, reach: Unreached): Answer {
  return { code, details, reach, spoke: false, headers: false, refusedStream: false };
}

export function broken({ code, details, contentType, headers, alive }: BrokenCall): Answer {
  const oneFrame = isGrpc(contentType);
  return {
    code,
    details,
    reach: 'sent',
    spoke: oneFrame || (headers && !madeHere(code, details)),
    headers,
    refusedStream: alive && details === 'Stream refused by server' && !oneFrame,
  };
}

export function isGrpc(contentType: string): boolean {
  return contentType.startsWith('application/grpc');
}

/** After the headers came, trailers and local breaks look alike but for these. In doubt it was made here: no sign of life. */
function madeHere(code: number, details: string): boolean {
  if (code === Code.UNAVAILABLE || code === Code.DEADLINE_EXCEEDED || code === Code.CANCELLED) return true;
  return /^(Received RST_STREAM|Bandwidth exhausted|Protocol not secure)/.test(details);
}

export interface CallReading {
  answer: Answer;
  /** The kind or method asked for; for messages. */
  work: string;
  /** We asked for its end. */
  aborted: boolean;
  maxResultBytes: number;
}

/** What a contract reads differently from the table. */
export interface Manner {
  /** The message of an OK. May throw: then the answer cannot be decoded. Default: the bytes are the output. */
  message?(bytes: Buffer): Delivery | undefined;
  /** The worker's own status, not OK, and neither RESOURCE_EXHAUSTED nor UNIMPLEMENTED. */
  status?(code: number, details: string): Delivery | undefined;
  /** The end of its call is all that it will ever say of a run that we aborted. */
  endsWithCall?: true;
}

export const MAX_DETAILS_BYTES = 4_096;
const MAX_MESSAGE_CHARS = 1_024;

/** The caller's mistake: the same request would fail again. */
const FATAL: ReadonlySet<number> = new Set([
  Code.INVALID_ARGUMENT,
  Code.NOT_FOUND,
  Code.PERMISSION_DENIED,
  Code.FAILED_PRECONDITION,
  Code.UNAUTHENTICATED,
  Code.OUT_OF_RANGE,
  Code.ALREADY_EXISTS,
]);
const BROKEN: ReadonlySet<number> = new Set([Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.CANCELLED]);

/** grpc-js's own words for an OK without exactly one message: it ran, so it is not an unknown method. */
const NOT_ONE_MESSAGE = /^(No message received|Too many responses received)$/;
const TOO_LARGE = /larger than|exceeds maximum size/i;
const OUR_LIMIT = /^Attempted to send message/;

export function readCall(reading: CallReading, manner: Manner = {}): Delivery {
  const { answer, aborted } = reading;
  if (answer.code === Code.OK) return readMessage(reading, manner);
  if (aborted && answer.code === Code.CANCELLED) return { kind: 'aborted', stopped: stopped(answer, manner) };
  if (OUR_LIMIT.test(answer.details)) return failed(answer.code, 'payload_too_large', answer.details, false);
  if (answer.reach !== 'sent') return aborted ? { kind: 'aborted', stopped: true } : unreachable(answer);
  if (answer.code === Code.RESOURCE_EXHAUSTED && TOO_LARGE.test(answer.details)) return overLimit(answer);
  if (answer.refusedStream) return released(`stream refused: ${answer.details}`);
  if (!answer.spoke) return lost(answer);
  return readStatus(reading, manner);
}

/**
 * Who is not reached or not trusted now will hardly be in a moment: it gets no jobs until a probe has reached it, and the job goes elsewhere.
 * Not so where it is us who did not send it: because the link has ended, or because of the call itself, which must not go round for ever.
 */
function unreachable({ code, details }: Answer): Delivery {
  const unreached = code === Code.UNAVAILABLE || code === Code.DEADLINE_EXCEEDED;
  return { kind: 'released', reason: `unreachable: ${details}`.slice(0, MAX_MESSAGE_CHARS), blocked: unreached, unreached };
}

/** A call that we ended ourselves says nothing of the run, unless it was never sent. */
function stopped({ reach, spoke }: Answer, { endsWithCall }: Manner): boolean {
  return endsWithCall === true || reach !== 'sent' || spoke;
}

function readStatus({ answer, work }: CallReading, manner: Manner): Delivery {
  const { code, details } = answer;
  if (code === Code.RESOURCE_EXHAUSTED) return busy(details);
  if (code === Code.UNIMPLEMENTED) {
    return NOT_ONE_MESSAGE.test(details)
      ? failed(Code.INTERNAL, 'bad_answer', details, true)
      : released(`unimplemented: the worker does not know ${work}`);
  }
  const own = manner.status?.(code, details);
  if (own !== undefined) return own;
  if (BROKEN.has(code)) return lost(answer);
  return failed(code, 'worker_error', details, !FATAL.has(code));
}

function readMessage({ answer, maxResultBytes }: CallReading, manner: Manner): Delivery {
  const bytes = answer.bytes ?? Buffer.alloc(0);
  try {
    return manner.message?.(bytes) ?? succeeded(bytes, maxResultBytes);
  } catch (thrown) {
    return failed(Code.INTERNAL, 'bad_answer', `the worker's answer cannot be decoded: ${String(thrown)}`, true);
  }
}

export function failure(code: number, reason: string, message: string, retryable: boolean, details: Buffer = Buffer.alloc(0)): Outcome {
  const kept = details.length <= MAX_DETAILS_BYTES ? details : Buffer.alloc(0);
  return { ok: false, failure: { code, message: message.slice(0, MAX_MESSAGE_CHARS), reason, retryable, details: kept } satisfies Failure };
}

export function failed(code: number, reason: string, message: string, retryable: boolean, details?: Buffer): Delivery {
  return { kind: 'result', outcome: failure(code, reason, message, retryable, details) };
}

export function succeeded(output: Uint8Array, maxResultBytes: number): Delivery {
  if (output.length > maxResultBytes) return { kind: 'result', outcome: tooLarge(output.length, maxResultBytes) };
  return { kind: 'result', outcome: { ok: true, output: Buffer.from(output.buffer, output.byteOffset, output.byteLength) } };
}

/** The end of a job whose output is larger than what is kept. */
export function tooLarge(bytes: number, maxResultBytes: number): Outcome {
  return failure(Code.RESOURCE_EXHAUSTED, 'result_too_large', `the result has ${bytes} bytes, MAX_RESULT_BYTES is ${maxResultBytes}`, false);
}

export function released(reason: string): Delivery {
  return { kind: 'released', reason: reason.slice(0, MAX_MESSAGE_CHARS), blocked: false };
}

export function busy(details: string): Delivery {
  return { kind: 'released', reason: `busy: ${details}`.slice(0, MAX_MESSAGE_CHARS), blocked: true };
}

/**
 * Headers before the status: our own limit met the response. Without, it is the worker's word: its limit on what it sends, or on what it
 * takes, and neither is a lack of slots.
 */
function overLimit({ code, details, headers }: Answer): Delivery {
  return failed(code, headers || /\bsen[dt]\b/i.test(details) ? 'result_too_large' : 'payload_too_large', details, false);
}

function lost({ code, details }: Answer): Delivery {
  return { kind: 'unknown', outcome: failure(code, code === Code.DEADLINE_EXCEEDED ? 'run_timeout' : 'worker_lost', details, true) };
}
