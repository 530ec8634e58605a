import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import { type DeepPartial, JobSpec } from '../../../src/grpc/generated/muster/v1/job.js';
import { contentDigest } from '../../../src/grpc/job-digest.js';

const seconds = (n: string) => ({ seconds: n, nanos: 0 });
const PART: DeepPartial<JobSpec> = {
  pool: 'p',
  id: 'a',
  work: { $case: 'kind', value: 'echo' },
  payload: Buffer.from('hé'),
  metadata: { b: '2', a: 'ü' },
  priority: 1,
};
const digest = (part: DeepPartial<JobSpec> = {}) => contentDigest(JobSpec.fromPartial({ ...PART, ...part }));

test('it is the beginning of SHA-256 over the canonical spec in protobuf, and the payload', () => {
  const text = '\x0a\x013\x1a\x04echo2\x07\x0a\x01a\x12\x02ü2\x06\x0a\x01b\x12\x0128\x01';
  expect(digest()).toBe(createHash('sha256').update(text).update('hé').digest('base64url').slice(0, 22));
});

test('pool, ID, the order of maps and codes, the trace, and an empty retry policy make no difference', () => {
  const same = [
    { pool: 'q', id: 'b', metadata: { a: 'ü', b: '2' } },
    { metadata: { b: '2', a: 'ü', traceparent: 'one', tracestate: 'a=1' } },
    { metadata: { b: '2', a: 'ü', traceparent: 'two' } },
    { retry: {} },
  ];
  expect(new Set([digest(), ...same.map(digest)]).size).toBe(1);
  expect(digest({ retry: { fatalCodes: [7, 3] } })).toBe(digest({ retry: { fatalCodes: [3, 7] } }));
});

test('everything else does, a default that is named too', () => {
  const others: DeepPartial<JobSpec>[] = [
    { work: { $case: 'method', value: 'echo' } },
    { work: { $case: 'kind', value: 'ech' }, payload: Buffer.from('ohé') },
    { payload: Buffer.from('h') },
    { metadata: { b: '2' } },
    { metadata: { b: '2', a: 'u' } },
    { priority: 0 },
    { notBefore: new Date(1) },
    { queueTimeout: seconds('1') },
    { runTimeout: seconds('300') },
    { totalTimeout: seconds('1') },
    { retention: seconds('3600') },
    { retry: { maxAttempts: 3 } },
    { retry: { initialBackoff: seconds('1') } },
    { retry: { maxBackoff: seconds('60') } },
    { retry: { multiplier: 2 } },
    { retry: { fatalCodes: [3] } },
  ];
  expect(new Set([digest(), ...others.map(digest)]).size).toBe(others.length + 1);
});

test('a field of a later version changes nothing while it is unset', () => {
  // What is not set takes no bytes: these are all the fields of PART.
  const bytes = JobSpec.encode(JobSpec.fromPartial(PART)).finish();
  expect(contentDigest(JobSpec.decode(bytes))).toBe(digest());
});
