import { Cluster, Redis } from 'ioredis';
import { type EmbeddedRedis, startEmbeddedRedis } from '../../src/lifecycle/embedded-redis.js';
import { RedisCluster } from '../helpers/redis-cluster.js';
import { RedisPair } from '../helpers/redis-pair.js';
import { ShiftedClock } from '../helpers/shifted-clock.js';
import { type WorkerPlan, workersOf } from './seats.js';

/** What a fault needs of its fleet beyond the usual. */
interface FleetPlan {
  workers: readonly WorkerPlan[];
  /** More of the replicas' configuration. */
  settings: Readonly<Record<string, string>>;
  /** Clocks of Redis and of the first replica can be shifted. */
  clocks: boolean;
  /** Redis has a replica, and replicas come to it by Sentinels, past their proxies. Such a Redis serves for one trial. */
  sentinel: boolean;
  /** Redis is a Cluster of three masters with a replica each, to which replicas come past their proxies. Such a Cluster serves for one trial. */
  cluster: boolean;
}

const USUAL: FleetPlan = { workers: workersOf(2), settings: {}, clocks: false, sentinel: false, cluster: false };
const SENTINELS = 3;
/** A jump of an hour must not be the end of what has ended: nobody could read its result. */
const KEPT_MS = String(100 * 3_600_000);

export const PLANS = {
  usual: USUAL,
  clocks: { ...USUAL, clocks: true, settings: { MUSTER_RETENTION_MS: KEPT_MS, MUSTER_FORGET_MS: KEPT_MS } },
  /** Room for more than 2,000 leases. */
  roomy: { ...USUAL, workers: workersOf(256) },
  /** And for more than 10,000. */
  vast: { ...USUAL, workers: workersOf(1_250), settings: { MUSTER_MAX_SLOTS: '1250' } },
  sentinel: { ...USUAL, sentinel: true },
  cluster: { ...USUAL, cluster: true },
} as const satisfies Record<string, FleetPlan>;
export type FleetKind = keyof typeof PLANS;

/** The Redis behind a fleet, and what can be done to it. */
export interface Backing {
  redis: EmbeddedRedis;
  /** Of a Sentinel; undefined: replicas go to `redis`. */
  url: string | undefined;
  /** To whoever is the master, past every proxy. */
  direct: Redis;
  clocks: Record<'redis' | 'replica', ShiftedClock> | undefined;
  pair: RedisPair | undefined;
  cluster: RedisCluster | undefined;
  dispose(): Promise<void>;
}

export async function startBacking({ clocks: shifts, sentinel, cluster: isCluster }: FleetPlan): Promise<Backing> {
  if (isCluster) return startClusterBacking();
  if (sentinel) {
    const pair = await RedisPair.start(SENTINELS);
    const direct = pair.connect();
    const dispose = async () => {
      direct.disconnect();
      await pair.stop();
    };
    return { redis: pair.master, url: pair.url, direct, clocks: undefined, pair, cluster: undefined, dispose };
  }
  const clocks = shifts ? { redis: new ShiftedClock(), replica: new ShiftedClock() } : undefined;
  const redis = await startEmbeddedRedis({ appendonly: true, appendfsync: 'always', env: clocks?.redis.env });
  const direct = new Redis(redis.url, { maxRetriesPerRequest: 0, retryStrategy: () => 50, commandTimeout: 1_000 });
  direct.on('error', () => {});
  const dispose = async () => {
    direct.disconnect();
    await redis.stop();
    for (const clock of Object.values(clocks ?? {})) clock.dispose();
  };
  return { redis, url: undefined, direct, clocks, pair: undefined, cluster: undefined, dispose };
}

async function startClusterBacking(): Promise<Backing> {
  const cluster = await RedisCluster.start({ fullCoverage: false });
  const redisOptions = { commandTimeout: 1_000, maxRetriesPerRequest: 0 };
  const made = new Cluster(
    cluster.servers.map(({ port }) => ({ host: '127.0.0.1', port })),
    { redisOptions, retryDelayOnFailover: 0, retryDelayOnClusterDown: 0, clusterRetryStrategy: () => 50 },
  );
  made.on('error', () => {});
  // It has the commands that the trials use, each on one key.
  const direct = made as unknown as Redis;
  const [redis] = cluster.servers;
  if (!redis) throw new Error('a Cluster without nodes');
  const dispose = async () => {
    made.disconnect();
    await cluster.stop();
  };
  return { redis, url: cluster.url, direct, clocks: undefined, pair: undefined, cluster, dispose };
}
