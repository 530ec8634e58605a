import { beforeAll, expect, test } from 'vitest';
import { defineJob, JobFailed, PermanentError } from '../../../src/sdk/index.js';
import { redisUrl, uniquePool } from '../../helpers/redis.js';
import { type InProcess, startReplica } from '../../helpers/replica.js';
import { until } from '../../helpers/until.js';
import { cutter } from './cutter.js';
import { newClient, startWorker } from './support.js';

let replica: InProcess;
beforeAll(async () => {
  replica = await startReplica(redisUrl);
});

test('2,000 jobs go through, each result once, and the source is never more than the window ahead', async () => {
  const pool = uniquePool();
  await startWorker({ target: replica.target, pool, slots: 64 }, (worker) =>
    worker.handle('square', (n: number) => {
      if (n === 13) throw new PermanentError('unlucky');
      return n * n;
    }),
  );
  const client = newClient({ target: replica.target });
  let given = 0;
  let taken = 0;
  let ahead = 0;
  async function* source() {
    for (let n = 0; n < 2_000; n++) {
      given++;
      ahead = Math.max(ahead, given - taken);
      yield n;
    }
  }
  const seen = new Map<number, unknown>();
  for await (const end of client.submitMany<number>('square', source(), { pool, window: 100 })) {
    taken++;
    expect(seen.has(end.index)).toBe(false);
    seen.set(end.index, end.ok ? end.output : end.error);
  }
  expect(seen.size).toBe(2_000);
  for (const [index, value] of seen) if (index !== 13) expect(value).toBe(index * index);
  expect(seen.get(13)).toBeInstanceOf(JobFailed);
  expect(ahead).toBeLessThanOrEqual(101);
});

test('whoever reads no further submits no further; leaving the loop closes the source', async () => {
  const pool = uniquePool();
  await startWorker({ target: replica.target, pool, slots: 8 }, (worker) => worker.handle('echo', (n: number) => n));
  const client = newClient({ target: replica.target });
  let given = 0;
  let closed = false;
  function* source() {
    try {
      for (;;) yield given++;
    } finally {
      closed = true;
    }
  }
  const ends = client.submitMany('echo', source(), { pool, window: 5 });
  await ends.next();
  // The iteration stands still; so does the source, though everything under way has ended.
  await until(async () => {
    const states: string[] = [];
    for await (const { state } of client.list({ pool, state: 'succeeded' })) states.push(state);
    return states.length >= 5;
  });
  expect(given).toBeLessThanOrEqual(6);
  await ends.return(undefined);
  expect(closed).toBe(true);
});

test('items may each be of another kind, and a source that throws ends the loop', async () => {
  const pool = uniquePool();
  const twice = defineJob({ kind: 'twice', pool });
  await startWorker({ target: replica.target, pool }, (worker) => worker.handle(twice, (n) => Number(n) * 2).handle('neg', (n: number) => -n));
  const client = newClient({ target: replica.target });
  const outputs: unknown[] = [];
  const items = [
    { job: twice, input: 4 },
    { job: 'neg', input: 5, pool },
  ];
  for await (const end of client.submitMany(items)) outputs.push(end.ok && end.output);
  expect(outputs.sort()).toEqual([-5, 8]);
  const broken = async () => {
    const source = (function* () {
      yield 1;
      throw new Error('no more');
    })();
    for await (const _ of client.submitMany('neg', source, { pool }));
  };
  await expect(broken()).rejects.toThrow('no more');
});

test('a full backlog is waited out', async () => {
  const small = await startReplica(redisUrl, { MAX_WAITING: 5 });
  const pool = uniquePool();
  await startWorker({ target: small.target, pool }, (worker) => worker.handle('echo', (n: number) => n));
  const seen: number[] = [];
  for await (const end of newClient({ target: small.target }).submitMany<number>(
    'echo',
    Array.from({ length: 40 }, (_, i) => i),
    { pool, window: 40 },
  )) {
    if (!end.ok) throw end.error;
    seen.push(end.output);
  }
  expect(seen.sort((a, b) => a - b)).toEqual(Array.from({ length: 40 }, (_, i) => i));
});

test('the session breaks again and again under a thousand jobs: each result arrives once', async () => {
  const pool = uniquePool();
  const proxy = await cutter(replica.target);
  let runs = 0;
  await startWorker({ target: replica.target, pool, slots: 32 }, (worker) =>
    worker.handle('echo', (n: number) => {
      runs++;
      return n;
    }),
  );
  const client = newClient({ target: proxy.target });
  const seen: number[] = [];
  let cuts = 0;
  for await (const end of client.submitMany<number>(
    'echo',
    Array.from({ length: 1_000 }, (_, i) => i),
    { pool, window: 64 },
  )) {
    if (!end.ok) throw end.error;
    seen.push(end.output);
    if (seen.length % 200 === 0 && cuts++ < 4) proxy.cut();
  }
  expect(seen.sort((a, b) => a - b)).toEqual(Array.from({ length: 1_000 }, (_, i) => i));
  // Submitted again, it was the same job.
  expect(runs).toBe(1_000);
});
