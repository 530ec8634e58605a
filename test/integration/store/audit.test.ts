import { afterAll, beforeAll, expect, test } from 'vitest';
import { systemClock } from '../../../src/domain/clock.js';
import { Inspection } from '../../../src/store/inspection.js';
import { keys } from '../../../src/store/keys.js';
import { failure, LIMITS, StoreFixture, T0, type TestPool } from '../../helpers/store-fixture.js';

const fixture = new StoreFixture();
const inspections: Inspection[] = [];

async function inspect(exactList = LIMITS.EXACT_LIST): Promise<Inspection> {
  const limits = { ...LIMITS, EXACT_LIST: exactList };
  const inspection = new Inspection({
    ...{ url: fixture.redis.url, timeoutMs: 5_000, limits, clock: systemClock, testClock: true, onError: () => undefined },
    lookAgainMs: 1,
  });
  await inspection.start(AbortSignal.timeout(10_000));
  inspections.push(inspection);
  return inspection;
}

let short: Inspection;
/** For it every list is a long one. */
let long: Inspection;
beforeAll(async () => {
  short = await inspect();
  long = await inspect(0);
});
afterAll(() => {
  for (const inspection of inspections) inspection.stop();
});

/** What both ways of looking find: `invariant subject: what`. */
async function found(p: TestPool): Promise<string[]> {
  const [one, other] = [await short.audit(p.name), await long.audit(p.name)];
  const lines = (findings: typeof one) => findings.map(({ invariant, subject, what }) => `${invariant} ${subject}: ${what}`).sort();
  // Dead entries of the queues are counted while the queues are short only.
  expect(lines(other)).toEqual(lines(one).filter((line) => !line.startsWith('I5 pool')));
  // Asked for by their names, the jobs that no index has are found without reading all keys; workers in no index are not.
  expect(lines(await short.auditLive(p.name, await jobsOf(p)))).toEqual(
    lines(one).filter((line) => !/^L1 worker .* not in (workers|dead):/.test(line)),
  );
  return lines(one);
}

async function jobsOf(p: TestPool): Promise<string[]> {
  const ids = (await p.raw.keys(`muster:{${p.name}}:job:*`)).map((key) => key.split(':')[3] ?? '');
  return [...new Set(ids)];
}

/** A pool with a job and a worker in every state. */
async function everything(): Promise<TestPool> {
  const p = await fixture.pool();
  const done = await p.leased('succeeded', 'w1', { job: { metadata: { a: 'b' } } });
  await p.finish([p.result(done)]);
  await p.job('buried', { retry: { maxAttempts: 1, initialBackoffMs: 0, maxBackoffMs: 0, multiplier: 1, fatalCodes: [] } });
  await p.finish([p.result(await p.lease(done, 'buried'), failure())]);
  await p.job('backoff', { totalTimeoutMs: 600_000 });
  await p.finish([p.result(await p.lease(done, 'backoff'), failure())]);
  await p.job('cancelled');
  await p.lease(done, 'cancelled');
  await p.r1.jobs.cancel(p.name, ['cancelled']);
  await p.leased('running', 'w2', { info: { slots: 2 } });
  await p.job('undelivered', { totalTimeoutMs: 600_000 });
  await p.leased('draining', 'w3');
  await p.r1.workers.drain(p.name, 'w3', true);
  await p.leased('suspect', 'w4');
  await p.r1.workers.suspect({ ...(await ref(p, 'w4')) }, 1, 'silent');
  await p.worker('w5');
  await p.r1.workers.bury({ pool: p.name, id: 'w5', boot: '', link: '' }, 0, 'test');
  await p.leased('leased', 'w6');
  await p.r1.workers.resize(await ref(p, 'w2'), 1);
  await p.job('waiting', { metadata: { a: 'b' }, queueTimeoutMs: 600_000, payload: Buffer.from('x') });
  await p.job('urgent', { priority: 3 });
  await p.job('scheduled', { notBefore: 1_900_000_000_000 });
  return p;
}

async function ref(p: TestPool, id: string) {
  const [boot = '', link = ''] = await p.raw.hmget(keys.worker(p.name, id), 'boot', 'link');
  return { pool: p.name, id, boot: boot ?? '', link: link ?? '' };
}

test('a pool with a job and a worker in every state is well', async () => {
  const p = await everything();
  const jobs = await Promise.all(
    (await p.raw.keys(`muster:{${p.name}}:job:*`)).map(async (key) => ((await p.raw.type(key)) === 'hash' ? p.raw.hget(key, 'state') : '')),
  );
  expect(new Set(jobs.filter((state) => state !== ''))).toEqual(new Set(['succeeded', 'failed', 'scheduled', 'cancelled', 'running', 'waiting']));
  const workers = await Promise.all(['w1', 'w2', 'w3', 'w4', 'w5', 'w6'].map((id) => p.workerState(id)));
  expect(new Set(workers)).toEqual(new Set(['busy', 'draining', 'suspect', 'dead']));
  expect(await found(p)).toEqual([]);
});

type Break = (p: TestPool) => [command: string, ...args: (string | number)[]];
const job = (p: TestPool, id: string) => keys.job(p.name, id);
const worker = (p: TestPool, id: string) => keys.worker(p.name, id);

const BREAKS: [name: string, command: Break, finding: string | RegExp][] = [
  ['a running job has no lease', (p) => ['zrem', keys.leases(p.name), 'running'], 'I1 job running: is running, and not in leases'],
  ['a worker lost what it runs', (p) => ['del', keys.held(p.name, 'w6')], /^I1 job leased: runs on w6 under fence \d+, which holds nothing for it$/],
  ['a job runs elsewhere', (p) => ['hset', job(p, 'running'), 'worker', 'w6'], /^I1 worker w2: holds running under fence \d+, which runs on w6 /],
  [
    'a worker runs what has ended',
    (p) => ['hset', keys.held(p.name, 'w6'), 'succeeded', '1'],
    'I1 worker w6: holds succeeded under fence 1, which is succeeded',
  ],
  ['a dead worker holds a job', (p) => ['hset', keys.held(p.name, 'w5'), 'x', '!1'], 'I1 worker w5: is dead and holds 1'],
  ['the fence ran back', (p) => ['hset', keys.meta(p.name), 'fence', '1'], /^I2 job running: runs under fence \d+, the highest issued is 1$/],
  [
    'a job runs on after its result',
    (p) => ['hset', job(p, 'running'), 'fence', '7', 'done', '7'],
    'I3 job running: runs under fence 7, whose result was accepted',
  ],
  ['a waiting job is in no queue', (p) => ['lrem', keys.waiting(p.name, 0), 1, 'waiting'], 'I5 job waiting: waits, and is not in waiting:0'],
  ['a waiting job is in another queue', (p) => ['hset', job(p, 'urgent'), 'priority', '2'], 'I5 job urgent: waits, and is not in waiting:2'],
  ['a scheduled job is not in later', (p) => ['zrem', keys.later(p.name), 'backoff'], 'I5 job backoff: is scheduled, and not in later'],
  ['a scheduled job is gone', (p) => ['del', job(p, 'scheduled')], 'I5 job scheduled: stands in later, and has no hash'],
  ['a running job is gone', (p) => ['del', job(p, 'running')], 'I5 job running: stands in leases, and has no hash'],
  ['a waiting job expires', (p) => ['pexpire', job(p, 'waiting'), 100_000], 'I5 job waiting: is waiting and will be forgotten'],
  [
    'its payload expires',
    (p) => ['pexpire', keys.payload(p.name, 'waiting'), 100_000],
    'I5 job waiting: is waiting and its payload will be forgotten',
  ],
  ['its metadata is gone', (p) => ['del', keys.metadata(p.name, 'waiting')], 'I5 job waiting: is waiting and its metadata is gone or will be'],
  ['a result is gone', (p) => ['del', keys.result(p.name, 'succeeded')], 'I5 job succeeded: succeeded, and its result is gone'],
  ['a dead letter is in no list', (p) => ['zrem', keys.buried(p.name), 'buried'], 'I5 job buried: failed, and is not in buried'],
  ['no such state', (p) => ['hset', job(p, 'waiting'), 'state', 'lost'], 'I5 job waiting: is lost, which is no state'],
  [
    'dead entries are miscounted',
    (p) => ['hset', keys.meta(p.name), 'tombstones', '3'],
    'I5 pool: 3 dead entries are counted in the queues, 0 are there',
  ],
  ['a job goes on after its end', (p) => ['hset', job(p, 'running'), 'finished', '1'], 'I6 job running: is running after its end'],
  ['an ended job is leased', (p) => ['zadd', keys.leases(p.name), 1, 'succeeded'], 'I6 job succeeded: is succeeded, and in leases'],
  ['an ended job is due', (p) => ['zadd', keys.later(p.name), 1, 'cancelled'], 'I6 job cancelled: is cancelled, and in later'],
  ['an ended job without its time', (p) => ['hdel', job(p, 'cancelled'), 'finished'], 'I6 job cancelled: is cancelled, and has no time of its end'],
  ['a stranger is listed', (p) => ['rpush', keys.free(p.name), 'w99'], 'I7 worker w99: stands in the free list, and nobody knows it'],
  ['listed, and its hash says not', (p) => ['rpush', keys.free(p.name), 'w6'], 'I7 worker w6: stands 1 times in the free list, its hash says 0'],
  [
    'not listed, and its hash says so',
    (p) => ['hset', worker(p, 'w6'), 'listed', '1'],
    'I7 worker w6: stands 0 times in the free list, its hash says 1',
  ],
  ['a busy worker has room', (p) => ['hset', worker(p, 'w6'), 'slots', '2'], 'I7 worker w6: is busy with 1 of 2 slots taken'],
  ['a busy worker was drained', (p) => ['hset', worker(p, 'w6'), 'drained', '1'], 'I7 worker w6: is busy, though it is drained'],
  ['a free worker is full', (p) => ['hset', worker(p, 'w6'), 'state', 'free'], 'I7 worker w6: is free and not listed'],
  ['no such worker state', (p) => ['hset', worker(p, 'w6'), 'state', 'lost'], 'I7 worker w6: is lost, which is no state'],
  ['a boot came back', (p) => ['hset', worker(p, 'w6'), 'previous', 'w6-b1'], 'I8 worker w6: its boot w6-b1 is the one before it too'],
  ['an ended job stays for ever', (p) => ['persist', job(p, 'succeeded')], 'L1 job succeeded: is succeeded and is never forgotten'],
  [
    'a result stays for ever',
    (p) => ['persist', keys.result(p.name, 'succeeded')],
    'L1 job succeeded: is succeeded and its result is never forgotten',
  ],
  [
    'a deadline is forgotten',
    (p) => ['zrem', keys.deadlines(p.name), 'waiting'],
    'L1 job waiting: has a deadline and is not in deadlines: it never expires',
  ],
  [
    'a worker is not on the roll',
    (p) => ['zrem', keys.workers(p.name), 'w6'],
    'L1 worker w6: is busy and not in workers: nobody misses it when it is silent',
  ],
  ['a stranger is on the roll', (p) => ['zadd', keys.workers(p.name), 1, 'w99'], 'L1 worker w99: stands in workers, and has no hash'],
  ['a live worker is in dead', (p) => ['zadd', keys.dead(p.name), 1, 'w6'], 'L1 worker w6: is busy and in dead: it will be forgotten'],
  ['a dead worker is on the roll', (p) => ['zadd', keys.workers(p.name), 1, 'w5'], 'L1 worker w5: is dead and still in workers'],
  ['a dead worker stays for ever', (p) => ['zrem', keys.dead(p.name), 'w5'], 'L1 worker w5: is dead and not in dead: it is never forgotten'],
  ['draining for no reason', (p) => ['hdel', worker(p, 'w3'), 'drained'], 'L1 worker w3: is draining, and was neither drained nor leaves'],
  ['the pool is on no list', (p) => ['srem', keys.pools, p.name], ''],
];

test.each(BREAKS)('%s: found and named', async (_name, command, finding) => {
  const p = await everything();
  const [name, ...args] = command(p);
  await p.raw.call(name, ...args);
  if (finding === '') {
    const ofAll = (await short.audit()).filter(({ pool }) => pool === p.name);
    expect(ofAll).toEqual([{ pool: p.name, invariant: 'L1', subject: 'pool', what: 'has keys and is not on the list of pools: nobody ticks it' }]);
    return;
  }
  const lines = await found(p);
  expect(lines.filter((line) => (typeof finding === 'string' ? line === finding : finding.test(line)))).toHaveLength(1);
});

test('free workers and an empty pool are well', async () => {
  const p = await fixture.pool();
  expect(await found(p)).toEqual([]);
  for (const id of ['w1', 'w2', 'w3']) await p.worker(id, { slots: 3 });
  await p.job();
  expect(await found(p)).toEqual([]);
});

test('a free worker listed twice is found in a long list too', async () => {
  const p = await fixture.pool();
  await p.worker();
  await p.raw.rpush(keys.free(p.name), 'w1');
  expect(await found(p)).toEqual(['I7 worker w1: stands twice or more in the free list, its hash says 1']);
});

test('keys of another type, which make every script fail, are found', async () => {
  const p = await everything();
  await p.raw.set(job(p, 'waiting'), 'bytes');
  const lines = (await short.audit(p.name)).map(({ invariant, subject, what }) => `${invariant} ${subject}: ${what}`);
  expect(lines).toContain('I5 job waiting: stands in waiting:0, and its key holds something else: the scripts fail');
  await p.raw.set(worker(p, 'w6'), 'bytes');
  const [first] = (await short.audit(p.name)).filter(({ subject }) => subject === 'worker w6');
  expect(first?.what).toMatch(/^cannot be read, by no script: WRONGTYPE/);
});

test('the quarantine of a METHOD worker needs an end', async () => {
  const p = await fixture.pool();
  const lease = await p.leased('j1', 'w1', { job: { kind: '', method: '/a.B/C' }, info: { contract: 'METHOD' } });
  await p.r1.jobs.cancel(p.name, ['j1']);
  expect(await found(p)).toEqual([]);
  await p.raw.zrem(keys.leases(p.name), `!${lease.fence} w1 j1`);
  expect(await found(p)).toEqual(['L1 worker w1: the quarantine of j1 has no end']);
});

test('a waiting job beside a free worker is broken when a tick has passed, and not before', async () => {
  const p = await fixture.pool();
  await p.r1.jobs.pause(p.name, true);
  await p.worker();
  await p.job();
  await p.raw.hdel(keys.meta(p.name), 'paused');
  // Nobody has ticked between the two looks: it may be under way.
  expect(await found(p)).toEqual([]);
  const audit = inspectWhile(() => p.raw.hset(keys.meta(p.name), 'ticked', String(T0 + 1)));
  expect(await (await audit)(p)).toEqual(['I9']);
});

test('more than the slots is broken when it was given while it was too much', async () => {
  const p = await fixture.pool();
  const lease = await p.leased('j1', 'w1', { info: { slots: 2 } });
  await p.job('j2');
  await p.r1.workers.resize(lease, 1);
  // It held two when it was told to take one.
  expect(await found(p)).toEqual([]);
  for (const fence of ['1900000000000000', '!1900000000000000']) {
    await p.raw.hset(keys.held(p.name, 'w1'), 'j2', fence);
    expect(await found(p)).toContain('I1 worker w1: was given more while it held 2 of 1 slots');
  }
});

test('a stream that says of more attempts than the slots is well; more given after it is not', async () => {
  const p = await fixture.pool();
  const hello = { ...p.info('w1', { slots: 1 }), labels: {}, kinds: [], version: '' };
  await p.r1.workers.attach(hello, [
    { jobId: 'j8', fence: '8', done: false },
    { jobId: 'j9', fence: '9', done: false },
  ]);
  expect(await p.raw.hlen(keys.held(p.name, 'w1'))).toBe(2);
  expect(await found(p)).toEqual([]);
  await p.raw.hset(keys.held(p.name, 'w1'), 'j10', '!1900000000000000');
  expect(await found(p)).toEqual(['I1 worker w1: was given more while it held 3 of 1 slots']);
});

test('what no index names is found by an audit of all keys alone; what is wrong with a live pool is found without it', async () => {
  const p = await everything();
  await p.raw.lrem(keys.waiting(p.name, 0), 1, 'waiting');
  await p.raw.zrem(keys.leases(p.name), 'leased');
  await p.raw.hset(job(p, 'running'), 'worker', 'w6');
  const subjects = (await short.auditLive(p.name)).map(({ subject }) => subject);
  expect(new Set(subjects)).toEqual(new Set(['worker w2', 'job running']));
  expect((await short.auditLive(p.name, ['waiting', 'leased'])).map(({ subject }) => subject)).toEqual(
    expect.arrayContaining(['job waiting', 'job leased']),
  );
});

/** An audit between whose two looks something is done; the invariants that it finds broken, of those that take two looks. */
async function inspectWhile(act: () => Promise<unknown>): Promise<(p: TestPool) => Promise<string[]>> {
  const clock = { ...systemClock, sleep: async () => void (await act()) };
  const inspection = new Inspection({ url: fixture.redis.url, timeoutMs: 5_000, limits: LIMITS, clock, testClock: true, onError: () => undefined });
  await inspection.start(AbortSignal.timeout(10_000));
  inspections.push(inspection);
  return async (p) => (await inspection.audit(p.name)).map(({ invariant }) => invariant);
}

test('lists longer than what is searched at once: nothing is found in hundreds of jobs and workers that are well', async () => {
  const p = await fixture.pool();
  const specs = Array.from({ length: 2_300 }, (_, i) => p.spec(`j${i}`));
  for (let i = 0; i < specs.length; i += 100) await p.submit(specs.slice(i, i + 100), { max: 10_000 });
  await p.r1.jobs.cancel(p.name, ['j3', 'j2000']);
  expect(await found(p)).toEqual([]);
  await p.raw.lrem(keys.waiting(p.name, 0), 1, 'j2299');
  expect(await found(p)).toEqual(['I5 job j2299: waits, and is not in waiting:0']);
});
