import { afterAll, beforeAll, expect, test } from 'vitest';
import { WorkerState } from '../../src/grpc/generated/muster/v1/admin.js';
import { JobState } from '../../src/grpc/generated/muster/v1/job.js';
import type { Api } from '../../src/sdk/connect.js';
import { waitToEnd } from '../../src/sdk/run.js';
import { Cluster, untilIn } from '../helpers/cluster.js';
import { doubles } from '../helpers/handlers.js';
import { Load } from '../helpers/load.js';
import { Submitter } from '../helpers/submitter.js';

/** Redis ends with SIGKILL under load and starts again on its append-only file, of which every write was synced. */
const POOL = 'outage';
const WORKERS = 4;
/** "Within a second", and what two busy cores add. REDIS_TIMEOUT_MS is 800. */
const SECOND_MS = 1_000 + 500;
let cluster: Cluster;
let api: Api;

beforeAll(async () => {
  cluster = await Cluster.start();
  api = cluster.connect();
  await Promise.all(Array.from({ length: WORKERS }, (_, i) => cluster.worker(`w${i}`, { pool: POOL, slots: 4 })));
});

afterAll(async () => {
  await cluster?.dispose();
});

/** The second is longer than HOME_TTL_MS, TICK_STALE_MS and DELIVERY_MS are here. */
test.each([200, 3_000])(
  'Redis killed under load and away for %i ms: nothing acknowledged is lost, and no replica was restarted',
  async (awayMs) => {
    const pids = cluster.replicas.map(({ child }) => child.pid);
    const clients = new Load({ api, pool: POOL, clients: 8, kind: 'slow', as: 'end', payload: () => '15' });
    const submitter = new Submitter(api, POOL, 4);
    await untilIn(cluster, () => clients.count > 100 && submitter.acknowledged.length > 50, { what: 'the load to run' });

    const killedAt = performance.now();
    cluster.redis.kill();
    await untilIn(cluster, () => submitter.refused.length > 40 && performance.now() - killedAt > awayMs, { what: 'calls to be refused' });
    for (const { httpPort } of cluster.replicas) {
      expect((await fetch(`http://127.0.0.1:${httpPort}/readyz`)).status).toBe(503);
      expect((await fetch(`http://127.0.0.1:${httpPort}/livez`)).status).toBe(200);
    }
    await cluster.redis.restart();
    const backAt = performance.now();
    const then = clients.count;
    await untilIn(cluster, () => clients.count > then, { timeoutMs: 20_000, what: 'the first result after it' });
    console.info(`FIGURE redisRestartFirstResultMs=${Math.round(performance.now() - backAt)}`);
    await untilIn(cluster, () => clients.count > then + 200, { timeoutMs: 30_000, what: 'the load to go on' });
    await Promise.all([clients.stop(), submitter.stop()]);

    const during = submitter.refused.filter(({ at }) => at > killedAt && at < backAt);
    const slowest = Math.max(...during.map(({ tookMs }) => tookMs));
    console.info(`FIGURE redisAwaySlowestRefusalMs=${Math.round(slowest)}`);
    expect(submitter.refused.map(({ error }) => error.codeName)).toEqual(submitter.refused.map(() => 'UNAVAILABLE'));
    expect(slowest).toBeLessThan(SECOND_MS);

    const ends = await Promise.all(submitter.acknowledged.map((id) => waitToEnd(api, POOL, id, { deadlineMs: 60_000 })));
    const lost = ends.filter(({ state }) => state !== JobState.JOB_STATE_SUCCEEDED).map(({ spec, state }) => `${spec?.id} ${JobState[state]}`);
    console.info(`FIGURE redisRestartAcknowledged=${submitter.acknowledged.length + clients.count} lost=${lost.length}`);
    expect(lost).toEqual([]);
    expect({ refused: clients.refused, broken: clients.broken, wrong: clients.wrong }).toEqual({ refused: [], broken: [], wrong: [] });
    expect(cluster.replicas.map(({ child }) => child.pid)).toEqual(pids);

    const roll = await untilIn(
      cluster,
      async () => {
        const workers = await cluster.roll(api, POOL);
        return workers.every(({ state }) => state === WorkerState.WORKER_STATE_FREE) ? workers : undefined;
      },
      { timeoutMs: 20_000, what: 'every worker to be free' },
    );
    expect(roll.map(({ id, held }) => [id, held.length]).sort()).toEqual(Array.from({ length: WORKERS }, (_, i) => [`w${i}`, 0]));
    expect(doubles(cluster.notes())).toEqual([]);
  },
  90_000,
);

test('nothing happened inside a replica that was not meant to', () => {
  expect(cluster.faults()).toEqual([]);
});
