import { rmSync } from 'node:fs';
import { type AddressInfo, connect, createServer } from 'node:net';
import { Redis } from 'ioredis';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { JobState } from '../../../src/grpc/generated/muster/v1/job.js';
import type { EmbeddedRedis } from '../../../src/lifecycle/embedded-redis.js';
import { jobSpec } from '../../../src/sdk/run.js';
import { ownRedis, uniquePool } from '../../helpers/redis.js';
import { until } from '../../helpers/until.js';
import { endOf, jobIn, type Running, refusal, startReplica, submit, text } from './support.js';
import { runnerWorker, type TestRunner } from './workers.js';

/** Refusals of a Redis that is there, each provoked in a real one. None may cost a result, a second run, or an INTERNAL. */
interface Refusal {
  word: string;
  reason: RegExp;
  provoke(admin: Redis, redis: EmbeddedRedis): Promise<unknown>;
  relieve(admin: Redis): Promise<unknown>;
}

const NOWHERE = 1;

const REFUSALS: Refusal[] = [
  {
    word: 'READONLY',
    // A server that says that it is a replica is left, and none that says so is connected to.
    reason: /^REDIS_(READONLY|AWAY|UNKNOWN)$/,
    provoke: (admin) => admin.replicaof('127.0.0.1', NOWHERE),
    relieve: (admin) => admin.replicaof('NO', 'ONE'),
  },
  {
    word: 'MASTERDOWN',
    reason: /^REDIS_(READONLY|AWAY|UNKNOWN)$/,
    provoke: async (admin) => {
      await admin.config('SET', 'replica-serve-stale-data', 'no');
      await admin.replicaof('127.0.0.1', NOWHERE);
    },
    relieve: (admin) => admin.replicaof('NO', 'ONE'),
  },
  {
    word: 'NOREPLICAS',
    reason: /^REDIS_(NO_REPLICAS|AWAY|UNKNOWN)$/,
    provoke: (admin) => admin.config('SET', 'min-replicas-to-write', '1'),
    relieve: (admin) => admin.config('SET', 'min-replicas-to-write', '0'),
  },
  {
    word: 'MISCONF',
    reason: /^REDIS_CANNOT_SAVE$/,
    provoke: async (admin, { dir }) => {
      await admin.config('SET', 'save', '3600 1');
      rmSync(dir, { recursive: true });
      await admin.bgsave();
      await until(async () => (await admin.info('persistence')).includes('rdb_last_bgsave_status:err'), { what: 'saving to fail' });
    },
    relieve: (admin) => admin.config('SET', 'stop-writes-on-bgsave-error', 'no'),
  },
  {
    word: 'BUSY',
    reason: /^REDIS_BUSY$/,
    provoke: async (admin) => {
      await admin.config('SET', 'busy-reply-threshold', '1');
      const other = admin.duplicate();
      other.eval('while true do end', 0).then(
        () => undefined,
        () => other.disconnect(),
      );
      await until(
        () =>
          admin.ping().then(
            () => false,
            ({ message }: Error) => message.startsWith('BUSY'),
          ),
        { what: 'the script to be too long' },
      );
    },
    relieve: (admin) => admin.script('KILL'),
  },
  {
    word: 'LOADING',
    reason: /^REDIS_(LOADING|AWAY|UNKNOWN)$/,
    provoke: async (admin) => {
      await admin.config('SET', 'key-load-delay', '100000', 'loading-process-events-interval-bytes', '1024');
      const other = admin.duplicate({ commandTimeout: 60_000 });
      other.call('DEBUG', 'RELOAD').then(
        () => other.disconnect(),
        () => other.disconnect(),
      );
      await until(
        () =>
          admin.get('x').then(
            () => false,
            ({ message }: Error) => message.startsWith('LOADING'),
          ),
        { what: 'Redis to load' },
      );
    },
    relieve: (admin) => admin.config('SET', 'key-load-delay', '0'),
  },
];

/** One address in front of several servers, as a virtual IP: connections stay where they are, new ones go to the server of the time. */
class Address {
  readonly #server = createServer((near) => {
    const far = connect(this.to, '127.0.0.1');
    near.on('error', () => far.destroy()).on('close', () => far.destroy());
    far.on('error', () => near.destroy()).on('close', () => near.destroy());
    near.pipe(far).pipe(near);
  });

  constructor(public to: number) {}

  async listen(): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    return `redis://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  close(): void {
    this.#server.close();
  }
}

let redis: EmbeddedRedis;
let admin: Redis;
let replica: Running;
let worker: TestRunner;
let pool: string;

beforeEach(async () => {
  pool = uniquePool();
  redis = await ownRedis({ extraArgs: ['--enable-debug-command', 'yes'] });
  admin = new Redis(redis.url, { enableReadyCheck: false });
  replica = await startReplica(redis.url);
  worker = await runnerWorker(replica.target, pool, 'w');
});

afterEach(async () => {
  admin.disconnect();
  await replica.stop();
});

const readyz = async () => (await fetch(`http://127.0.0.1:${replica.httpPort}/readyz`)).status;

test.each(REFUSALS)('$word: UNAVAILABLE with the reason, not ready, and the result of a job that ends meanwhile is kept', async (refused) => {
  const { api } = replica;
  expect(await readyz()).toBe(200);
  const started = (id: string) => worker.notes.filter(({ event, jobId }) => event === 'start' && jobId === id);
  await submit(api, { pool, id: 'j', work: { $case: 'kind', value: 'slow' }, payload: text('300'), retry: { maxAttempts: 3 } });
  await until(() => started('j').length > 0, { what: 'the job to run' });
  await refused.provoke(admin, redis);
  const spec = jobSpec({ pool, id: 'other', work: { $case: 'kind', value: 'echo' }, payload: text('x') });
  const error = await refusal(api.submitJob({ spec }));
  expect([error.codeName, error.reason]).toEqual(['UNAVAILABLE', expect.stringMatching(refused.reason)]);
  expect(error.details.retryAfterMs).toBeGreaterThan(0);
  expect(await readyz()).toBe(503);
  await until(() => worker.notes.some(({ event, jobId }) => event === 'end' && jobId === 'j'), { what: 'the job to end' });
  await until(() => replica.lines.some(({ level }) => level === 40), { what: 'the replica to say so' });
  await refused.relieve(admin);
  await until(async () => (await readyz()) === 200, { what: 'the replica to be ready again' });
  expect(endOf(await jobIn(api, pool, 'j', JobState.JOB_STATE_SUCCEEDED))).toMatchObject({ attempt: 1, worker: 'w', output: '300' });
  expect(started('j')).toHaveLength(1);
  await api.submitJob({ spec });
  await jobIn(api, pool, 'other', JobState.JOB_STATE_SUCCEEDED);
});

test('behind one address another server is the master: every connection leaves the old one, and what may be lost is logged', async () => {
  const next = await ownRedis({ extraArgs: ['--replicaof', '127.0.0.1', String(redis.port), '--repl-diskless-sync-delay', '0'] });
  const other = new Redis(next.url);
  await until(async () => (await other.info('replication')).includes('master_link_status:up'), { what: 'the replica to be in step' });
  const address = new Address(redis.port);
  const moving = await startReplica(await address.listen());
  const mover = await runnerWorker(moving.target, pool, 'm');
  await replica.stop();
  const ours = async () => {
    const named = (await admin.client('LIST')) as string;
    // Neither the admin, nor the link of replication.
    return named.split('\n').filter((line) => line !== '' && !/ flags=[MS] | cmd=client/.test(line));
  };
  expect((await ours()).length).toBeGreaterThanOrEqual(4);
  await other.replicaof('NO', 'ONE');
  address.to = next.port;
  await admin.replicaof('127.0.0.1', next.port);
  const isReady = async () => (await fetch(`http://127.0.0.1:${moving.httpPort}/readyz`)).status === 200;
  await until(async () => (await ours()).length === 0 && (await isReady()), { timeoutMs: 15_000, what: 'every connection to leave the old master' });
  await submit(moving.api, { pool, id: 'moved', work: { $case: 'kind', value: 'echo' }, payload: text('x') });
  await jobIn(moving.api, pool, 'moved', JobState.JOB_STATE_SUCCEEDED);
  expect(mover.notes.some(({ jobId }) => jobId === 'moved')).toBe(true);
  expect(moving.lines).toContainEqual(
    expect.objectContaining({ level: 40, msg: expect.stringContaining('may be lost'), from: expect.stringMatching(/^2/) }),
  );
  await moving.stop();
  other.disconnect();
  address.close();
});
