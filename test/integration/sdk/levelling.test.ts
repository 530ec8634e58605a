import { afterAll, expect, test } from 'vitest';
import { WorkerState } from '../../../src/grpc/generated/muster/v1/admin.js';
import { type Api, connect } from '../../../src/sdk/connect.js';
import { redisUrl, uniquePool } from '../../helpers/redis.js';
import { startReplica } from '../../helpers/replica.js';
import { until } from '../../helpers/until.js';
import { gate, newClient, startWorker } from './support.js';

const WORKERS = 20;
/** Of the fullest replica, at 1.2 times the mean. */
const LEVEL = 12;
const SETTINGS = { HOME_BEAT_MS: 300, HOME_TTL_MS: 6_000 };

const apis: Api[] = [];
afterAll(() => {
  for (const api of apis) api.close();
});

test('a second replica gets its part of the attached workers, and their jobs go on', async () => {
  const first = await startReplica(redisUrl, SETTINGS);
  // The address of the second is known before it is there, as behind a headless service.
  const second = await startReplica(redisUrl, SETTINGS);
  const port = Number(second.target.split(':')[1]);
  await second.stop();
  const target = `ipv4:${first.target},127.0.0.1:${port}`;
  const pool = uniquePool();
  const ran: number[] = [];
  const levelled = gate();
  const start = (id: string) =>
    startWorker({ target, pool, id }, (worker) =>
      worker.handle('slow', async (n: number) => {
        ran.push(n);
        await levelled.opened;
        return n;
      }),
    );
  await Promise.all(Array.from({ length: WORKERS }, (_, i) => start(`w${i}`)));
  const api = connect(first.target);
  apis.push(api);
  const linksOf = async ({ id }: { id: string }) => {
    const { workers } = await api.listWorkers({ pool, state: WorkerState.WORKER_STATE_UNSPECIFIED, pageSize: 0, pageToken: '' });
    return workers.filter(({ home }) => home === id).length;
  };
  expect(await linksOf(first)).toBe(WORKERS);
  const client = newClient({ target: first.target });
  const jobs = Array.from({ length: WORKERS }, (_, n) => client.run<number>('slow', n, { pool }));
  const again = await startReplica(redisUrl, { ...SETTINGS, GRPC_ADDR: `127.0.0.1:${port}` });
  const level = async () => (await linksOf(first)) <= LEVEL && (await linksOf(again)) <= LEVEL;
  await until(level, { timeoutMs: 30_000, what: 'the links to level out' });
  levelled.open();
  expect((await Promise.all(jobs)).sort((a, b) => a - b)).toEqual(Array.from({ length: WORKERS }, (_, n) => n));
  expect(ran).toHaveLength(WORKERS);
}, 60_000);
