import { expect, test } from 'vitest';
import { MusterError } from '../../../src/domain/errors.js';
import { type Link, ProbeFailed } from '../../../src/domain/link.js';
import { Prober, type ProberOptions } from '../../../src/fleet/prober.js';
import { type Attempt, Running } from '../../../src/jobs/running.js';
import { FakeClock } from '../../helpers/fake-clock.js';

const attempt: Attempt = { pool: 'p', worker: 'w', jobId: 'j', fence: '1', boot: 'b', link: '1', phase: 'doubtful', since: 0, vouchedAt: 0 };

/** One worker that does not answer, beside a Redis that does not either. */
function prober(options: Partial<ProberOptions>) {
  const told: unknown[] = [];
  const running = new Running();
  running.add(attempt);
  const link = {
    ref: { pool: 'p', id: 'w', boot: 'b', link: '1' },
    contract: 'RUNNER',
    probe: () => Promise.reject(new ProbeFailed('refused', 'nobody listens')),
  } as unknown as Link;
  const silent = () => Promise.reject(new MusterError('unavailable', 'REDIS_UNKNOWN', 'Redis did not answer'));
  const made = new Prober({
    store: { workers: { suspect: silent } },
    matching: { call: (_pool: string, run: () => Promise<unknown>) => run() },
    links: { get: () => link },
    judgement: { sound: async () => true },
    ...{ running, clock: new FakeClock(), random: Math.random, misses: 2, timeoutMs: 100, onError: (error: unknown) => void told.push(error) },
    ...options,
  } as unknown as ProberOptions);
  return { made, told, running };
}

test('a doubt that cannot be told to Redis is no end of the process: the attempt stays doubtful', async () => {
  const { made, told, running } = prober({});
  await made.resolveDoubt(attempt, { ok: true, output: Buffer.alloc(0) });
  expect(told).toMatchObject([{ reason: 'REDIS_UNKNOWN' }]);
  expect(running.get(attempt)).toMatchObject({ phase: 'doubtful' });
});
