import { describe, expect, it } from 'vitest';
import { MusterError } from '../../../src/domain/errors.js';
import type { Failure, JobRecord, JobState } from '../../../src/domain/job.js';
import { fromJobRecord, type JobLimits, toJobSpec, toJobState, toProtoJobState, toReportedOutcome } from '../../../src/grpc/convert-job.js';
import { type Failure as ProtoFailure, Result } from '../../../src/grpc/generated/muster/v1/common.js';
import { Job, JobSpec, JobState as ProtoJobState, RetryPolicy } from '../../../src/grpc/generated/muster/v1/job.js';

const limits: JobLimits = {
  maxPayloadBytes: 16,
  defaultRunTimeoutMs: 300_000,
  defaultMaxAttempts: 3,
  backoffMs: 1_000,
  maxBackoffMs: 60_000,
  retentionMs: 3_600_000,
  maxRetentionMs: 604_800_000,
};
const ids = { jobId: () => 'made-id', replicaId: () => 'r' };
const clock = { now: () => 1_800_000_000_000 };
const seconds = (count: number) => ({ seconds: String(count), nanos: 0 });

type Part = Partial<Omit<JobSpec, 'retry'>> & { retry?: Partial<RetryPolicy> };

/** Through the wire, so that what is checked is what a caller can send. */
function sent({ retry, ...part }: Part): JobSpec {
  const spec: JobSpec = { ...JobSpec.fromPartial({}), work: { $case: 'kind', value: 'build' }, ...part };
  if (retry !== undefined) spec.retry = { ...RetryPolicy.fromPartial({}), ...retry };
  return JobSpec.decode(JobSpec.encode(spec).finish());
}
const convert = (part: Part) => toJobSpec(sent(part), limits, ids, clock);

function refusal(run: () => unknown): MusterError {
  try {
    run();
  } catch (thrown) {
    if (thrown instanceof MusterError) return thrown;
    throw thrown;
  }
  throw new Error('it was taken');
}

describe('toJobSpec', () => {
  describe('the trace of a job', () => {
    const parent = (digit: string) => `00-${digit.repeat(32)}-${digit.repeat(16)}-01`;
    const caller = { traceId: '1'.repeat(32), spanId: '1'.repeat(16), flags: 1, state: 'c=1' };
    const metadataOf = (metadata: Record<string, string>) => toJobSpec(sent({ metadata }), limits, ids, clock, 'spec', caller).metadata;

    it('is its own, then that of the call; what is none is left out and refuses nothing', () => {
      expect(metadataOf({ a: 'b', traceparent: parent('2') })).toEqual({ a: 'b', traceparent: parent('2') });
      expect(metadataOf({ a: 'b' })).toEqual({ a: 'b', traceparent: parent('1'), tracestate: 'c=1' });
      expect(metadataOf({ traceparent: 'nonsense', tracestate: 'x'.repeat(9_000) })).toEqual({ traceparent: parent('1'), tracestate: 'c=1' });
      expect(convert({ metadata: { traceparent: 'nonsense', tracestate: 'a=1' } }).metadata).toEqual({});
    });

    it('takes nothing of the room for metadata', () => {
      const entries = Object.fromEntries(Array.from({ length: 32 }, (_, i) => [`k${i}`, 'v']));
      expect(Object.keys(metadataOf({ ...entries, traceparent: parent('2'), tracestate: 'a=1' }))).toHaveLength(34);
      expect(refusal(() => metadataOf({ ...entries, k32: 'v' })).field).toBe('spec.metadata');
    });
  });

  it('fills in the defaults', () => {
    expect(convert({})).toEqual({
      digest: expect.any(String),
      pool: 'default',
      id: 'made-id',
      kind: 'build',
      method: '',
      payload: Buffer.alloc(0),
      metadata: {},
      priority: 0,
      notBefore: 0,
      queueTimeoutMs: 0,
      runTimeoutMs: 300_000,
      totalTimeoutMs: 0,
      retry: { maxAttempts: 3, initialBackoffMs: 1_000, maxBackoffMs: 60_000, multiplier: 2, fatalCodes: [] },
      retentionMs: 3_600_000,
    });
  });

  it('keeps what is given', () => {
    const spec = convert({
      id: 'j.1:a_b-c',
      pool: 'builds',
      work: { $case: 'method', value: '/acme.Builder/Build' },
      payload: Buffer.from('sixteen bytes ok'),
      metadata: { 'trace-id': 'ü' },
      priority: 3,
      notBefore: new Date(1_800_000_001_234),
      queueTimeout: seconds(1),
      runTimeout: { seconds: '0', nanos: 5_000_000 },
      totalTimeout: seconds(3),
      retry: { maxAttempts: 100, initialBackoff: seconds(2), maxBackoff: seconds(2), multiplier: 1.5, fatalCodes: [1, 16] },
      retention: seconds(604_800),
    });
    expect(spec).toEqual({
      digest: expect.any(String),
      pool: 'builds',
      id: 'j.1:a_b-c',
      kind: '',
      method: '/acme.Builder/Build',
      payload: Buffer.from('sixteen bytes ok'),
      metadata: { 'trace-id': 'ü' },
      priority: 3,
      notBefore: 1_800_000_001_234,
      queueTimeoutMs: 1_000,
      runTimeoutMs: 5,
      totalTimeoutMs: 3_000,
      retry: { maxAttempts: 100, initialBackoffMs: 2_000, maxBackoffMs: 2_000, multiplier: 1.5, fatalCodes: [1, 16] },
      retentionMs: 604_800_000,
    });
  });

  it('moves the default of one backoff bound so that it fits the other one', () => {
    expect(convert({ retry: { initialBackoff: seconds(120) } }).retry).toMatchObject({ initialBackoffMs: 120_000, maxBackoffMs: 120_000 });
    expect(convert({ retry: { maxBackoff: { seconds: '0', nanos: 10_000_000 } } }).retry).toMatchObject({ initialBackoffMs: 10, maxBackoffMs: 10 });
  });

  it('takes metadata at its bounds', () => {
    const full = Object.fromEntries(Array.from({ length: 32 }, (_, i) => [`k${String(i).padStart(2, '0')}`, 'x'.repeat(253)]));
    expect(Object.keys(convert({ metadata: full }).metadata)).toHaveLength(32);
    expect(convert({ metadata: { ['k'.repeat(63)]: '' } }).metadata).toEqual({ ['k'.repeat(63)]: '' });
  });

  const bad: [string, Part][] = [
    ['spec.kind', { work: undefined }],
    ['spec.kind', { work: { $case: 'kind', value: '' } }],
    ['spec.kind', { work: { $case: 'kind', value: 'k'.repeat(64) } }],
    ['spec.method', { work: { $case: 'method', value: 'Build' } }],
    ['spec.id', { id: '-a' }],
    ['spec.id', { id: 'a'.repeat(129) }],
    ['spec.pool', { pool: 'Builds' }],
    ['spec.payload', { payload: Buffer.alloc(17) }],
    ['spec.metadata', { metadata: Object.fromEntries(Array.from({ length: 33 }, (_, i) => [`k${i}`, ''])) }],
    ['spec.metadata', { metadata: { k: 'x'.repeat(8192) } }],
    ['spec.metadata', { metadata: { kk: 'ü'.repeat(4096) } }],
    ['spec.metadata["Trace"]', { metadata: { Trace: '' } }],
    ['spec.metadata[""]', { metadata: { '': 'x' } }],
    [`spec.metadata["${'k'.repeat(63)}"]`, { metadata: { ['k'.repeat(64)]: '' } }],
    ['spec.priority', { priority: 4 }],
    ['spec.not_before', { notBefore: new Date(clock.now() + 366 * 86_400_000 + 1) }],
    ['spec.not_before', { notBefore: new Date(-1) }],
    ['spec.queue_timeout', { queueTimeout: seconds(0) }],
    ['spec.run_timeout', { runTimeout: seconds(-1) }],
    ['spec.total_timeout', { totalTimeout: { seconds: '0', nanos: 1_000_000_000 } }],
    ['spec.retention', { retention: seconds(604_801) }],
    ['spec.retention', { retention: seconds(31_622_401) }],
    ['spec.retry.max_attempts', { retry: { maxAttempts: 101 } }],
    ['spec.retry.initial_backoff', { retry: { initialBackoff: seconds(0) } }],
    ['spec.retry.max_backoff', { retry: { maxBackoff: seconds(-1) } }],
    ['spec.retry.max_backoff', { retry: { initialBackoff: seconds(2), maxBackoff: seconds(1) } }],
    ['spec.retry.multiplier', { retry: { multiplier: 0.5 } }],
    ['spec.retry.multiplier', { retry: { multiplier: 10.1 } }],
    ['spec.retry.multiplier', { retry: { multiplier: -2 } }],
    ['spec.retry.multiplier', { retry: { multiplier: Number.NaN } }],
    ['spec.retry.multiplier', { retry: { multiplier: Number.POSITIVE_INFINITY } }],
    ['spec.retry.fatal_codes', { retry: { fatalCodes: Array.from({ length: 17 }, () => 3) } }],
    ['spec.retry.fatal_codes[1]', { retry: { fatalCodes: [1, 0] } }],
    ['spec.retry.fatal_codes[0]', { retry: { fatalCodes: [17] } }],
  ];
  it.each(bad)('refuses a bad %s, naming it', (field, part) => {
    const error = refusal(() => convert(part));
    expect(error).toMatchObject({ code: 'invalid_argument', field });
    expect(error.message.length).toBeGreaterThan(field.length + 10);
  });

  it('refuses a date that is none, as the wire can carry it', () => {
    const beyond = Buffer.from('4208' + '08ffffffffffff7f', 'hex');
    expect(refusal(() => toJobSpec(JobSpec.decode(Buffer.concat([Buffer.from('1a0162', 'hex'), beyond])), limits, ids, clock)).field).toBe(
      'spec.not_before',
    );
  });

  it('names fields as the caller nested them, and a spec that is missing', () => {
    expect(refusal(() => toJobSpec(sent({ priority: 9 }), limits, ids, clock, 'specs[3]')).field).toBe('specs[3].priority');
    expect(refusal(() => toJobSpec(undefined, limits, ids, clock, 'specs[3]')).field).toBe('specs[3]');
  });
});

const record: JobRecord = {
  spec: convert({ id: 'j', payload: Buffer.from('p'), metadata: { a: 'b' }, notBefore: new Date(5_000) }),
  state: 'succeeded',
  attempt: 2,
  handovers: 1,
  worker: 'w',
  output: Buffer.from('out'),
  createdAt: 1_000,
  startedAt: 2_000,
  finishedAt: 3_000,
  nextAt: 0,
  waitingReason: '',
  progress: Buffer.from('half'),
};

describe('fromJobRecord', () => {
  it('gives a job that survives the wire and converts back to the same spec', () => {
    const job = Job.decode(Job.encode(fromJobRecord(record)).finish());
    expect(toJobSpec(job.spec, limits, ids, clock)).toMatchObject({ ...record.spec, digest: expect.any(String) });
    expect(job).toMatchObject({
      state: ProtoJobState.JOB_STATE_SUCCEEDED,
      attempt: 2,
      handovers: 1,
      worker: 'w',
      outcome: { $case: 'output', value: Buffer.from('out') },
      createTime: new Date(1_000),
      startTime: new Date(2_000),
      finishTime: new Date(3_000),
      progress: Buffer.from('half'),
    });
    expect(job.nextTime).toBeUndefined();
  });

  it('tells an empty output from none, and shows a failure', () => {
    expect(fromJobRecord({ ...record, output: Buffer.alloc(0) }).outcome).toEqual({ $case: 'output', value: Buffer.alloc(0) });
    expect(fromJobRecord({ ...record, output: undefined }).outcome).toBeUndefined();
    const failure: Failure = { code: 3, message: 'm', reason: 'r', retryable: false, details: Buffer.from('d') };
    expect(fromJobRecord({ ...record, output: undefined, failure }).outcome).toEqual({ $case: 'failure', value: failure });
  });
});

describe('job states', () => {
  const states: JobState[] = ['scheduled', 'waiting', 'running', 'succeeded', 'failed', 'cancelled', 'expired'];
  it('go both ways', () => {
    expect(states.map(toProtoJobState)).toEqual([1, 2, 3, 4, 5, 6, 7]);
    expect(states.map((state) => toJobState(toProtoJobState(state)))).toEqual(states);
  });
  it('UNSPECIFIED is no state, and an unknown number is refused by name', () => {
    expect(toJobState(ProtoJobState.JOB_STATE_UNSPECIFIED)).toBeUndefined();
    expect(refusal(() => toJobState(8 as ProtoJobState)).message).toBe('state: 8 is no JobState known here');
    expect(refusal(() => toJobState(-1 as ProtoJobState)).field).toBe('state');
  });
});

describe('toReportedOutcome', () => {
  const convertResult = (outcome: Result['outcome']) => {
    const result = Result.decode(Result.encode({ jobId: 'j', fence: '1', outcome }).finish());
    return toReportedOutcome(result, { maxResultBytes: 4 });
  };
  const failed = (part: Partial<ProtoFailure>) =>
    convertResult({
      $case: 'failure',
      value: { code: 0, message: '', reason: '', retryable: false, details: Buffer.alloc(0), retryDelay: undefined, ...part },
    });

  it('takes an output, an empty one too; one that is too long or missing is a failure', () => {
    expect(convertResult({ $case: 'output', value: Buffer.from('abcd') })).toEqual({ ok: true, output: Buffer.from('abcd') });
    expect(convertResult({ $case: 'output', value: Buffer.alloc(0) })).toEqual({ ok: true, output: Buffer.alloc(0) });
    const message = 'the result has 5 bytes, MAX_RESULT_BYTES is 4';
    expect(convertResult({ $case: 'output', value: Buffer.alloc(5) })).toMatchObject({
      ok: false,
      failure: { code: 8, reason: 'result_too_large', message, retryable: false },
    });
    expect(convertResult(undefined)).toMatchObject({ ok: false, failure: { code: 13, reason: 'bad_answer', retryable: true } });
  });

  it('takes a failure as it is when it is within bounds', () => {
    const failure = { code: 16, message: 'm', reason: 'disk_full', retryable: true, details: Buffer.alloc(4096) };
    expect(failed(failure)).toEqual({ ok: false, failure });
  });

  it.each([0, 17, -1])('reads code %i as UNKNOWN', (code) => {
    expect(failed({ code })).toMatchObject({ failure: { code: 2, retryable: false } });
  });

  it('cuts a long message between two characters', () => {
    const outcome = failed({ code: 3, message: `a${'ü'.repeat(4096)}` });
    expect(outcome).toMatchObject({ failure: { message: `a${'ü'.repeat(2047)}` } });
  });

  it('makes one word of a reason', () => {
    expect(failed({ code: 3, reason: 'no space\nleft' })).toMatchObject({ failure: { reason: 'no_space_left' } });
    expect(failed({ code: 3, reason: '😀'.repeat(100) })).toMatchObject({ failure: { reason: '_'.repeat(64) } });
  });

  it("takes a worker's delay in whole ms, brought within 0 and 366 days", () => {
    const asked = (seconds: string, nanos = 0) => failed({ code: 3, retryDelay: { seconds, nanos } });
    expect(asked('1', 500_000_001)).toMatchObject({ retryAfterMs: 1_501 });
    expect(asked('0')).toMatchObject({ retryAfterMs: 0 });
    expect(asked('-5')).toMatchObject({ retryAfterMs: 0 });
    expect(asked('99999999999')).toMatchObject({ retryAfterMs: 366 * 86_400_000 });
    expect(failed({ code: 3 })).toMatchObject({ retryAfterMs: undefined });
  });

  it('leaves out details that are too long, and says the rest', () => {
    const long = { code: 3, message: 'm', reason: 'r', retryable: true, details: Buffer.alloc(4097) };
    expect(failed(long)).toMatchObject({ failure: { ...long, details: Buffer.alloc(0) } });
  });
});
