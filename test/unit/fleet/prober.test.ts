import { expect, test } from 'vitest';
import { MusterError } from '../../../src/domain/errors.js';
import { type Link, ProbeFailed } from '../../../src/domain/link.js';
import { Prober, type ProberOptions } from '../../../src/fleet/prober.js';
import { type Attempt, Running } from '../../../src/jobs/running.js';
import { FakeClock, settled } from '../../helpers/fake-clock.js';

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
    store: { shardOf: () => '', workers: { suspect: silent } },
    matching: { call: (_pool: string, run: () => Promise<unknown>) => run() },
    links: { get: () => link },
    judgement: { sound: async () => true },
    confirm: async () => undefined,
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

test('a sweep of many asks them by the 32, over half the interval, and not those that were heard meanwhile', async () => {
  const clock = new FakeClock(1_000_000);
  const asked: { id: string; at: number }[] = [];
  const links = Array.from({ length: 100 }, (_, i) => ({
    ref: { pool: 'p', id: `w${i}`, boot: 'b', link: '1' },
    contract: 'RUNNER',
    openCalls: 0,
    heardAt: 0,
    probe: () => {
      asked.push({ id: `w${i}`, at: clock.now() });
      return Promise.resolve({ workerId: `w${i}`, boot: 'b', busy: false, held: [], tellsIdle: true });
    },
  }));
  const options = {
    store: { shardOf: () => '', workers: { standing: async (_pool: string, refs: unknown[]) => refs.map(() => 'idle') } },
    links: { all: () => links, get: (_pool: string, id: string) => links.find(({ ref }) => ref.id === id) },
    judgement: { sound: async () => true, trusts: () => true },
    ...{ clock, random: () => 0, concurrency: 4, intervalMs: 10_000, beatMs: 10_000, running: new Running() },
  };
  const { made } = prober(options as unknown as Partial<ProberOptions>);
  const sweep = made.checkAll();
  await settled();
  await clock.pass(2_500);
  expect(asked.length).toBe(64);
  const last = links.at(-1);
  if (last) last.heardAt = clock.now();
  await clock.pass(2_500);
  expect(await sweep).toBe(100);
  const at = (i: number) => 1_000_000 + 50 * (i - (i % 32));
  expect(asked.length).toBe(99);
  expect(new Map(asked.map((one) => [one.id, one.at]))).toEqual(new Map(links.slice(0, -1).map(({ ref }, i) => [ref.id, at(i)])));
});

test('an attached worker that names a lease which was taken away is told again, at each probe; one that it was given meanwhile it keeps', async () => {
  const revoked: string[] = [];
  const link = {
    ref: { pool: 'p', id: 'w', boot: 'b', link: '1' },
    contract: 'ATTACHED',
    isOpen: () => false,
    probe: async () => ({
      workerId: 'w',
      boot: 'b',
      busy: false,
      held: ['taken', 'new'].map((jobId) => ({ jobId, fence: '1', done: false })),
      tellsIdle: true,
    }),
    revoke: (jobId: string) => void revoked.push(jobId),
    abort: () => Promise.reject(new Error('it is revoked')),
  } as unknown as Link;
  const held = [[{ jobId: 'taken', fence: '1', quarantined: true }]];
  const younger = { jobId: 'new', fence: '1', quarantined: false };
  let reads = 0;
  const options = {
    store: {
      readHeld: async () => (reads++ % 2 === 0 ? held : [[...(held[0] ?? []), younger]]),
      workers: { probed: async () => 'ok' },
    },
    running: new Running(),
  };
  const { made, told } = prober(options as unknown as Partial<ProberOptions>);
  await made.probe(link);
  await made.probe(link);
  expect(revoked).toEqual(['taken', 'taken']);
  expect(told).toEqual([]);
});
