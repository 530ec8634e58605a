import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { JobRequest } from '../../../src/grpc/generated/job/job.js';
import { Contract } from '../../../src/grpc/generated/muster/v1/common.js';
import { JobState } from '../../../src/grpc/generated/muster/v1/job.js';
import { toDuration } from '../../../src/sdk/duration.js';
import { Worker } from '../../../src/sdk/index.js';
import { runToEnd } from '../../../src/sdk/run.js';
import { keys } from '../../../src/store/keys.js';
import { ownRedis, uniquePool } from '../../helpers/redis.js';
import { until } from '../../helpers/until.js';
import { endOf, jobIn, type Running, startReplica, submit, text } from './support.js';
import { acceptingWorker, holdingWorker, legacyWorker, methodWorker, register, SAY } from './workers.js';

/** Leases whose times are short, or whose worker changes its owner: each is one attempt, and one execution at a time. */
let a: Running;
let b: Running;
let redis: Redis;
const workers: Worker[] = [];

/** Leases that nobody renews are over in 1.2 s. */
const LEASE_MS = 1_200;
const SETTINGS = { LEASE_MS: 12_000, BEAT_MS: 4_000, DELIVERY_MS: 10_000, ACCEPT_AGE_MS: 6_000, STOP_GRACE_MS: 8_000 };

beforeAll(async () => {
  const { url } = await ownRedis();
  redis = new Redis(url);
  [a, b] = (await Promise.all([1, 2].map(() => startReplica(url, SETTINGS)))) as [Running, Running];
});

afterAll(async () => {
  await Promise.all(workers.map((worker) => worker.stop({ graceMs: 0 })));
  redis.disconnect();
});

const kind = { $case: 'kind', value: 'long' } as const;
const say = { $case: 'method', value: SAY } as const;
const runJob = { $case: 'method', value: '/job.JobService/RunJob' } as const;
const legacyPayload = Buffer.from(JobRequest.encode(JobRequest.fromPartial({ jobId: 'j', contextDir: 'a' })).finish());

describe('a run timeout below CONFIRM_MS, one attempt, and five free workers: it runs once', () => {
  const short = { id: 'j', runTimeout: toDuration(20), retry: { maxAttempts: 1 } };
  const failed = { state: 'JOB_STATE_FAILED', attempt: 1, reason: 'run_timeout' };
  const five = [1, 2, 3, 4, 5];

  test('METHOD', async () => {
    const pool = uniquePool();
    const servers = await Promise.all(five.map(() => methodWorker()));
    for (const [i, server] of servers.entries()) {
      server.hold = true;
      await register(a.api, { id: `w${i}`, pool, port: server.port, contract: Contract.CONTRACT_METHOD });
    }
    expect(endOf(await runToEnd(a.api, { ...short, pool, work: say, payload: text('a') }))).toMatchObject(failed);
    expect(servers.flatMap(({ calls }) => calls)).toEqual(['a']);
  });

  test('LEGACY', async () => {
    const pool = uniquePool();
    const servers = await Promise.all(five.map((i) => legacyWorker(`w${i}`)));
    for (const server of servers) {
      server.answer = undefined;
      await register(a.api, { id: server.id, pool, port: server.port, contract: Contract.CONTRACT_LEGACY });
    }
    expect(endOf(await runToEnd(a.api, { ...short, pool, work: runJob, payload: legacyPayload }))).toMatchObject(failed);
    expect(servers.flatMap(({ jobs }) => jobs)).toHaveLength(1);
  });

  test('RUNNER', async () => {
    const pool = uniquePool();
    const servers = await Promise.all(five.map((i) => holdingWorker(`w${i}`)));
    for (const [i, { port }] of servers.entries()) await register(a.api, { id: `w${i + 1}`, pool, port });
    expect(endOf(await runToEnd(a.api, { ...short, pool, work: kind }))).toMatchObject(failed);
    expect(servers.flatMap(({ jobs }) => jobs)).toEqual(['j']);
  });

  test('ATTACHED', async () => {
    const pool = uniquePool();
    const begun: string[] = [];
    const deaf = async (_: unknown, { id }: { id: string }) => {
      begun.push(id);
      await until(() => over, { what: 'the test to be over' });
    };
    let over = false;
    for (const i of five) {
      const worker = new Worker({ target: a.target, pool, id: `w${i}` }).handle('long', deaf);
      workers.push(worker);
      await worker.start({ signals: false });
    }
    expect(endOf(await runToEnd(a.api, { ...short, pool, work: kind }))).toMatchObject(failed);
    expect(begun).toEqual(['j']);
    over = true;
  });
});

test('a worker that dies of its job within CONFIRM_MS has had an attempt: one attempt is one execution', async () => {
  const pool = uniquePool();
  const [first, second] = await Promise.all([holdingWorker('w1'), holdingWorker('w2')]);
  await register(a.api, { id: 'w1', pool, port: first.port });
  const job = runToEnd(a.api, { pool, id: 'j', work: kind, retry: { maxAttempts: 1 } });
  await until(() => first.jobs.length > 0, { what: 'it to run' });
  await register(a.api, { id: 'w2', pool, port: second.port });
  first.kill();
  expect(endOf(await job)).toMatchObject({ state: 'JOB_STATE_FAILED', attempt: 1, reason: 'worker_lost' });
  expect(second.jobs).toEqual([]);
});

describe('a worker that runs a long job registers at another replica, under the same boot: the job runs once, and ends', () => {
  /** The lease has outlived by far what it would without being renewed; or it was taken away. */
  async function outlived(pool: string): Promise<unknown> {
    const renewedUntil = Date.now() + 2 * LEASE_MS;
    return await until(
      async () => {
        const attempt = await redis.hget(keys.job(pool, 'j'), 'attempt');
        const due = Number(await redis.zscore(keys.leases(pool), 'j'));
        return attempt !== '1' || due > renewedUntil;
      },
      { what: 'the lease to be renewed' },
    );
  }

  const end = async (pool: string) => {
    const { handovers, ...job } = await jobIn(b.api, pool, 'j', JobState.JOB_STATE_SUCCEEDED);
    return { handovers, attempt: job.attempt };
  };

  for (const when of ['at once', 'when it is confirmed'] as const) {
    const begun = async (pool: string, given: () => boolean) => {
      await until(given, { what: 'the worker to be given the job' });
      if (when === 'when it is confirmed') await until(async () => (await redis.hget(keys.job(pool, 'j'), 'delivered')) === '1');
    };

    test.concurrent(`METHOD, ${when}`, async () => {
      const pool = uniquePool();
      const worker = await methodWorker();
      worker.hold = true;
      const info = { id: 'w', pool, port: worker.port, boot: 'life1', contract: Contract.CONTRACT_METHOD };
      await register(a.api, info);
      await submit(a.api, { pool, id: 'j', work: say, payload: text('a') });
      await begun(pool, () => worker.calls.length > 0);
      await register(b.api, info);
      await outlived(pool);
      worker.hold = false;
      expect(await end(pool)).toEqual({ handovers: 0, attempt: 1 });
      expect(worker.calls).toEqual(['a']);
    });

    test.concurrent(`LEGACY, ${when}`, async () => {
      const pool = uniquePool();
      const worker = await legacyWorker('w');
      const { answer } = worker;
      worker.answer = undefined;
      const info = { id: 'w', pool, port: worker.port, contract: Contract.CONTRACT_LEGACY };
      await register(a.api, info);
      await submit(a.api, { pool, id: 'j', work: runJob, payload: legacyPayload });
      await begun(pool, () => worker.jobs.length > 0);
      await register(b.api, info);
      await outlived(pool);
      worker.answer = answer;
      expect(await end(pool)).toEqual({ handovers: 0, attempt: 1 });
      expect(worker.jobs).toHaveLength(1);
    });

    test.concurrent(`RUNNER, ${when}`, async () => {
      const pool = uniquePool();
      const worker = await acceptingWorker('w');
      const info = { id: 'w', pool, port: worker.port, boot: 'life1' };
      await register(a.api, info);
      await submit(a.api, { pool, id: 'j', work: kind });
      await begun(pool, () => worker.held.length > 0);
      await register(b.api, info);
      await outlived(pool);
      const [{ jobId, fence } = { jobId: '', fence: '' }] = worker.held.splice(0);
      await b.api.report({
        pool,
        workerId: 'w',
        boot: 'life1',
        results: [{ jobId, fence, outcome: { $case: 'output', value: text('x') } }],
        beat: undefined,
      });
      expect(await end(pool)).toEqual({ handovers: 0, attempt: 1 });
      expect(worker.assignments).toHaveLength(1);
    });
  }
});

test('what a RUNNER was never given is given to it by the replica where it registers next', async () => {
  const pool = uniquePool();
  const worker = await acceptingWorker('w');
  const info = { id: 'w', pool, port: worker.port, boot: 'life1' };
  await register(a.api, info);
  // As the owner would have it that died before it sent anything: a lease that is in no replica's hands.
  await redis.hset(keys.worker(pool, 'w'), { home: 'gone', link: '7' });
  await redis.zadd(keys.homes(pool), Date.now(), 'gone');
  await submit(b.api, { pool, id: 'j', work: kind });
  await until(async () => (await redis.hget(keys.job(pool, 'j'), 'state')) === 'running', { what: 'the lease' });
  expect(worker.assignments).toEqual([]);
  await register(b.api, info);
  await until(() => worker.assignments.length === 1, { what: 'the assignment', timeoutMs: 900 });
  await redis.zrem(keys.homes(pool), 'gone');
});

describe('a worker that runs what it should not is told to stop until it has', () => {
  test.concurrent('a RUNNER that missed the abort of a cancelled job: at each sweep, and then its slot is free', async () => {
    const pool = uniquePool();
    const worker = await acceptingWorker('w');
    await register(a.api, { id: 'w', pool, port: worker.port, boot: 'life1' });
    await submit(a.api, { pool, id: 'j', work: kind });
    await until(() => worker.held.length > 0, { what: 'the worker to be given the job' });
    await a.api.cancelJob({ pool, id: 'j' });
    await until(() => worker.aborted.length > 3, { what: 'several aborts' });
    expect(new Set(worker.aborted.map(({ jobId }) => jobId))).toEqual(new Set(['j']));
    worker.held.splice(0);
    await until(async () => (await redis.hlen(keys.held(pool, 'w'))) === 0, { what: 'the slot to be free' });
  });

  test.concurrent('a RUNNER that registers with a job that nobody knows', async () => {
    const pool = uniquePool();
    const worker = await acceptingWorker('w');
    worker.held.push({ jobId: 'unknown', fence: '5' });
    await register(a.api, { id: 'w', pool, port: worker.port, boot: 'life1' });
    await until(() => worker.aborted.length > 2, { what: 'several aborts' });
    expect(worker.aborted[0]).toMatchObject({ jobId: 'unknown', fence: '5' });
    // What it is given meanwhile is its own.
    await submit(a.api, { pool, id: 'j', work: kind });
    await until(() => worker.assignments.length > 0, { what: 'a job of its own' });
    const before = worker.aborted.length;
    await until(() => worker.aborted.length > before + 1, { what: 'more aborts' });
    expect(worker.aborted.some(({ jobId }) => jobId === 'j')).toBe(false);
  });

  test.concurrent('a lease that nobody follows any more is sent to its RUNNER again', async () => {
    const pool = uniquePool();
    const worker = await acceptingWorker('w');
    await register(a.api, { id: 'w', pool, port: worker.port, boot: 'life1' });
    await submit(a.api, { pool, id: 'j', work: kind });
    await until(async () => (await redis.hget(keys.job(pool, 'j'), 'delivered')) === '1', { what: 'the delivery' });
    // As if another replica had adopted it, and the reply that said so were lost.
    await redis.hset(keys.worker(pool, 'w'), { home: b.id, link: '2' });
    await register(b.api, { id: 'w', pool, port: worker.port, boot: 'life1' });
    const due = async () => Number(await redis.zscore(keys.leases(pool), 'j'));
    const first = await due();
    await until(async () => (await due()) > first + LEASE_MS, { what: 'the lease to be renewed' });
    expect(worker.assignments).toHaveLength(1);
  });
});
