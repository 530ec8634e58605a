import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Api } from '../../src/sdk/connect.js';
import { Cluster, untilIn } from '../helpers/cluster.js';
import { doubles } from '../helpers/handlers.js';
import { Load } from '../helpers/load.js';
import { ShiftedClock, unshiftable } from '../helpers/shifted-clock.js';

const why = unshiftable();
const POOL = 'clocks';
const HOUR_MS = 3_600_000;
const JOBS = 150;
/** OUTAGE_GRACE_MS and LEASE_MS at a fifth are 3 and 6 s: whatever a jump of the clock held up goes on by then. */
const HEAL_MS = 10_000;

/** Time comes from Redis, once a script; a replica's own wall clock is for logs. Both may be wrong by an hour, and be set right again. */
describe.skipIf(why !== undefined)(`clocks that are an hour off${why === undefined ? '' : ` (${why})`}`, () => {
  let cluster: Cluster;
  let api: Api;
  let clocks: Record<'redis' | 'replica', ShiftedClock>;

  beforeAll(async () => {
    clocks = { redis: new ShiftedClock(), replica: new ShiftedClock() };
    cluster = await Cluster.start({
      redis: { appendonly: true, appendfsync: 'everysec', env: clocks.redis.env },
      replicaEnv: (i) => (i === 0 ? clocks.replica.env : {}),
      // A jump of an hour must not be the end of what has ended: nobody could read its result.
      settings: { RETENTION_MS: String(100 * HOUR_MS) },
    });
    api = cluster.connect();
    await Promise.all(Array.from({ length: 4 }, (_, i) => cluster.worker(`w${i}`, { pool: POOL, slots: 4 })));
  });

  afterAll(async () => {
    await cluster?.dispose();
    for (const clock of Object.values(clocks ?? {})) clock.dispose();
  });

  test.each([
    ['replica', 1],
    ['replica', -1],
    ['redis', 1],
    ['redis', -1],
  ] as const)(
    "the %s's clock %i h off under load, and right again: nothing is lost or run twice",
    async (whose, hours) => {
      const load = new Load({ api, pool: POOL, clients: 8, kind: 'slow', as: 'end', payload: () => '20' });
      const more = async (what: string) => {
        const enough = load.count + JOBS;
        const at = performance.now();
        const first = load.count;
        await untilIn(cluster, () => load.count > first, { timeoutMs: HEAL_MS, what: `the first result after ${what}` });
        const healMs = Math.round(performance.now() - at);
        await untilIn(cluster, () => load.count >= enough, { timeoutMs: HEAL_MS, what: `results after ${what}` });
        return healMs;
      };
      await more('the start');
      clocks[whose].shift(hours * HOUR_MS);
      const offMs = await more('the jump');
      clocks[whose].shift(0);
      const backMs = await more('the way back');
      await load.stop();
      console.info(`FIGURE clock of ${whose} ${hours} h off: first result after ${offMs} ms, back after ${backMs} ms, ${load.count} jobs`);
      expect({ refused: load.refused, broken: load.broken, wrong: load.wrong }).toEqual({ refused: [], broken: [], wrong: [] });
      expect(doubles(cluster.notes())).toEqual([]);
      const roll = await cluster.roll(api, POOL);
      expect(roll).toHaveLength(4);
    },
    60_000,
  );

  test('the shim shifts what Redis takes for the time', async () => {
    const { Redis } = await import('ioredis');
    const redis = new Redis(cluster.redis.url);
    const offset = async () => Number((await redis.time())[0]) * 1_000 - Date.now();
    clocks.redis.shift(HOUR_MS);
    expect(await offset()).toBeGreaterThan(HOUR_MS - 2_000);
    clocks.redis.shift(-HOUR_MS);
    expect(await offset()).toBeLessThan(-HOUR_MS + 2_000);
    clocks.redis.shift(0);
    redis.disconnect();
  });

  test('nothing happened inside a replica that was not meant to', () => {
    expect(cluster.faults()).toEqual([]);
  });
});
