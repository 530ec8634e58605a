import { Redis } from 'ioredis';
import { afterEach, expect, test } from 'vitest';
import { JobState } from '../../src/grpc/generated/muster/v1/job.js';
import { ApiError } from '../../src/sdk/api-error.js';
import type { Api } from '../../src/sdk/connect.js';
import { waitToEnd } from '../../src/sdk/run.js';
import { keys } from '../../src/store/keys.js';
import { Cluster, untilIn } from '../helpers/cluster.js';
import { Load } from '../helpers/load.js';
import { Submitter } from '../helpers/submitter.js';

/** What a Redis that was killed has lost of what clients were told is safe, by how it keeps its data. */
const POOL = 'kept';
const WORKERS = 4;
const ACKNOWLEDGED = 150;
let cluster: Cluster;

afterEach(async () => {
  await cluster?.dispose();
});

async function start(redis: { appendonly: boolean; appendfsync?: 'everysec' | 'always' }): Promise<Api> {
  cluster = await Cluster.start({ redis });
  await Promise.all(Array.from({ length: WORKERS }, (_, i) => cluster.worker(`w${i}`, { pool: POOL, slots: 4 })));
  return cluster.connect();
}

/** Killed under load, and started again on what it has written. Answers with the jobs that were acknowledged before. */
async function killUnderLoad(api: Api): Promise<string[]> {
  const submitter = new Submitter(api, POOL, 8);
  await untilIn(cluster, () => submitter.acknowledged.length >= ACKNOWLEDGED, { what: 'jobs to be acknowledged' });
  cluster.redis.kill();
  await untilIn(cluster, () => submitter.refused.length > 0, { what: 'a call to be refused' });
  await submitter.stop();
  await cluster.redis.restart();
  return submitter.acknowledged;
}

/** Jobs that nobody knows any more, or that did not end well. */
async function lostOf(api: Api, ids: readonly string[]): Promise<string[]> {
  const ends = await Promise.all(
    ids.map(async (id) => {
      try {
        const { state } = await waitToEnd(api, POOL, id, { deadlineMs: 60_000 });
        return state === JobState.JOB_STATE_SUCCEEDED ? undefined : id;
      } catch (error) {
        if (error instanceof ApiError && error.codeName === 'NOT_FOUND') return id;
        throw error;
      }
    }),
  );
  return ends.filter((id) => id !== undefined);
}

/** The fleet gets jobs again and does them. */
async function works(api: Api): Promise<void> {
  const load = new Load({ api, pool: POOL, clients: 4, kind: 'slow', as: 'end', payload: () => '5' });
  await untilIn(cluster, () => load.count >= 50, { timeoutMs: 30_000, what: 'jobs to be done' });
  await load.stop();
  expect({ wrong: load.wrong, broken: load.broken }).toEqual({ wrong: [], broken: [] });
  await untilIn(cluster, async () => (await cluster.roll(api, POOL)).length === WORKERS, { what: 'all workers to stand on the roll' });
}

test.each(['always', 'everysec'] as const)(
  'an append-only file synced %s: a Redis process that is killed loses nothing',
  async (appendfsync) => {
    const api = await start({ appendonly: true, appendfsync });
    const acknowledged = await killUnderLoad(api);
    const lost = await lostOf(api, acknowledged);
    console.info(`FIGURE durability appendfsync=${appendfsync}: ${lost.length} of ${acknowledged.length} acknowledged jobs lost`);
    expect(lost).toEqual([]);
    await works(api);
  },
  90_000,
);

test('nothing kept: all is lost and said to be, no fence comes twice, and the fleet registers itself again', async () => {
  const api = await start({ appendonly: false });
  const redis = new Redis(cluster.redis.url, { retryStrategy: () => 50, maxRetriesPerRequest: null });
  redis.on('error', () => undefined);
  const fence = async () => Number(await redis.hget(keys.meta(POOL), 'fence'));
  await works(api);
  const before = await fence();
  const acknowledged = await killUnderLoad(api);
  const known = await Promise.all(acknowledged.map(async (id) => (await redis.exists(keys.job(POOL, id))) === 1));
  console.info(`FIGURE durability none: ${known.filter((there) => !there).length} of ${acknowledged.length} acknowledged jobs lost`);
  expect(known.every((there) => !there)).toBe(true);
  await works(api);
  expect(await fence()).toBeGreaterThan(before);
  redis.disconnect();
}, 90_000);
