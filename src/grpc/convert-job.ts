import { failure, MAX_DETAILS_BYTES, tooLarge } from '../domain/answer.js';
import type { Clock, Ids } from '../domain/clock.js';
import { invalid } from '../domain/errors.js';
import { Code, type Failure, type JobRecord, type JobSpec, type JobState, type NewJob, type Outcome, type RetryPolicy } from '../domain/job.js';
import { checkId, checkKind, checkMethod, checkPool } from '../domain/names.js';
import { readTrace, TRACEPARENT, TRACESTATE, type TraceContext, traceOf, withoutTrace, writeTrace } from '../domain/trace.js';
import { checkEntries, checkInteger, cutUtf8, entryField } from './checks.js';
import type { Failure as ProtoFailure, Result as ProtoResult } from './generated/muster/v1/common.js';
import {
  type Job as ProtoJob,
  type JobSpec as ProtoJobSpec,
  JobState as ProtoJobState,
  type RetryPolicy as ProtoRetryPolicy,
} from './generated/muster/v1/job.js';
import { contentDigest } from './job-digest.js';
import { boundedMs, dateMs, durationMs, toDate, toDuration } from './time.js';

const MAX_METADATA_ENTRIES = 32;
const MAX_METADATA_BYTES = 8 * 1024;
const METADATA_KEY = /^[a-z0-9_.-]{1,63}$/;
const MAX_PRIORITY = 3;
const MAX_ATTEMPTS = 100;
const MAX_MULTIPLIER = 10;
const DEFAULT_MULTIPLIER = 2;
const MAX_FATAL_CODES = 16;
const MAX_CODE = 16;
const MAX_MESSAGE_BYTES = 4 * 1024;
const MAX_REASON_BYTES = 64;
const NO_BYTES = Buffer.alloc(0);

/** The configured limits and defaults of a submission. Times in ms. */
export interface JobLimits {
  maxPayloadBytes: number;
  defaultRunTimeoutMs: number;
  defaultMaxAttempts: number;
  backoffMs: number;
  maxBackoffMs: number;
  retentionMs: number;
  maxRetentionMs: number;
}

/**
 * A submitted job, checked and with its defaults filled in; an empty id gets a new one. Throws `invalid` with the field as the caller
 * wrote it, below `field`. `caller`: the trace of the call, for a job that names none.
 */
export function toJobSpec(
  spec: ProtoJobSpec | undefined,
  limits: JobLimits,
  ids: Ids,
  clock: Pick<Clock, 'now'>,
  field = 'spec',
  caller?: TraceContext,
): NewJob {
  if (spec === undefined) throw invalid(field, 'must be set');
  const { length } = spec.payload;
  if (length > limits.maxPayloadBytes) throw invalid(`${field}.payload`, `must be at most ${limits.maxPayloadBytes} bytes, and has ${length}`);
  return {
    pool: checkPool(spec.pool, `${field}.pool`),
    id: spec.id === '' ? ids.jobId() : checkId(spec.id, `${field}.id`),
    ...toWork(spec.work, field),
    payload: spec.payload,
    metadata: toMetadata(spec.metadata, `${field}.metadata`, caller),
    priority: checkInteger(spec.priority, `${field}.priority`, 0, MAX_PRIORITY),
    notBefore: dateMs(spec.notBefore, `${field}.not_before`, clock.now()),
    queueTimeoutMs: durationMs(spec.queueTimeout, `${field}.queue_timeout`) ?? 0,
    runTimeoutMs: durationMs(spec.runTimeout, `${field}.run_timeout`) ?? limits.defaultRunTimeoutMs,
    totalTimeoutMs: durationMs(spec.totalTimeout, `${field}.total_timeout`) ?? 0,
    retry: toRetry(spec.retry, limits, `${field}.retry`),
    retentionMs: toRetention(spec.retention, limits, `${field}.retention`),
    digest: contentDigest(spec),
  };
}

function toRetention(retention: ProtoJobSpec['retention'], limits: JobLimits, field: string): number {
  const ms = durationMs(retention, field) ?? limits.retentionMs;
  if (ms <= limits.maxRetentionMs) return ms;
  throw invalid(field, `must be at most ${limits.maxRetentionMs / 1000} s: ask for less, or raise MUSTER_MAX_RETENTION_MS`);
}

function toWork(work: ProtoJobSpec['work'], field: string): Pick<JobSpec, 'kind' | 'method'> {
  switch (work?.$case) {
    case 'kind':
      return { kind: checkKind(work.value, `${field}.kind`), method: '' };
    case 'method':
      return { kind: '', method: checkMethod(work.value, `${field}.method`) };
    case undefined:
      throw invalid(`${field}.kind`, 'set a kind or a method');
  }
}

/** The trace context of a call; undefined: it has none that can be read. */
export function callerOf(header: (name: string) => string | undefined): TraceContext | undefined {
  const parent = header(TRACEPARENT);
  return parent === undefined ? undefined : readTrace(parent, header(TRACESTATE));
}

/** The trace is ours to check, and bounded by itself: it takes nothing of the job's room, and what is wrong with it refuses no job. */
function toMetadata(sent: Record<string, string>, field: string, caller: TraceContext | undefined): Record<string, string> {
  const metadata = withoutTrace(sent);
  let bytes = 0;
  for (const [key, value] of checkEntries(metadata, field, MAX_METADATA_ENTRIES)) {
    if (!METADATA_KEY.test(key)) throw invalid(entryField(field, key), 'a key is 1 to 63 of a-z, 0-9, "_", "." and "-"');
    bytes += key.length + Buffer.byteLength(value);
  }
  if (bytes > MAX_METADATA_BYTES) throw invalid(field, `must be at most ${MAX_METADATA_BYTES} bytes in all, keys and values, and has ${bytes}`);
  const trace = traceOf(sent) ?? caller;
  return trace === undefined ? metadata : { ...metadata, ...writeTrace(trace) };
}

/** One bound of the backoff that the caller set moves the other one's default, so that the two never contradict each other. */
function toRetry(retry: ProtoRetryPolicy | undefined, limits: JobLimits, field: string): RetryPolicy {
  const initial = durationMs(retry?.initialBackoff, `${field}.initial_backoff`);
  const max = durationMs(retry?.maxBackoff, `${field}.max_backoff`);
  if (initial !== undefined && max !== undefined && max < initial) throw invalid(`${field}.max_backoff`, 'must not be less than initial_backoff');
  return {
    maxAttempts: checkInteger(retry?.maxAttempts ?? 0, `${field}.max_attempts`, 0, MAX_ATTEMPTS) || limits.defaultMaxAttempts,
    initialBackoffMs: initial ?? Math.min(limits.backoffMs, max ?? limits.maxBackoffMs),
    maxBackoffMs: max ?? Math.max(limits.maxBackoffMs, initial ?? 0),
    multiplier: checkMultiplier(retry?.multiplier ?? 0, `${field}.multiplier`),
    fatalCodes: checkFatalCodes(retry?.fatalCodes ?? [], `${field}.fatal_codes`),
  };
}

function checkMultiplier(multiplier: number, field: string): number {
  if (multiplier === 0) return DEFAULT_MULTIPLIER;
  if (!(multiplier >= 1 && multiplier <= MAX_MULTIPLIER)) throw invalid(field, `must be 1 to ${MAX_MULTIPLIER}, or 0 for ${DEFAULT_MULTIPLIER}`);
  return multiplier;
}

function checkFatalCodes(codes: number[], field: string): number[] {
  if (codes.length > MAX_FATAL_CODES) throw invalid(field, `must have at most ${MAX_FATAL_CODES} entries`);
  return codes.map((code, i) => checkInteger(code, `${field}[${i}]`, 1, MAX_CODE));
}

/** A job as clients see it. `record` may lack payload and output (lists do): then so does the job. */
export function fromJobRecord(record: JobRecord): ProtoJob {
  return {
    spec: fromJobSpec(record.spec),
    state: toProtoJobState(record.state),
    attempt: record.attempt,
    worker: record.worker,
    outcome: fromOutcome(record),
    createTime: toDate(record.createdAt),
    startTime: toDate(record.startedAt),
    finishTime: toDate(record.finishedAt),
    nextTime: toDate(record.nextAt),
    waitingReason: record.waitingReason,
    progress: record.progress,
    handovers: record.handovers,
  };
}

function fromOutcome({ output, failure }: JobRecord): ProtoJob['outcome'] {
  if (output !== undefined) return { $case: 'output', value: output };
  return failure === undefined ? undefined : { $case: 'failure', value: { ...failure, retryDelay: undefined } };
}

function fromJobSpec(spec: JobSpec): ProtoJobSpec {
  const orUnset = (ms: number) => (ms > 0 ? toDuration(ms) : undefined);
  return {
    id: spec.id,
    pool: spec.pool,
    work: spec.method === '' ? { $case: 'kind', value: spec.kind } : { $case: 'method', value: spec.method },
    payload: spec.payload,
    metadata: spec.metadata,
    priority: spec.priority,
    notBefore: toDate(spec.notBefore),
    queueTimeout: orUnset(spec.queueTimeoutMs),
    runTimeout: orUnset(spec.runTimeoutMs),
    totalTimeout: orUnset(spec.totalTimeoutMs),
    retry: {
      maxAttempts: spec.retry.maxAttempts,
      initialBackoff: orUnset(spec.retry.initialBackoffMs),
      maxBackoff: orUnset(spec.retry.maxBackoffMs),
      multiplier: spec.retry.multiplier,
      fatalCodes: spec.retry.fatalCodes,
    },
    retention: orUnset(spec.retentionMs),
  };
}

const STATES: Record<JobState, ProtoJobState> = {
  scheduled: ProtoJobState.JOB_STATE_SCHEDULED,
  waiting: ProtoJobState.JOB_STATE_WAITING,
  running: ProtoJobState.JOB_STATE_RUNNING,
  succeeded: ProtoJobState.JOB_STATE_SUCCEEDED,
  failed: ProtoJobState.JOB_STATE_FAILED,
  cancelled: ProtoJobState.JOB_STATE_CANCELLED,
  expired: ProtoJobState.JOB_STATE_EXPIRED,
};
const STATE_NAMES = new Map(Object.entries(STATES).map(([name, number]) => [number, name as JobState]));

export function toProtoJobState(state: JobState): ProtoJobState {
  return STATES[state];
}

/** undefined for UNSPECIFIED. Throws `invalid` for a number that this version does not know. */
export function toJobState(state: ProtoJobState, field = 'state'): JobState | undefined {
  if (state === ProtoJobState.JOB_STATE_UNSPECIFIED) return undefined;
  const name = STATE_NAMES.get(state);
  if (name === undefined) throw invalid(field, `${state} is no JobState known here`);
  return name;
}

/**
 * What a worker reports of an attempt, in our bounds. It is news that must not be lost over its wording, and a worker brings a refused result
 * again and again: an output above MAX_RESULT_BYTES and a missing outcome become the attempt's failure.
 */
export function toReportedOutcome(result: ProtoResult, { maxResultBytes }: { maxResultBytes: number }): Outcome {
  switch (result.outcome?.$case) {
    case 'output': {
      const output = result.outcome.value;
      return output.length <= maxResultBytes ? { ok: true, output } : tooLarge(output.length, maxResultBytes);
    }
    case 'failure':
      return { ok: false, failure: toFailure(result.outcome.value), retryAfterMs: boundedMs(result.outcome.value.retryDelay) };
    case undefined:
      return failure(Code.INTERNAL, 'bad_answer', 'the result has neither an output nor a failure that this replica knows', true);
  }
}

/** A worker's failure in our bounds: a long message is cut, a code that is none becomes UNKNOWN, a reason becomes one word. Details above 4 KiB are left out: cut, they could not be decoded. */
export function toFailure({ code, message, reason, retryable, details }: ProtoFailure): Failure {
  return {
    code: Number.isInteger(code) && code >= 1 && code <= MAX_CODE ? code : Code.UNKNOWN,
    message: cutUtf8(message, MAX_MESSAGE_BYTES),
    reason: reason.replace(/\W/gu, '_').slice(0, MAX_REASON_BYTES),
    retryable,
    details: details.length <= MAX_DETAILS_BYTES ? details : NO_BYTES,
  };
}
