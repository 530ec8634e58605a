import { status } from '@grpc/grpc-js';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DEFAULT_POOL } from '../../../src/domain/names.js';
import { Verdict } from '../../../src/grpc/generated/muster/v1/worker.js';
import { MAX_GUESSES } from '../../../src/links/guess-budget.js';
import { jobSpec } from '../../../src/sdk/run.js';
import { keys } from '../../../src/store/keys.js';
import { firstContract } from '../../helpers/first-contract.js';
import { ownRedis } from '../../helpers/redis.js';
import { until } from '../../helpers/until.js';
import { heldOf, type LeaseNamed, lastFailure, output, RawWorker } from './raw-worker.js';
import { endOf, getJob, getWorker, type Running, startReplica, submit } from './support.js';
import { acceptingWorker, legacyWorker, register } from './workers.js';

let one: Running;
let two: Running;
let redis: Redis;

beforeAll(async () => {
  const { url } = await ownRedis();
  [one, two] = await Promise.all([startReplica(url, { SETTLE_MS: 10 }), startReplica(url, { SETTLE_MS: 10 })]);
  redis = new Redis(url);
});
afterAll(() => redis.disconnect());

const work = { $case: 'kind', value: 'any' } as const;
/** What the first replica counted. */
async function guesses(): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${one.httpPort}/metrics`)).text();
  return Number(/^muster_lease_guesses_total\{call="attach"\} (\d+)/m.exec(text)?.[1] ?? 0);
}

let pools = 0;
const newPool = () => `strangers-${++pools}`;

/** A worker at the first replica that runs one job. */
async function victim(pool: string) {
  const worker = await RawWorker.attach(one.target, { pool, id: 'v' });
  return { worker, lease: await runs(worker, pool) };
}

async function runs(worker: RawWorker, pool: string): Promise<LeaseNamed> {
  await submit(one.api, { pool, id: 'job', work });
  const lease = await worker.assigned('job');
  worker.held.push(lease);
  return lease;
}

/** What must not change, whatever a stranger says. */
async function standing(pool: string) {
  const [{ state, slots, boot, home, linkEpoch, held }, job] = await Promise.all([getWorker(one.api, pool, 'v'), getJob(one.api, pool, 'job')]);
  return { state, slots, boot, home, linkEpoch, held, job: endOf(job), progress: job.progress.toString() };
}

interface Stranger {
  worker: RawWorker;
  /** As whom it reports by unary call. */
  as: { pool: string; workerId: string; boot: string };
  at: Running;
}

const attached = async (at: Running, pool: string, id = 's', boot = 's-boot'): Promise<Stranger> => ({
  at,
  worker: await RawWorker.attach(at.target, { pool, id, boot, slots: 4 }),
  as: { pool, workerId: id, boot },
});

/** Each is given the lease of `v` to name. The pool is paused: a stranger that is free must not be given the job. */
const STRANGERS: [string, (pool: string) => Promise<Stranger>][] = [
  ['another worker at the same replica', (pool) => attached(one, pool)],
  ['another worker at another replica', (pool) => attached(two, pool)],
  ['a worker of another pool', () => attached(one, newPool())],
];

const FRAMES: [string, (stranger: Stranger, lease: LeaseNamed) => unknown][] = [
  ['a success', ({ worker }, lease) => worker.settle(output(lease, 'forged'))],
  ['a permanent failure', ({ worker }, lease) => worker.settle(lastFailure(lease))],
  ['a heartbeat', ({ worker }, lease) => worker.send({ $case: 'beat', value: { held: heldOf([lease], { progress: Buffer.from('forged') }) } })],
  ['received', ({ worker }, lease) => worker.send({ $case: 'received', value: { held: heldOf([lease]) } })],
  ['received, stopped', ({ worker }, lease) => worker.send({ $case: 'received', value: { held: heldOf([lease], { done: true }) } })],
  ['a pong', ({ worker }, lease) => worker.send({ $case: 'pong', value: { nonce: '1', held: heldOf([lease]) } })],
  ['a resize', ({ worker }) => worker.send({ $case: 'resize', value: { slots: 7 } })],
  ['a goodbye', ({ worker }) => worker.send({ $case: 'goodbye', value: { drainTimeout: { seconds: '0', nanos: 0 } } })],
  ['Report', ({ at, as }, lease) => at.api.report({ ...as, results: [output(lease, 'forged')], beat: { held: heldOf([lease]) } })],
  ['Ping', ({ at, as }) => at.api.ping({ pool: as.pool, id: as.workerId, boot: as.boot })],
  [
    'Deregister',
    ({ at, as }) => at.api.deregister({ pool: as.pool, id: as.workerId, boot: as.boot, drainTimeout: undefined }).catch(() => undefined),
  ],
];

describe.each(STRANGERS)('%s names the lease of a worker', (_who, arrive) => {
  test('no frame and no call changes anything of the lease, its job, or its worker', async () => {
    const pool = newPool();
    const { worker, lease } = await victim(pool);
    await one.api.pausePool({ pool });
    const before = await standing(pool);
    for (const [what, act] of FRAMES) {
      const stranger = await arrive(pool);
      await act(stranger, lease);
      // Frames of one stream are read in their order: what came before this result has been read.
      if (!stranger.worker.ended) await stranger.worker.settle(output({ jobId: 'unknown', fence: '1' }));
      expect(await standing(pool), what).toEqual(before);
      expect(
        [...stranger.worker.verdicts].filter(([name]) => name.startsWith('job ')).map(([, verdict]) => verdict),
        what,
      ).toEqual(what.includes('success') || what.includes('failure') ? [expect.toBeOneOf([Verdict.VERDICT_STALE, Verdict.VERDICT_GONE])] : []);
      stranger.worker.end();
    }
    // The worker's own report counts as before.
    expect(await worker.settle(output(lease, 'true'))).toBe(Verdict.VERDICT_ACCEPTED);
    expect(endOf(await getJob(one.api, pool, 'job'))).toMatchObject({ state: 'JOB_STATE_SUCCEEDED', attempt: 1, worker: 'v', output: 'true' });
  });
});

test('an older incarnation of a worker cannot end what the present one runs', async () => {
  const pool = newPool();
  const old = await RawWorker.attach(two.target, { pool, id: 'v', boot: 'old' });
  // Its home has missed it, until it hears it again: the next incarnation may take over.
  const worker = await until(
    async () => {
      await redis.hset(keys.worker(pool, 'v'), { state: 'suspect', suspected: Date.now() });
      return RawWorker.attach(one.target, { pool, id: 'v', boot: 'new' }).catch(() => undefined);
    },
    { what: 'the next incarnation to attach' },
  );
  const lease = await runs(worker, pool);
  const before = await standing(pool);
  for (const act of [output(lease, 'forged'), lastFailure(lease)]) expect(await old.settle(act)).not.toBe(Verdict.VERDICT_ACCEPTED);
  const forged = { pool, workerId: 'v', boot: 'old', results: [output(lease, 'forged')], beat: { held: heldOf([lease]) } };
  expect(await one.api.report(forged)).toMatchObject({ settlements: [{ verdict: Verdict.VERDICT_STALE }], revoked: [{ jobId: 'job' }] });
  await expect(one.api.deregister({ pool, id: 'v', boot: 'old', drainTimeout: undefined })).rejects.toMatchObject({ reason: 'SUPERSEDED' });
  expect(await one.api.ping({ pool, id: 'v', boot: 'old' })).toMatchObject({ healthy: false });
  expect(await standing(pool)).toEqual(before);
  expect(await worker.settle(output(lease))).toBe(Verdict.VERDICT_ACCEPTED);
});

describe('leases that a worker was never given', () => {
  const refused = { code: status.PERMISSION_DENIED, details: expect.stringContaining('named more than') };

  test.each([
    ['results for the lease of another worker', (s: RawWorker, lease: LeaseNamed) => s.settle(output(lease, 'forged'))],
    ['results for jobs that never were', (s: RawWorker, _: LeaseNamed, i: number) => s.result(output({ jobId: `never-${i}`, fence: `${i + 1}` }))],
    ['heartbeats for the lease of another worker', (s: RawWorker, lease: LeaseNamed) => s.send({ $case: 'beat', value: { held: heldOf([lease]) } })],
    ['receipts of the lease of another worker', (s: RawWorker, lease: LeaseNamed) => s.send({ $case: 'received', value: { held: heldOf([lease]) } })],
  ])('%s end its stream past a bound, and are counted', async (_what, guess) => {
    const pool = newPool();
    const { worker, lease } = await victim(pool);
    await one.api.pausePool({ pool });
    const stranger = await RawWorker.attach(one.target, { pool, id: 's' });
    const counted = await guesses();
    for (let i = 0; i < 2 * MAX_GUESSES; i++) await guess(stranger, lease, i);
    await until(() => stranger.ended, { what: 'the stream to end' });
    expect(stranger.error).toMatchObject(refused);
    expect((await guesses()) - counted).toBeGreaterThanOrEqual(MAX_GUESSES);
    expect(await worker.settle(output(lease))).toBe(Verdict.VERDICT_ACCEPTED);
  });

  test('late results of an honest worker are no guesses: cancelled, brought along, trimmed, and after all data of Redis were lost', async () => {
    const pool = newPool();
    const jobs = 2 * MAX_GUESSES;
    const first = await RawWorker.attach(one.target, { pool, id: 'w', slots: jobs });
    const ids = Array.from({ length: jobs }, (_, i) => `late-${i}`);
    await one.api.batchSubmitJobs({ specs: ids.map((id) => jobSpec({ pool, id, work })) });
    const given = await Promise.all(ids.map((id) => first.assigned(id)));
    // It comes back over another stream with all of it, and then nobody knows its jobs any more.
    const again = await RawWorker.attach(two.target, { pool, id: 'w', slots: jobs }, given);
    const gone = await redis.keys(`muster:{${pool}}:job:*`);
    await redis.del(...gone, keys.held(pool, 'w'));
    for (const lease of given) again.result(output(lease));
    await until(() => again.verdicts.size === jobs, { what: 'all verdicts' });
    expect(new Set(again.verdicts.values())).toEqual(new Set([Verdict.VERDICT_GONE]));
    expect(again.ended).toBe(false);
  });
});

describe('the ID of a worker that lives', () => {
  test('is not taken over by Register while it is attached, by neither contract', async () => {
    const pool = DEFAULT_POOL;
    const { worker } = await victim(pool);
    await worker.settle(output(await worker.assigned('job')));
    const before = await getWorker(one.api, pool, 'v');
    const exists = { code: status.ALREADY_EXISTS, reason: 'WORKER_EXISTS' };
    const dialed = await acceptingWorker('v');
    for (const boot of ['other', 'v-boot']) {
      await expect(register(two.api, { id: 'v', pool, port: dialed.port, boot })).rejects.toMatchObject(exists);
    }
    const old = await legacyWorker('v');
    const legacy = firstContract(one.target);
    await expect(legacy.register({ id: 'v', ip: '127.0.0.1', port: old.port, region: '' })).rejects.toMatchObject({ code: exists.code });
    legacy.close();
    expect(await getWorker(one.api, pool, 'v')).toEqual({ ...before, lastSeenTime: expect.anything() });
    expect(worker.ended).toBe(false);
  });

  test('is not taken over by Attach while it is dialed', async () => {
    const pool = newPool();
    const dialed = await acceptingWorker('v');
    await register(one.api, { id: 'v', pool, port: dialed.port });
    for (const boot of ['other', `127.0.0.1:${dialed.port}`]) {
      await expect(RawWorker.attach(two.target, { pool, id: 'v', boot })).rejects.toMatchObject({ code: status.ALREADY_EXISTS });
    }
    expect(await getWorker(one.api, pool, 'v')).toMatchObject({ boot: `127.0.0.1:${dialed.port}`, address: `127.0.0.1:${dialed.port}` });
  });
});
