import { beforeAll, expect, test } from 'vitest';
import type { EmbeddedRedis } from '../../../src/lifecycle/embedded-redis.js';
import { ApiError } from '../../../src/sdk/api-error.js';
import { Client, Worker } from '../../../src/sdk/index.js';
import { jobSpec } from '../../../src/sdk/run.js';
import { ownRedis } from '../../helpers/redis.js';
import { over, type Secured, startSecured, token } from '../../helpers/secured.js';
import { until } from '../../helpers/until.js';

const TOKENS = { shop: token('client', 'shop'), other: token('client', 'other'), runner: token('worker', 'runner'), ops: token('admin', 'ops') };
const tokens = Object.values(TOKENS).map(({ line }) => line);
let redis: EmbeddedRedis;

beforeAll(async () => {
  redis = await ownRedis();
});

const spec = (pool: string, id: string) => jobSpec({ pool, id, work: { $case: 'kind', value: 'echo' }, payload: Buffer.from('1') });
const creds = (replica: Secured, who: keyof typeof TOKENS) => over(replica.ca, { secret: TOKENS[who].secret });

async function refusal(call: Promise<unknown>): Promise<ApiError> {
  const error = await call.then(
    () => new Error('it was answered'),
    (thrown: unknown) => thrown,
  );
  if (error instanceof ApiError) return error;
  throw error;
}

test('QUOTA_STREAMS: more streams of one identity are refused with RetryInfo, others are not, and one that ends makes room', async () => {
  const replica = await startSecured(redis.url, { tokens, settings: { QUOTA_STREAMS: 2 } });
  const watch = (who: 'ops') => {
    const stop = new AbortController();
    const api = replica.api(creds(replica, who));
    const stream = { error: undefined as ApiError | undefined, heard: false, stop: () => stop.abort() };
    void (async () => {
      for await (const _ of api.watchEvents({ pool: 's', after: '', within: undefined }, { signal: stop.signal })) stream.heard = true;
    })().catch((error: ApiError) => {
      stream.error = error;
    });
    return stream;
  };
  const ops = replica.api(creds(replica, 'ops'));
  const stir = async () => {
    await ops.pausePool({ pool: 's' });
    await ops.resumePool({ pool: 's' });
  };
  await replica.api(creds(replica, 'shop')).submitJob({ spec: spec('s', 'first') });
  const open = [watch('ops'), watch('ops')];
  await until(async () => {
    await stir();
    return open.every(({ heard }) => heard);
  });
  const third = watch('ops');
  await until(() => third.error);
  expect(third.error).toMatchObject({ codeName: 'RESOURCE_EXHAUSTED', reason: 'QUOTA_STREAMS', details: { retryAfterMs: 1000 } });
  expect(third.error?.message).toContain('ops has 2 streams');
  const worker = new Worker({ target: replica.target, credentials: creds(replica, 'runner'), pool: 's', id: 'w' }).handle('echo', async (x) => x);
  await worker.start({ signals: false });
  const client = new Client({ target: replica.target, credentials: creds(replica, 'shop') });
  expect(await client.run('echo', 7, { pool: 's' })).toBe(7);
  open[0]?.stop();
  await until(async () => {
    const next = watch('ops');
    await until(async () => {
      await stir();
      return next.heard || next.error;
    });
    return next.heard;
  });
  await Promise.all([worker.stop({ graceMs: 0 }), client.close()]);
});

test('QUOTA_SUBMISSIONS: each job counts, of a batch and of a session too; who waits as long as it is told may go on', async () => {
  const replica = await startSecured(redis.url, { tokens, settings: { QUOTA_SUBMISSIONS: 5 } });
  const api = replica.api(creds(replica, 'shop'));
  const { results } = await api.batchSubmitJobs({ specs: Array.from({ length: 8 }, (_, i) => spec('r', `b${i}`)) });
  expect(results.map(({ reason }) => reason).sort()).toEqual(['', '', '', '', '', ...Array(3).fill('QUOTA_SUBMISSIONS')]);
  const error = await refusal(api.submitJob({ spec: spec('r', 'one') }));
  expect([error.codeName, error.reason]).toEqual(['RESOURCE_EXHAUSTED', 'QUOTA_SUBMISSIONS']);
  expect(error.details.retryAfterMs).toBeGreaterThan(0);
  expect(error.details.retryAfterMs).toBeLessThanOrEqual(200);
  const client = new Client({ target: replica.target, credentials: creds(replica, 'shop') });
  const session = await Promise.allSettled(Array.from({ length: 8 }, () => client.submit('echo', 1, { pool: 'r' })));
  const refused = session.flatMap((one) => (one.status === 'rejected' ? [(one.reason as ApiError).reason] : []));
  expect(refused.length).toBeGreaterThan(0);
  expect(new Set(refused)).toEqual(new Set(['QUOTA_SUBMISSIONS']));
  // Another identity is not disturbed.
  expect(await replica.api(creds(replica, 'other')).submitJob({ spec: spec('r', 'other') })).toMatchObject({ created: true });
  expect(await until(() => api.submitJob({ spec: spec('r', 'later') }))).toMatchObject({ created: true });
  await client.close();
});

test('QUOTA_WAITING: jobs that have not ended count until their end is known here, whoever ended them and wherever', async () => {
  const replica = await startSecured(redis.url, { tokens, settings: { QUOTA_WAITING: 3 } });
  const elsewhere = await startSecured(redis.url, { tokens });
  const api = replica.api(creds(replica, 'shop'));
  for (const id of ['a', 'b', 'c']) await api.submitJob({ spec: spec('w', id) });
  const error = await refusal(api.submitJob({ spec: spec('w', 'd') }));
  expect(error).toMatchObject({ codeName: 'RESOURCE_EXHAUSTED', reason: 'QUOTA_WAITING', details: { retryAfterMs: 1000 } });
  // What is there already is no new one.
  expect(await replica.api(creds(replica, 'other')).submitJob({ spec: spec('w', 'a') })).toMatchObject({ created: false });
  // Ended at another replica: this one is told.
  await elsewhere.api(over(elsewhere.ca, { secret: TOKENS.shop.secret })).cancelJob({ pool: 'w', id: 'b' });
  expect(await until(() => api.submitJob({ spec: spec('w', 'd') }), { timeoutMs: 3_000 })).toMatchObject({ created: true });
  // Run to their ends here: RunJob, a batch and a session fit one after another, however many.
  const worker = new Worker({ target: replica.target, credentials: creds(replica, 'runner'), pool: 'w', id: 'w', slots: 4 }).handle(
    'echo',
    async (x) => x,
  );
  await worker.start({ signals: false });
  const client = new Client({ target: replica.target, credentials: creds(replica, 'shop') });
  const room = <T>(call: () => Promise<T>) => until(() => call(), { timeoutMs: 3_000 });
  for (let i = 1; i <= 5; i++) {
    expect(await room(() => client.run('echo', i, { pool: 'w' }))).toBe(i);
    await room(async () => (await api.runJob({ spec: spec('w', `run${i}`), wait: undefined, cancelOnDisconnect: false })).job);
    await room(async () => (await api.batchSubmitJobs({ specs: [spec('w', `batch${i}`)] })).results[0]?.created);
  }
  await Promise.all([worker.stop({ graceMs: 0 }), client.close()]);
});
