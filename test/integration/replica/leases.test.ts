import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { JobRequest } from '../../../src/grpc/generated/job/job.js';
import { Contract } from '../../../src/grpc/generated/muster/v1/common.js';
import { toDuration } from '../../../src/sdk/duration.js';
import { Worker } from '../../../src/sdk/index.js';
import { runToEnd } from '../../../src/sdk/run.js';
import { ownRedis, uniquePool } from '../../helpers/redis.js';
import { until } from '../../helpers/until.js';
import { endOf, type Running, startReplica, text } from './support.js';
import { holdingWorker, legacyWorker, methodWorker, register, SAY } from './workers.js';

/** Leases whose times are short, or whose worker changes its owner: each is one attempt, and one execution at a time. */
let a: Running;
const workers: Worker[] = [];

const SETTINGS = { LEASE_MS: 12_000, BEAT_MS: 4_000, DELIVERY_MS: 10_000, ACCEPT_AGE_MS: 6_000, STOP_GRACE_MS: 8_000 };

beforeAll(async () => {
  const { url } = await ownRedis();
  a = await startReplica(url, SETTINGS);
});

afterAll(async () => {
  await Promise.all(workers.map((worker) => worker.stop({ graceMs: 0 })));
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
