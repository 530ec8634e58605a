import { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { findEntry, readSchema } from '../../../scripts/redis-schema.js';
import { PurgeScope, WorkerState } from '../../../src/grpc/generated/muster/v1/admin.js';
import { JobState } from '../../../src/grpc/generated/muster/v1/job.js';
import { toDuration } from '../../../src/sdk/duration.js';
import { Client, Worker } from '../../../src/sdk/index.js';
import { jobSpec, runToEnd } from '../../../src/sdk/run.js';
import { keys } from '../../../src/store/keys.js';
import { emptyFiles } from '../../helpers/descriptors.js';
import { ownRedis, uniquePool } from '../../helpers/redis.js';
import { documentedAcl, refusals, SECRET, USER } from '../../helpers/redis-acl.js';
import { scanKeys } from '../../helpers/store-dump.js';
import { until } from '../../helpers/until.js';
import { muster } from '../../unit/cli/harness.js';
import { getWorker, jobIn, type Running, refusal, startReplica, submit, text } from './support.js';
import { acceptingWorker, register, runnerWorker } from './workers.js';

/** Two replicas as the user that docs/redis.md describes. */
let url: string;
/** As whoever may do everything. */
let raw: Redis;
let home: Running;
let other: Running;

beforeAll(async () => {
  const redis = await ownRedis({ appendonly: true, appendfsync: 'always' });
  raw = new Redis(redis.url);
  await raw.call('ACL', ...documentedAcl().single);
  url = redis.url.replace('redis://', `redis://${USER}:${SECRET}@`);
  [home, other] = await Promise.all([startReplica(url, { DURABILITY: 'durable' }), startReplica(url)]);
});

beforeEach(async () => {
  await raw.call('ACL', ...documentedAcl().single);
});

afterAll(() => raw.disconnect());

const kind = (value: string) => ({ $case: 'kind', value }) as const;

async function inState(pool: string, id: string, state: WorkerState): Promise<void> {
  await until(async () => (await getWorker(other.api, pool, id)).state === state, {
    timeoutMs: 15_000,
    what: `worker ${id} to be ${WorkerState[state]}`,
  });
}

async function jobsOfAllSorts(pool: string): Promise<void> {
  const { api } = other;
  const run = (id: string, work: string, payload = 'x') =>
    runToEnd(api, {
      pool,
      id,
      work: kind(work),
      payload: text(payload),
      metadata: { a: 'b' },
      retry: { maxAttempts: 2, initialBackoff: toDuration(10) },
    });
  await Promise.all([run('echo', 'echo'), run('flaky', 'flaky', '2'), run('fail', 'fail'), run('permanent', 'fail-permanent')]);
  await api.batchSubmitJobs({ specs: ['b1', 'b2', 'b1'].map((id) => jobSpec({ pool, id, work: kind('echo') })) });
  await submit(api, { pool, id: 'long', work: kind('slow'), payload: text('60000'), totalTimeout: toDuration(120_000) });
  await jobIn(api, pool, 'long', JobState.JOB_STATE_RUNNING);
  await api.cancelJob({ pool, id: 'long' });
  await submit(api, { pool, id: 'later', work: kind('echo'), notBefore: new Date(Date.now() + 60_000) });
  await api.cancelJob({ pool, id: 'later' });
  for (const state of [JobState.JOB_STATE_SUCCEEDED, JobState.JOB_STATE_FAILED, JobState.JOB_STATE_WAITING, JobState.JOB_STATE_SCHEDULED])
    await api.listJobs({ pool, state, pageSize: 10, pageToken: '' });
  await api.retryJob({ pool, id: 'permanent' });
  await api.retryBuried({ pool });
  await jobIn(api, pool, 'fail', JobState.JOB_STATE_FAILED);
  await api.purgePool({ pool, scope: PurgeScope.PURGE_SCOPE_BURIED });
}

async function operatorsActs(pool: string): Promise<void> {
  const { api } = other;
  await api.pausePool({ pool });
  await submit(api, { pool, id: 'queued', work: kind('echo'), priority: 3, queueTimeout: toDuration(60_000) });
  await api.purgePool({ pool, scope: PurgeScope.PURGE_SCOPE_QUEUED });
  await api.resumePool({ pool });
  await api.drainWorker({ pool, id: 'w' });
  await api.undrainWorker({ pool, id: 'w' });
  await api.putPoolDescriptors({ pool, fileDescriptorSet: emptyFiles({ 'a.proto': [] }) });
  await api.getPoolDescriptors({ pool });
  await api.listPools({});
  await api.listReplicas({});
  await api.listWorkers({ pool, state: WorkerState.WORKER_STATE_UNSPECIFIED, pageSize: 10, pageToken: '' });
}

async function attachedWorker(pool: string): Promise<void> {
  const worker = new Worker({ target: home.target, pool, id: 'a', slots: 2, labels: { a: 'b' } });
  worker.handle('greet', async (name: string, { progress }) => {
    await progress({ half: true });
    return `hello ${name}`;
  });
  await worker.start({ signals: false });
  const client = new Client({ target: other.target });
  expect(await client.run('greet', 'Ada', { pool })).toBe('hello Ada');
  await client.close();
  await worker.stop({ graceMs: 1_000 });
}

test('replicas, workers, health checks, operators and the command line need no more than the documented rights', { timeout: 60_000 }, async () => {
  const pool = uniquePool();
  const watching = new AbortController();
  const events: string[] = [];
  await runnerWorker(home.target, pool, 'w', { slots: 4 });
  const watched = (async () => {
    for await (const { kind } of other.api.watchEvents({ pool, after: '0', within: undefined }, { signal: watching.signal })) events.push(kind);
  })().catch(() => undefined);
  await jobsOfAllSorts(pool);
  await operatorsActs(pool);
  await attachedWorker(uniquePool());

  // One that dies: missed probes, a check by the other replica, its burial; one that is evicted.
  const dying = await runnerWorker(home.target, pool, 'dying');
  dying.close();
  await inState(pool, 'dying', WorkerState.WORKER_STATE_DEAD);
  const { port } = await acceptingWorker('evicted');
  await register(home.api, { id: 'evicted', pool, port });
  await other.api.evictWorker({ pool, id: 'evicted', reason: '' });
  await until(() => events.includes('worker.dead'), { what: 'its death among the events' });
  watching.abort();
  await watched;

  const env = { MUSTER_REDIS_URL: url, MUSTER_DURABILITY: 'durable' };
  const [audit, live, doctor] = [await muster(['audit'], { env }), await muster(['audit', '--live'], { env }), await muster(['doctor'], { env })];
  expect([audit.code, audit.text, live.code, doctor.code, doctor.text.split('\n').filter((line) => line.startsWith('error'))]).toEqual([
    0,
    '',
    0,
    0,
    [],
  ]);

  // Its workers find another home.
  await home.stop();
  await until(async () => (await getWorker(other.api, pool, 'w')).home === other.id, { timeoutMs: 20_000, what: 'the worker to have a new home' });
  expect(await refusals(raw)).toEqual([]);
  const schema = readSchema();
  expect((await scanKeys(raw, '')).filter((key) => findEntry(schema, key) === undefined)).toEqual([]);
});

test('it may do no more: no other key, no other channel, nothing that is the server’s', async () => {
  const user = new Redis(url, { disableClientInfo: true });
  const others: [string, ...string[]][] = [
    ['GET', 'other'],
    ['SET', 'must', 'x'],
    ['PUBLISH', 'other', 'x'],
    ['SUBSCRIBE', 'other'],
    ['FLUSHALL'],
    ['FLUSHDB'],
    ['KEYS', '*'],
    ['CONFIG', 'SET', 'maxmemory', '1'],
    ['SHUTDOWN'],
    ['ACL', 'LIST'],
    ['CLIENT', 'KILL', 'TYPE', 'normal'],
    ['SCRIPT', 'FLUSH'],
    ['FUNCTION', 'LIST'],
    ['MIGRATE', '127.0.0.1', '1', 'muster:pools', '0', '1'],
    ['RESTORE', 'muster:x', '0', ''],
  ];
  for (const [name, ...args] of others) await expect(user.call(name, ...args), name).rejects.toThrow(/^NOPERM/);
  user.disconnect();
});

test('what it lacks is said, with the command and the user: where a call needs it, and at a start as its end', async () => {
  const pool = uniquePool();
  await submit(other.api, { pool, id: 'j', work: kind('echo') });
  await raw.call('ACL', 'SETUSER', USER, '-xrevrange', '-xrange');
  const watched = (async () => {
    for await (const _ of other.api.watchEvents({ pool, after: '', within: undefined }));
  })();
  const error = await refusal(watched);
  expect([error.codeName, error.reason, error.message]).toEqual([
    'FAILED_PRECONDITION',
    'REDIS_REFUSES',
    expect.stringMatching(/^Redis refuses XREVRANGE to user muster: NOPERM .*docs\/redis\.md/),
  ]);
  await raw.call('ACL', 'SETUSER', USER, '-xadd');
  // Redis 7.0 does not say which one.
  expect((await refusal(other.api.pausePool({ pool }))).message).toMatch(
    /^Redis refuses (a command within a script of EVALSHA|XADD) to user muster: /,
  );
  await raw.call('ACL', 'SETUSER', USER, '+xadd', '+xrange', '+xrevrange', '-evalsha');
  expect((await refusal(other.api.pausePool({ pool }))).message).toMatch(/^Redis refuses EVALSHA to user muster: /);
  await raw.call('ACL', 'SETUSER', USER, '+evalsha', '-script|load');
  await expect(startReplica(url)).rejects.toMatchObject({
    reason: 'REDIS_REFUSES',
    message: expect.stringMatching(/^Redis refuses SCRIPT LOAD to user muster: /),
  });
  await raw.call('ACL', 'SETUSER', USER, '+script|load', 'resetchannels');
  await expect(startReplica(url)).rejects.toMatchObject({ message: expect.stringMatching(/^Redis refuses a channel of SUBSCRIBE to user muster: /) });
});

test('a password that is not taken ends a start at once, and doctor', async () => {
  const wrong = url.replace(SECRET, 'wrong');
  const remedy = /^Redis does not take user muster and the password \(WRONGPASS .*set both in MUSTER_REDIS_URL/;
  await expect(startReplica(wrong)).rejects.toMatchObject({ reason: 'REDIS_AUTH', message: expect.stringMatching(remedy) });
  const doctor = await muster(['doctor', '--redis-url', wrong]);
  expect([doctor.code, doctor.story]).toEqual([1, expect.stringMatching(/muster: Redis does not take user muster and the password/)]);
  expect(doctor.story).not.toContain('wrong@');
});

test('without CONFIG, and without INFO too, a replica starts and works; durability cannot be judged, and that is said', {
  timeout: 30_000,
}, async () => {
  await raw.call('ACL', 'SETUSER', USER, '-config|get');
  await expect(startReplica(url, { DURABILITY: 'durable' })).rejects.toMatchObject({ reason: 'DURABILITY' });
  const trusted = await startReplica(url, { DURABILITY: 'durable', DURABILITY_UNCHECKED: true });
  expect(trusted.lines.some(({ msg }) => /does not tell whether it is synced on every write/.test(msg))).toBe(true);
  await trusted.stop();

  await raw.call('ACL', 'SETUSER', USER, '-info');
  await expect(startReplica(url, { DURABILITY: 'durable' })).rejects.toMatchObject({
    message: expect.stringContaining('whether it keeps an append-only file'),
  });
  await raw.del(keys.swept);
  const replica = await startReplica(url);
  expect(replica.lines.some(({ msg }) => /MUSTER_DURABILITY is fast, but: Redis does not tell/.test(msg))).toBe(true);
  const pool = uniquePool();
  await runnerWorker(replica.target, pool, 'w');
  await runToEnd(replica.api, { pool, id: 'j', work: kind('echo') });
  await until(() => raw.exists(keys.swept), { timeoutMs: 20_000, what: 'a sweep by BullMQ' });
  const doctor = await muster(['doctor'], { env: { MUSTER_REDIS_URL: url } });
  expect([doctor.code, doctor.text]).toEqual([0, expect.stringMatching(/^warn +redis version +Redis does not tell its version/m)]);
  await replica.stop();
});
