import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { JobState } from '../../../src/grpc/generated/muster/v1/job.js';
import { type Api, connect } from '../../../src/sdk/connect.js';
import { keys } from '../../../src/store/keys.js';
import { redisUrl, uniquePool } from '../../helpers/redis.js';
import { type InProcess, startReplica } from '../../helpers/replica.js';
import { until } from '../../helpers/until.js';
import { newClient, startWorker } from '../sdk/support.js';

let replica: InProcess;
let api: Api;
const redis = new Redis(redisUrl);

beforeAll(async () => {
  replica = await startReplica(redisUrl);
  api = connect(replica.target);
});
afterAll(() => {
  api.close();
  redis.disconnect();
});

/** Every page of a list, as the IDs of its jobs. */
async function pagesOf(pool: string, state: JobState, pageSize: number): Promise<string[][]> {
  const pages: string[][] = [];
  let pageToken = '';
  do {
    const { jobs, nextPageToken } = await api.listJobs({ pool, state, pageSize, pageToken });
    pages.push(jobs.map(({ spec }) => spec?.id ?? ''));
    pageToken = nextPageToken;
  } while (pageToken !== '');
  return pages;
}

test('a list goes on past entries of its index that are no jobs', async () => {
  const pool = uniquePool();
  const client = newClient({ target: replica.target });
  await startWorker({ target: replica.target, pool, slots: 3 }, (worker) =>
    worker.handle('hang', (_, { signal }) => new Promise((_, stop) => signal.addEventListener('abort', stop))),
  );
  const started = ['a', 'b', 'c'];
  for (const id of started) await client.submit('hang', undefined, { pool, id });
  await until(async () => (await pagesOf(pool, JobState.JOB_STATE_RUNNING, 50)).flat().length === 3);
  // The index of running jobs also holds the quarantines of METHOD workers. These come first, and are not due while the lists are read.
  const soon = Date.now() + 10_000;
  await until(async () => (await redis.zcount(keys.leases(pool), soon + 5_000, '+inf')) === 3);
  await redis.zadd(keys.leases(pool), soon, '!1 w x', soon + 1, '!2 w y');
  for (const pageSize of [1, 2, 3])
    expect((await pagesOf(pool, JobState.JOB_STATE_RUNNING, pageSize)).flat().sort(), `by ${pageSize}`).toEqual(started);
  await redis.zrem(keys.leases(pool), '!1 w x', '!2 w y');
});

test('a rare state is found behind thousands of others, over pages that hold none', async () => {
  const pool = uniquePool();
  await api.submitJob({ spec: { ...spec(pool), id: 'rare' } });
  await api.cancelJob({ pool, id: 'rare' });
  const others = Array.from({ length: 4_500 }, (_, i) => `other-${i}`);
  const write = redis.pipeline();
  for (const [i, id] of others.entries()) {
    write.hset(keys.job(pool, id), 'state', 'succeeded', 'kind', 'k');
    write.zadd(keys.finished(pool), Date.now() + i + 1, id);
  }
  await write.exec();
  const pages = await pagesOf(pool, JobState.JOB_STATE_CANCELLED, 10);
  expect(pages.flat()).toEqual(['rare']);
  expect(pages.length).toBeGreaterThan(1);
  const all = await pagesOf(pool, JobState.JOB_STATE_UNSPECIFIED, 1_000);
  expect(all.flat()).toHaveLength(4_501);
  await redis.del(...others.map((id) => keys.job(pool, id)), keys.finished(pool));
});

test('a list of waiting jobs says why each of them waits', async () => {
  const pool = uniquePool();
  for (const id of ['a', 'b']) await api.submitJob({ spec: { ...spec(pool), id } });
  const { jobs } = await api.listJobs({ pool, state: JobState.JOB_STATE_UNSPECIFIED, pageSize: 0, pageToken: '' });
  expect(jobs.map(({ waitingReason }) => waitingReason)).toEqual(['no_worker', 'no_worker']);
});

test('the list of all workers goes on when the pool of the page before is gone', async () => {
  const [first, last] = [`a-${uniquePool()}`, `z-${uniquePool()}`];
  await startWorker({ target: replica.target, pool: last, id: 'w' }, (worker) => worker.handle('k', () => undefined));
  const rest: { pool: string; id: string }[] = [];
  for (let pageToken = `${first}:10`; pageToken !== ''; ) {
    const page = await api.listWorkers({ pool: '', state: 0, pageSize: 10, pageToken });
    rest.push(...page.workers);
    pageToken = page.nextPageToken;
  }
  expect(rest.map(({ pool, id }) => `${pool}/${id}`)).toContain(`${last}/w`);
  await expect(api.listWorkers({ pool: last, state: 0, pageSize: 10, pageToken: `${first}:10` })).rejects.toThrow('page_token');
});

function spec(pool: string) {
  return {
    pool,
    id: '',
    work: { $case: 'kind' as const, value: 'k' },
    payload: Buffer.alloc(0),
    metadata: {},
    priority: 0,
    notBefore: undefined,
    queueTimeout: undefined,
    runTimeout: undefined,
    totalTimeout: undefined,
    retry: undefined,
    retention: undefined,
  };
}
