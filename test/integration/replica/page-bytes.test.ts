import { beforeAll, expect, test } from 'vitest';
import { FleetQueries } from '../../../src/fleet/queries.js';
import type { EmbeddedRedis } from '../../../src/lifecycle/embedded-redis.js';
import { connect } from '../../../src/sdk/connect.js';
import { jobSpec } from '../../../src/sdk/run.js';
import type { Store } from '../../../src/store/store.js';
import { ownRedis } from '../../helpers/redis.js';
import { startReplica } from '../../helpers/replica.js';

let redis: EmbeddedRedis;
beforeAll(async () => {
  redis = await ownRedis();
});

test('a page of jobs ends early by its bytes, and the next one goes on where it ended', async () => {
  const { target } = await startReplica(redis.url);
  const api = connect(target);
  const metadata = Object.fromEntries(Array.from({ length: 30 }, (_, i) => [`key-${i}`, 'x'.repeat(250)]));
  const ids = Array.from({ length: 600 }, (_, i) => `j${i}`);
  for (let i = 0; i < ids.length; i += 200) {
    const specs = ids.slice(i, i + 200).map((id) => jobSpec({ pool: 'p', id, work: { $case: 'kind', value: 'k' }, metadata }));
    await api.batchSubmitJobs({ specs });
  }
  const pages: string[][] = [];
  let pageToken = '';
  do {
    const page = await api.listJobs({ pool: 'p', state: 0, pageSize: 1_000, pageToken });
    pages.push(page.jobs.map(({ spec }) => spec?.id ?? ''));
    pageToken = page.nextPageToken;
  } while (pageToken !== '');
  expect(pages.length).toBeGreaterThan(3);
  expect(pages.flat().sort()).toEqual([...ids].sort());
  api.close();
});

test('a page of workers ends early by its bytes, and the next one goes on where it ended', async () => {
  const held = Array.from({ length: 256 }, (_, i) => ({ jobId: `${i}`.padEnd(128, 'x'), fence: '1764580000000000', quarantined: false }));
  const ids = Array.from({ length: 100 }, (_, i) => `w${i}`);
  const store = {
    readRoll: async (_pool: string, _which: string, offset: number, count: number) => ids.slice(offset, offset + count),
    readWorkers: async (_pool: string, some: readonly string[]) => some.map((id) => ({ id, state: 'free', labels: {}, kinds: [], held })),
  };
  const queries = new FleetQueries(store as unknown as Store);
  const pages: string[][] = [];
  let token = '';
  do {
    const page = await queries.listWorkers('p', undefined, 1_000, token);
    pages.push(page.workers.map(({ id }) => id));
    token = page.next;
  } while (token !== '');
  expect(pages.map(({ length }) => length)).toEqual([27, 27, 27, 19]);
  expect(pages.flat()).toEqual(ids);
});
