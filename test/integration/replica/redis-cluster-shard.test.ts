import { monitorEventLoopDelay } from 'node:perf_hooks';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { JobState } from '../../../src/grpc/generated/muster/v1/job.js';
import { runToEnd } from '../../../src/sdk/run.js';
import { keys } from '../../../src/store/keys.js';
import { Load } from '../../helpers/load.js';
import { uniquePool } from '../../helpers/redis.js';
import { RedisCluster } from '../../helpers/redis-cluster.js';
import { until } from '../../helpers/until.js';
import { startWorker } from '../sdk/support.js';
import { type Running, refusal, startReplica, submit, text } from './support.js';
import { runnerWorker } from './workers.js';

/**
 * Two replicas on a Redis Cluster whose nodes do without the slots of others, a pool on each of its three masters, and in each pool a dialed and an
 * attached worker. Clients call the second replica, the dialed workers are the first one's. A whole shard goes away, its master and its replica.
 */
let cluster: RedisCluster;
let home: Running;
let other: Running;
/** Pool by the id of its master. */
const pools = new Map<string, string>();
let bringBack: (() => Promise<void>) | undefined;

beforeAll(async () => {
  cluster = await RedisCluster.start({ fullCoverage: false });
  [home, other] = await Promise.all([startReplica(cluster.url, TIMES), startReplica(cluster.url, TIMES)]);
  while (pools.size < 3) {
    const pool = uniquePool();
    pools.set((await cluster.ownerOf(keys.meta(pool))).id, pool);
  }
  const target = `ipv4:${home.target},${other.target}`;
  for (const pool of pools.values()) {
    await runnerWorker(home.target, pool, 'dialed', { slots: 2 });
    await startWorker({ target, pool, id: 'attached', slots: 2 }, (worker) => worker.handle('echo', (input) => input));
  }
}, 60_000);

afterEach(async () => {
  await bringBack?.();
  bringBack = undefined;
});

afterAll(async () => {
  await Promise.all([home?.stop(), other?.stop()]);
  await cluster?.stop();
}, 30_000);

/** A quarter of the real times: what the replicas do in the background is most of the load here. */
const TIMES = { TIME_SCALE: 0.25, PING_TIMEOUT_MS: 3_600, DELIVERY_MS: 10_000 };
const DOWN_MS = 3_000;
/** Without a job that ended. It takes a fifth of a second on a machine with nothing else to do; without the shards being apart, all of DOWN_MS. */
const PAUSE_MS = 1_500;

/** The longest time in which none of these jobs ended. */
class Pauses {
  longestMs = 0;
  readonly #timer: NodeJS.Timeout;
  constructor(load: Load) {
    let [count, at] = [load.count, performance.now()];
    this.#timer = setInterval(() => {
      const now = performance.now();
      this.longestMs = Math.max(this.longestMs, now - at);
      if (load.count !== count) [count, at] = [load.count, now];
    }, 5);
  }
  stop(): number {
    clearInterval(this.#timer);
    return Math.round(this.longestMs);
  }
}

const isReady = async ({ httpPort }: Running) => (await fetch(`http://127.0.0.1:${httpPort}/readyz`)).status === 200;

const elapsed = async (ms: number) => {
  const from = performance.now();
  await until(() => performance.now() - from >= ms, { timeoutMs: 2 * ms + 1_000 });
};

test.each([
  [keys.pools, 'kill'],
  [keys.pools, 'mute'],
] as const)(
  'the shard of %s, the lock of the ticker, and the health sweeps goes away (%s): pools of the other shards go on',
  { timeout: 60_000 },
  async (key, how) => {
    const gone = (await cluster.ownerOf(key)).id;
    const dead = pools.get(gone) ?? '';
    const healthy = [...pools].filter(([id]) => id !== gone).map(([, pool]) => pool);
    const loads = healthy.map((pool) => new Load({ api: other.api, pool, clients: 2, kind: 'echo', as: 'end', payload: () => '"x"' }));
    await until(() => loads.every(({ count }) => count >= 20), { timeoutMs: 20_000, what: 'jobs before' });
    expect(await Promise.all([home, other].map(isReady))).toEqual([true, true]);
    bringBack = await cluster.takeShard(key, how);
    const stalls = monitorEventLoopDelay({ resolution: 10 });
    stalls.enable();
    const pauses = loads.map((load) => new Pauses(load));
    let [looks, unready] = [0, 0];
    const looking = setInterval(() => {
      for (const replica of [home, other])
        void isReady(replica).then((ready) => {
          looks++;
          if (!ready) unready++;
        });
    }, 100);
    await elapsed(DOWN_MS / 2);
    const began = performance.now();
    const refused = await refusal(
      submit(other.api, { pool: dead, id: `of-the-dead-${how}`, work: { $case: 'kind', value: 'echo' }, payload: text('"x"') }),
    );
    const refusedMs = Math.round(performance.now() - began);
    await elapsed(DOWN_MS / 2);
    clearInterval(looking);
    const longest = pauses.map((pause) => pause.stop());
    const ended = loads.map(({ count }) => count);
    const stallMs = Math.round(stalls.max / 1e6);
    stalls.disable();
    await bringBack();
    bringBack = undefined;
    await until(
      () =>
        runToEnd(other.api, { pool: dead, id: `after-${how}-${key}`, work: { $case: 'kind', value: 'echo' }, payload: text('"x"') }).then(
          (job) => job.state === JobState.JOB_STATE_SUCCEEDED,
        ),
      { timeoutMs: 20_000, what: 'the pool of the shard to go on' },
    );
    await Promise.all(loads.map((load) => load.stop()));
    console.info(
      `FIGURE redis-cluster shard ${key} ${how}: longest pause of the others ${longest} ms, ${ended} jobs ended, not ready ${unready} of ${looks}, refused in ${refusedMs} ms, event loop stalled ${stallMs} ms`,
    );
    expect(refused.codeName).toBe('UNAVAILABLE');
    expect(refusedMs).toBeLessThan(2_000);
    expect(unready).toBe(0);
    expect(loads.flatMap(({ wrong, broken, refused }) => [...wrong, ...broken, ...refused.map(({ error }) => error.message)])).toEqual([]);
    expect(Math.max(...longest)).toBeLessThan(PAUSE_MS + 2 * stallMs);
  },
);
