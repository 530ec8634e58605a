import { describe, expect, it } from 'vitest';
import { Code } from '../../../src/domain/job.js';
import { JobResponse } from '../../../src/grpc/generated/job/job.js';
import { ExecuteResponse } from '../../../src/grpc/generated/muster/v1/runner.js';
import { MAX_DETAILS_BYTES, type Reading, readAnswer } from '../../../src/links/answer.js';
import type { Answer } from '../../../src/links/wire.js';

const lease = { pool: 'p', worker: 'w', jobId: 'j', fence: '7' };
const CONTRACTS = ['RUNNER', 'LEGACY', 'METHOD'] as const;

function read(contract: Reading['contract'], answer: Partial<Answer>, fields: Partial<Reading> = {}) {
  const whole: Answer = { code: Code.OK, details: 'why', reach: 'sent', spoke: true, headers: false, refusedStream: false, ...answer };
  return readAnswer({ contract, answer: whole, lease, work: 'k', aborted: false, maxResultBytes: 100, ...fields });
}

/** One word a reading: what becomes of the attempt. */
function word(delivery: ReturnType<typeof read>): string {
  if (delivery.kind === 'released') return delivery.unreached ? 'unreached' : delivery.blocked ? 'busy' : 'released';
  if (delivery.kind === 'unknown') return delivery.outcome.ok ? 'unknown' : `unknown ${delivery.outcome.failure.reason}`;
  if (delivery.kind !== 'result') return delivery.kind;
  if (delivery.outcome.ok) return 'ok';
  return delivery.outcome.failure.retryable ? 'retry' : 'fail';
}

/** [code, RUNNER, LEGACY, METHOD] */
const TABLE: [keyof typeof Code, string, string, string][] = [
  ['CANCELLED', 'unknown worker_lost', 'unknown worker_lost', 'unknown worker_lost'],
  ['UNKNOWN', 'retry', 'retry', 'retry'],
  ['INVALID_ARGUMENT', 'fail', 'fail', 'fail'],
  ['DEADLINE_EXCEEDED', 'unknown run_timeout', 'unknown run_timeout', 'unknown run_timeout'],
  ['NOT_FOUND', 'fail', 'fail', 'fail'],
  ['ALREADY_EXISTS', 'fail', 'fail', 'fail'],
  ['PERMISSION_DENIED', 'fail', 'fail', 'fail'],
  ['RESOURCE_EXHAUSTED', 'busy', 'busy', 'busy'],
  ['FAILED_PRECONDITION', 'released', 'fail', 'fail'],
  ['ABORTED', 'retry', 'retry', 'retry'],
  ['OUT_OF_RANGE', 'fail', 'fail', 'fail'],
  ['UNIMPLEMENTED', 'released', 'released', 'released'],
  ['INTERNAL', 'retry', 'retry', 'retry'],
  ['UNAVAILABLE', 'unknown worker_lost', 'unknown worker_lost', 'unknown worker_lost'],
  ['DATA_LOSS', 'retry', 'retry', 'retry'],
  ['UNAUTHENTICATED', 'fail', 'fail', 'fail'],
];

describe('the answer of a call', () => {
  it('has a row for every code but OK', () => {
    expect(TABLE.map(([name]) => name).sort()).toEqual(
      Object.keys(Code)
        .filter((name) => name !== 'OK')
        .sort(),
    );
  });

  it.each(TABLE)('%s is read as %s (RUNNER), %s (LEGACY), %s (METHOD) when the worker says it', (name, ...expected) => {
    expect(CONTRACTS.map((contract) => word(read(contract, { code: Code[name] })))).toEqual(expected);
  });

  it.each(TABLE)('%s is never more than unknown when it was made on our side after sending', (name) => {
    const words = CONTRACTS.map((contract) => word(read(contract, { code: Code[name], spoke: false })));
    expect(words).toEqual(CONTRACTS.map(() => (name === 'DEADLINE_EXCEEDED' ? 'unknown run_timeout' : 'unknown worker_lost')));
  });

  it.each(TABLE)(
    '%s is released when it was never sent: by UNAVAILABLE or DEADLINE_EXCEEDED the worker was not reached, by all else it was us',
    (name) => {
      for (const contract of CONTRACTS) {
        for (const reach of ['refused', 'silent'] as const) {
          expect(word(read(contract, { code: Code[name], reach, spoke: false }))).toBe(
            ['UNAVAILABLE', 'DEADLINE_EXCEEDED'].includes(name) ? 'unreached' : 'released',
          );
        }
      }
    },
  );

  it('is released when the worker was not trusted, who is given nothing more until a probe has reached it', () => {
    for (const contract of CONTRACTS) {
      const unsent = { code: Code.UNAVAILABLE, reach: 'untrusted', spoke: false } as const;
      expect(read(contract, unsent)).toEqual({ kind: 'released', reason: 'unreachable: why', blocked: true, unreached: true });
      expect(word(read(contract, unsent, { aborted: true }))).toBe('aborted');
    }
  });

  it('keeps the code in the failure to use if an unknown one proves lost', () => {
    for (const code of [Code.UNAVAILABLE, Code.INTERNAL, Code.DEADLINE_EXCEEDED]) {
      expect(read('METHOD', { code, spoke: false })).toMatchObject({ outcome: { ok: false, failure: { code, message: 'why', retryable: true } } });
    }
  });

  it('is aborted only by CANCELLED after our abort, or when it was never sent', () => {
    for (const contract of CONTRACTS) {
      expect(word(read(contract, { code: Code.CANCELLED }, { aborted: true }))).toBe('aborted');
      expect(word(read(contract, { code: Code.CANCELLED, spoke: false }, { aborted: true }))).toBe('aborted');
      expect(word(read(contract, { code: Code.UNAVAILABLE, reach: 'refused', spoke: false }, { aborted: true }))).toBe('aborted');
      expect(word(read(contract, { code: Code.UNAVAILABLE, spoke: false }, { aborted: true }))).toBe('unknown worker_lost');
    }
  });

  it('is released when HTTP/2 refused its stream', () => {
    expect(word(read('METHOD', { code: Code.UNAVAILABLE, spoke: false, refusedStream: true }))).toBe('released');
  });

  it('takes any LEGACY error that says busy for that, and only there', () => {
    for (const code of [Code.UNKNOWN, Code.ABORTED, Code.FAILED_PRECONDITION, Code.UNAVAILABLE]) {
      expect(word(read('LEGACY', { code, details: 'Worker Busy' }))).toBe('busy');
      expect(word(read('METHOD', { code, details: 'Worker Busy' }))).not.toBe('busy');
    }
    expect(word(read('LEGACY', { code: Code.UNAVAILABLE, details: 'device busy', spoke: false }))).toBe('unknown worker_lost');
  });

  it.each([
    ['Received message larger than max (9 vs 8)', true, 'result_too_large'],
    ['Received message that decompresses to a size larger than 8', true, 'result_too_large'],
    ['Sent message larger than max (9 vs. 8)', false, 'result_too_large'],
    ['grpc: trying to send message larger than max (9 vs. 8)', false, 'result_too_large'],
    ['grpc: received message larger than max (9 vs. 8)', false, 'payload_too_large'],
    ['gRPC message exceeds maximum size 8: 9', false, 'payload_too_large'],
    ['Attempted to send message with a size larger than 8', false, 'payload_too_large'],
  ])('reads the size limit "%s" as a failure and not as busy', (details, headers, reason) => {
    const failure = { code: Code.RESOURCE_EXHAUSTED, reason, retryable: false };
    for (const contract of CONTRACTS) {
      expect(read(contract, { code: Code.RESOURCE_EXHAUSTED, details, headers })).toMatchObject({ kind: 'result', outcome: { ok: false, failure } });
    }
  });

  it('does not take an OK without a message for an unknown method', () => {
    const delivery = read('METHOD', { code: Code.UNIMPLEMENTED, details: 'No message received', headers: true });
    expect(delivery).toMatchObject({ kind: 'result', outcome: { failure: { code: Code.INTERNAL, reason: 'bad_answer' } } });
  });

  it.each(['LEGACY', 'METHOD'] as const)('takes a %s result up to the limit and not above', (contract) => {
    const logs = (length: number) =>
      Buffer.from(JobResponse.encode({ jobId: '', success: true, logs: 'x'.repeat(length - 4), imageUrl: '', error: '' }).finish());
    expect(logs(100)).toHaveLength(100);
    expect(read(contract, { bytes: logs(100) })).toEqual({ kind: 'result', outcome: { ok: true, output: logs(100) } });
    expect(read(contract, { bytes: logs(101) })).toMatchObject({
      outcome: { failure: { code: Code.RESOURCE_EXHAUSTED, reason: 'result_too_large', retryable: false } },
    });
  });

  it('keeps the bytes of a failed LEGACY job only as long as they are short', () => {
    const failed = (length: number) => {
      const bytes = Buffer.from(JobResponse.encode({ jobId: 'j', success: false, logs: 'x'.repeat(length), imageUrl: '', error: 'e' }).finish());
      const delivery = read('LEGACY', { bytes }, { maxResultBytes: 100_000 });
      return { bytes, details: delivery.kind === 'result' && !delivery.outcome.ok ? delivery.outcome.failure.details : undefined };
    };
    const short = failed(MAX_DETAILS_BYTES - 20);
    expect(short.details).toEqual(short.bytes);
    expect(failed(MAX_DETAILS_BYTES).details).toHaveLength(0);
  });

  it('calls bytes that are no JobResponse a bad answer', () => {
    expect(read('LEGACY', { bytes: Buffer.from([0xff, 0xff]) })).toMatchObject({
      outcome: { failure: { code: Code.INTERNAL, reason: 'bad_answer', retryable: true } },
    });
  });
});

describe('the answer of Execute', () => {
  const execute = (answer: ExecuteResponse['answer']) => read('RUNNER', { bytes: Buffer.from(ExecuteResponse.encode({ answer }).finish()) });
  const result = (output: string, over = {}) =>
    execute({ $case: 'result', value: { jobId: 'j', fence: '7', outcome: { $case: 'output', value: Buffer.from(output) }, ...over } });

  it('is its result, an empty one too, or accepted', () => {
    expect(result('x')).toEqual({ kind: 'result', outcome: { ok: true, output: Buffer.from('x') } });
    expect(result('')).toEqual({ kind: 'result', outcome: { ok: true, output: Buffer.alloc(0) } });
    expect(execute({ $case: 'accepted', value: {} })).toEqual({ kind: 'accepted' });
  });

  it('is a failure when it is too large, empty or no message', () => {
    expect(result('x'.repeat(101))).toMatchObject({ outcome: { failure: { reason: 'result_too_large', retryable: false } } });
    expect(execute(undefined)).toMatchObject({ outcome: { failure: { reason: 'bad_answer' } } });
    expect(result('', { outcome: undefined })).toMatchObject({ outcome: { failure: { reason: 'bad_answer' } } });
    expect(read('RUNNER', { bytes: Buffer.from([0xff, 0xff]) })).toMatchObject({ outcome: { failure: { reason: 'bad_answer' } } });
  });

  it('says nothing about a lease that it does not name', () => {
    expect(result('x', { jobId: 'other' })).toMatchObject({ kind: 'unknown', outcome: { failure: { reason: 'bad_answer' } } });
    expect(result('x', { fence: '8' })).toMatchObject({ kind: 'unknown' });
  });

  it("brings a worker's failure within limits", () => {
    const value = { code: 0, message: 'm'.repeat(5_000), reason: '', retryable: false, details: Buffer.alloc(MAX_DETAILS_BYTES + 1) };
    const delivery = result('', { outcome: { $case: 'failure', value } });
    expect(delivery).toMatchObject({
      outcome: { failure: { code: Code.UNKNOWN, message: 'm'.repeat(1_024), reason: 'worker_error', retryable: false, details: Buffer.alloc(0) } },
    });
  });
});
