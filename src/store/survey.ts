import type { Redis } from 'ioredis';
import type { Clock } from '../domain/clock.js';
import type { Persistence } from '../domain/durability.js';
import { keys } from './keys.js';
import { type PoolRecord, readPools } from './read-fleet.js';
import { type ReplicaRecord, readReplicas } from './replicas.js';

/** What stands in Redis and how Redis is, at one time. */
export interface Survey {
  version: string;
  persistence: Persistence;
  /** As Redis writes it: `noeviction`. */
  evictionPolicy: string;
  usedBytes: number;
  /** Its maxmemory; without one what its host has. 0: it does not tell. */
  roomBytes: number;
  /** Redis' time less ours, ms, and by how much that may be wrong. */
  skewMs: number;
  skewErrorMs: number;
  /** undefined: no replica has started here yet. */
  schema: number | undefined;
  /** ms since the last sweep, by Redis' time; undefined: there was none. */
  sweptAgoMs: number | undefined;
  replicas: ReplicaRecord[];
  /** Ids of replicas that have stopped to say that they live, without having said goodbye. */
  silent: string[];
  pools: PoolRecord[];
}

/** Redis' `INFO`, by field. */
async function info(redis: Redis, section: string): Promise<Map<string, string>> {
  const lines = (await redis.info(section)).split('\r\n');
  return new Map(lines.filter((line) => line.includes(':')).map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1)]));
}

/** Of CONFIG where it is allowed; managed services tell by INFO alone, which knows less. */
export async function readPersistence(redis: Redis): Promise<Persistence> {
  const told = await info(redis, 'persistence');
  const [, appendfsync] = (await redis.config('GET', 'appendfsync').catch(() => [])) as string[];
  const known = appendfsync === 'always' || appendfsync === 'everysec' || appendfsync === 'no' ? appendfsync : undefined;
  return {
    appendonly: told.get('aof_enabled') === '1',
    appendfsync: known,
    failing: told.get('aof_enabled') === '1' && told.get('aof_last_write_status') === 'err',
  };
}

/** Rejects as ioredis does. */
export async function survey(redis: Redis, clock: Clock): Promise<Survey> {
  const [server, memory, persistence] = [await info(redis, 'server'), await info(redis, 'memory'), await readPersistence(redis)];
  const { redisMs, skewMs, skewErrorMs } = await readSkew(redis, clock);
  const [schema, swept] = await redis.mget(keys.schema, keys.swept);
  const replicas = await readReplicas(redis);
  const beats = await redis.zrange(keys.replicas, '0', '-1');
  const pools = await readPools(redis, await redis.smembers(keys.pools));
  const number = (field: string) => Number(memory.get(field) ?? 0);
  return {
    version: server.get('valkey_version') ?? server.get('redis_version') ?? '',
    persistence,
    evictionPolicy: memory.get('maxmemory_policy') ?? '',
    usedBytes: number('used_memory'),
    roomBytes: number('maxmemory') || number('total_system_memory'),
    skewMs,
    skewErrorMs,
    schema: schema ? Number(schema) : undefined,
    sweptAgoMs: swept ? redisMs - Number(swept) : undefined,
    replicas,
    silent: beats.filter((id) => !replicas.some((replica) => replica.id === id)),
    pools: pools.toSorted((a, b) => (a.name < b.name ? -1 : 1)),
  };
}

/** Redis answered somewhere between our two looks at the clock. */
async function readSkew(redis: Redis, clock: Clock): Promise<{ redisMs: number; skewMs: number; skewErrorMs: number }> {
  const before = clock.now();
  const [seconds, micros] = await redis.time();
  const after = clock.now();
  const redisMs = Number(seconds) * 1_000 + Math.floor(Number(micros) / 1_000);
  return { redisMs, skewMs: Math.round(redisMs - (before + after) / 2), skewErrorMs: Math.ceil((after - before) / 2) };
}
