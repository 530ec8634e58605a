import { Code, type Failure, type Outcome } from '../domain/job.js';
import type { Delivery, LeaseRef } from '../domain/link.js';
import type { Contract } from '../domain/worker.js';
import { JobResponse } from '../grpc/generated/job/job.js';
import type { Failure as WireFailure } from '../grpc/generated/muster/v1/common.js';
import { ExecuteResponse } from '../grpc/generated/muster/v1/runner.js';
import type { Answer } from './wire.js';

/**
 * How the answer of an attempt's call is read. Pure.
 *
 * One rule stands above the table: only what cannot have begun is `released`. That is what was never sent, what HTTP/2 says was not
 * processed, and what the worker itself refused. Whatever broke after sending is `unknown`, with the failure to use if it proves lost.
 */
export interface Reading {
  contract: Exclude<Contract, 'ATTACHED'>;
  answer: Answer;
  lease: LeaseRef;
  /** The kind or method asked for; for messages. */
  work: string;
  /** We asked for its end. */
  aborted: boolean;
  maxResultBytes: number;
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

export function readAnswer(reading: Reading): Delivery {
  const { answer, aborted } = reading;
  if (answer.code === Code.OK) return readMessage(reading, answer.bytes ?? Buffer.alloc(0));
  if (aborted && answer.code === Code.CANCELLED) return { kind: 'aborted' };
  if (OUR_LIMIT.test(answer.details)) return failed(answer.code, 'payload_too_large', answer.details, false);
  if (answer.reach !== 'sent') return aborted ? { kind: 'aborted' } : released(`unreachable: ${answer.details}`);
  if (answer.code === Code.RESOURCE_EXHAUSTED && TOO_LARGE.test(answer.details)) return tooLarge(answer);
  if (answer.refusedStream) return released(`stream refused: ${answer.details}`);
  if (!answer.spoke) return lost(answer);
  return readStatus(reading);
}

/** The worker's own status, not OK. */
function readStatus({ contract, answer, work }: Reading): Delivery {
  const { code, details } = answer;
  if (code === Code.RESOURCE_EXHAUSTED) return busy(details);
  if (code === Code.UNIMPLEMENTED) {
    return NOT_ONE_MESSAGE.test(details)
      ? failed(Code.INTERNAL, 'bad_answer', details, true)
      : released(`unimplemented: the worker does not know ${work}`);
  }
  if (contract === 'RUNNER' && code === Code.FAILED_PRECONDITION) return released(`refused: ${details}`);
  if (contract === 'LEGACY' && /busy/i.test(details)) return busy(details);
  if (BROKEN.has(code)) return lost(answer);
  return failed(code, 'worker_error', details, !FATAL.has(code));
}

function readMessage(reading: Reading, bytes: Buffer): Delivery {
  const { contract, maxResultBytes } = reading;
  try {
    if (contract === 'RUNNER') return readExecute(reading, ExecuteResponse.decode(bytes));
    if (bytes.length > maxResultBytes) return overLimit(bytes.length, maxResultBytes);
    if (contract === 'LEGACY') {
      const response = JobResponse.decode(bytes);
      if (!response.success) return failed(Code.UNKNOWN, 'job_failed', response.error, true, bytes);
    }
    return succeeded(bytes);
  } catch (thrown) {
    return failed(Code.INTERNAL, 'bad_answer', `the worker's answer cannot be decoded: ${String(thrown)}`, true);
  }
}

function readExecute({ lease, maxResultBytes }: Reading, { answer }: ExecuteResponse): Delivery {
  if (answer?.$case === 'accepted') return { kind: 'accepted' };
  if (answer === undefined) return failed(Code.INTERNAL, 'bad_answer', 'neither a result nor accepted', true);
  const { jobId, fence, outcome } = answer.value;
  if (jobId !== lease.jobId || fence !== lease.fence) {
    // What became of this lease, such an answer does not say.
    return { kind: 'unknown', outcome: failure(Code.INTERNAL, 'bad_answer', `a result of (${jobId}, ${fence}) instead`, true) };
  }
  if (outcome === undefined) return failed(Code.INTERNAL, 'bad_answer', 'a result without an outcome', true);
  if (outcome.$case === 'failure') return { kind: 'result', outcome: { ok: false, failure: workerFailure(outcome.value) } };
  if (outcome.value.length > maxResultBytes) return overLimit(outcome.value.length, maxResultBytes);
  return succeeded(outcome.value);
}

/** A worker's own Failure, brought within the limits of what is stored. */
function workerFailure({ code, message, reason, retryable, details }: WireFailure): Failure {
  const known = code >= Code.CANCELLED && code <= Code.UNAUTHENTICATED;
  return {
    code: known ? code : Code.UNKNOWN,
    message: message.slice(0, MAX_MESSAGE_CHARS),
    reason: reason === '' ? 'worker_error' : reason.slice(0, 128),
    retryable,
    details: details.length <= MAX_DETAILS_BYTES ? Buffer.from(details) : Buffer.alloc(0),
  };
}

function failure(code: number, reason: string, message: string, retryable: boolean, details: Buffer = Buffer.alloc(0)): Outcome {
  const kept = details.length <= MAX_DETAILS_BYTES ? details : Buffer.alloc(0);
  return { ok: false, failure: { code, message: message.slice(0, MAX_MESSAGE_CHARS), reason, retryable, details: kept } };
}

function failed(code: number, reason: string, message: string, retryable: boolean, details?: Buffer): Delivery {
  return { kind: 'result', outcome: failure(code, reason, message, retryable, details) };
}

function succeeded(output: Uint8Array): Delivery {
  return { kind: 'result', outcome: { ok: true, output: Buffer.from(output.buffer, output.byteOffset, output.byteLength) } };
}

function overLimit(size: number, limit: number): Delivery {
  return failed(Code.RESOURCE_EXHAUSTED, 'result_too_large', `the result has ${size} bytes, MAX_RESULT_BYTES is ${limit}`, false);
}

/**
 * Headers before the status: our own limit met the response. Without, it is the worker's word: its limit on what it sends, or on what it
 * takes, and neither is a lack of slots.
 */
function tooLarge({ code, details, headers }: Answer): Delivery {
  return failed(code, headers || /\bsen[dt]\b/i.test(details) ? 'result_too_large' : 'payload_too_large', details, false);
}

function lost({ code, details }: Answer): Delivery {
  return { kind: 'unknown', outcome: failure(code, code === Code.DEADLINE_EXCEEDED ? 'run_timeout' : 'worker_lost', details, true) };
}

function released(reason: string): Delivery {
  return { kind: 'released', reason: reason.slice(0, MAX_MESSAGE_CHARS), blocked: false };
}

function busy(details: string): Delivery {
  return { kind: 'released', reason: `busy: ${details}`.slice(0, MAX_MESSAGE_CHARS), blocked: true };
}
