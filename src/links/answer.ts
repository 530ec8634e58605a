import { busy, type CallReading, failed, failure, MAX_DETAILS_BYTES, type Manner, readCall, released, succeeded } from '../domain/answer.js';
import { Code, type Failure } from '../domain/job.js';
import type { Delivery, LeaseRef } from '../domain/link.js';
import type { Contract } from '../domain/worker.js';
import { JobResponse } from '../grpc/generated/job/job.js';
import type { Failure as WireFailure } from '../grpc/generated/muster/v1/common.js';
import { ExecuteResponse } from '../grpc/generated/muster/v1/runner.js';

export { MAX_DETAILS_BYTES };

/** How the answer of an attempt's call is read, by contract: the table of domain/answer.ts, and what RUNNER and LEGACY say beside it. Pure. */
export interface Reading extends CallReading {
  contract: Exclude<Contract, 'ATTACHED'>;
  lease: LeaseRef;
}

const MAX_MESSAGE_CHARS = 1_024;

export function readAnswer(reading: Reading): Delivery {
  return readCall(reading, mannerOf(reading));
}

function mannerOf(reading: Reading): Manner {
  switch (reading.contract) {
    case 'METHOD':
      return { endsWithCall: true };
    case 'LEGACY':
      return {
        message: (bytes) => readLegacy(bytes, reading.maxResultBytes),
        status: (_, details) => (/busy/i.test(details) ? busy(details) : undefined),
      };
    case 'RUNNER':
      return {
        message: (bytes) => readExecute(reading, ExecuteResponse.decode(bytes)),
        status: (code, details) => (code === Code.FAILED_PRECONDITION ? released(`refused: ${details}`) : undefined),
      };
  }
}

/** undefined: the bytes are the output, as they came. */
function readLegacy(bytes: Buffer, maxResultBytes: number): Delivery | undefined {
  if (bytes.length > maxResultBytes) return undefined;
  const { success, error } = JobResponse.decode(bytes);
  return success ? undefined : failed(Code.UNKNOWN, 'job_failed', error, true, bytes);
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
  if (outcome.$case === 'failure') {
    const { retryDelay } = outcome.value;
    return { kind: 'result', outcome: { ok: false, failure: workerFailure(outcome.value), retryAfterMs: delayMs(retryDelay) } };
  }
  return succeeded(outcome.value, maxResultBytes);
}

/** What a worker may ask for at the most: 366 days. */
const MAX_DELAY_MS = 366 * 86_400_000;

function delayMs(delay: WireFailure['retryDelay']): number | undefined {
  if (delay === undefined) return undefined;
  const ms = Number(delay.seconds) * 1_000 + Math.ceil(delay.nanos / 1_000_000);
  return Number.isNaN(ms) ? undefined : Math.min(Math.max(ms, 0), MAX_DELAY_MS);
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
