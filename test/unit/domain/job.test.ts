import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import { contentDigest, isTerminal, type JobSpec } from '../../../src/domain/job.js';

const SPEC: JobSpec = {
  pool: 'p',
  id: 'a',
  kind: 'echo',
  method: '',
  payload: Buffer.from('hé'),
  metadata: { b: '2', a: 'ü' },
  priority: 1,
  notBefore: 0,
  queueTimeoutMs: 0,
  runTimeoutMs: 300_000,
  totalTimeoutMs: 0,
  retry: { maxAttempts: 3, initialBackoffMs: 1_000, maxBackoffMs: 60_000, multiplier: 2, fatalCodes: [7, 3] },
  retentionMs: 3_600_000,
};

test('the digest is the beginning of SHA-256 over version 1 of the canonical encoding: fields with their byte lengths, maps by key, the payload last', () => {
  const text = '1:14:echo0:1:21:a2:ü1:b1:21:11:01:06:3000001:07:36000001:34:10005:600001:23:3,7';
  expect(contentDigest(SPEC)).toBe(createHash('sha256').update(text).update(Buffer.from('hé')).digest('base64url').slice(0, 22));
});

test('pool, id and the order of maps and codes make no difference', () => {
  const same = { ...SPEC, pool: 'q', id: 'b', metadata: { a: 'ü', b: '2' }, retry: { ...SPEC.retry, fatalCodes: [3, 7] } };
  expect(contentDigest(same)).toBe(contentDigest(SPEC));
});

test('everything else does', () => {
  const others: Partial<JobSpec>[] = [
    { kind: '', method: 'echo' },
    { kind: 'ech', payload: Buffer.from('ohé') },
    { payload: Buffer.from('h') },
    { metadata: { b: '2' } },
    { metadata: { b: '2', a: 'u' } },
    { priority: 0 },
    { notBefore: 1 },
    { queueTimeoutMs: 1 },
    { runTimeoutMs: 1 },
    { totalTimeoutMs: 1 },
    { retentionMs: 1 },
    ...(['maxAttempts', 'initialBackoffMs', 'maxBackoffMs', 'multiplier'] as const).map((field) => ({ retry: { ...SPEC.retry, [field]: 9 } })),
    { retry: { ...SPEC.retry, fatalCodes: [3] } },
  ];
  const digests = others.map((other) => contentDigest({ ...SPEC, ...other }));
  expect(new Set([contentDigest(SPEC), ...digests]).size).toBe(others.length + 1);
});

test('the trace that a job belongs to is not its content: submitted again in another it is the same job', () => {
  const traced = (traceparent: string) => ({ ...SPEC, metadata: { ...SPEC.metadata, traceparent, tracestate: 'a=1' } });
  expect(contentDigest(traced('one'))).toBe(contentDigest(SPEC));
  expect(contentDigest(traced('two'))).toBe(contentDigest(SPEC));
});

test('the terminal states', () => {
  const states = ['scheduled', 'waiting', 'running', 'succeeded', 'failed', 'cancelled', 'expired'] as const;
  expect(states.filter(isTerminal)).toEqual(['succeeded', 'failed', 'cancelled', 'expired']);
});
