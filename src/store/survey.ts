import type { Redis } from 'ioredis';
import type { Clock } from '../domain/clock.js';
import { evictionRefusal, type Persistence } from '../domain/durability.js';
import { keys } from './keys.js';
import { type Connection, mastersOf } from './nodes.js';
import { type PoolRecord, readPools } from './read-fleet.js';
import { type ReplicaRecord, readReplicas } from './replicas.js';

/** What stands in Redis and how Redis is, at one time; of a Cluster the worst of its masters. */
export interface Survey {
  /** '': it does not tell. */
  version: string;
  persistence: Omit<Persistence, 'evictionPolicy'>;
  /** As Redis writes it: `noeviction`. '': it does not tell. */
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

/** Redis' `INFO`, by field; empty where it is refused, as some managed services do. */
export async function info(redis: Redis, section: string): Promise<Map<string, string>> {
  const told = await redis.info(section).catch(whenRefused(''));
  const lines = told.split('\r\n').filter((line) => line.includes(':'));
  return new Map(lines.map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1)]));
}

/** For `catch`: that instead of an answer when the command is forbidden, or is not there by this name. */
function whenRefused<T>(instead: T): (error: Error) => T {
  return (error) => {
    if (/^NOPERM|unknown command|command is not (allowed|available)/i.test(error.message)) return instead;
    throw error;
  };
}

/** Of CONFIG where it is allowed; INFO alone knows less. Of a Cluster: the weakest of its masters. */
export async function readPersistence(redis: Connection): Promise<Persistence> {
  const all = await Promise.all(mastersOf(redis).map(persistenceOf));
  return all.reduce(weaker);
}

async function persistenceOf(redis: Redis): Promise<Persistence> {
  const told = await info(redis, 'persistence');
  const memory = await info(redis, 'memory');
  const [, appendfsync] = (await redis.config('GET', 'appendfsync').catch(whenRefused([]))) as string[];
  const known = appendfsync === 'always' || appendfsync === 'everysec' || appendfsync === 'no' ? appendfsync : undefined;
  const enabled = told.get('aof_enabled');
  return {
    appendonly: enabled === undefined ? undefined : enabled === '1',
    appendfsync: known,
    failing: enabled === '1' && told.get('aof_last_write_status') === 'err',
    evictionPolicy: memory.get('maxmemory_policy') ?? '',
  };
}

const WEAKEST_FIRST = ['no', undefined, 'everysec', 'always'] as const;

function weaker(a: Persistence, b: Persistence): Persistence {
  const appendonly = [a, b].some((one) => one.appendonly === false) ? false : [a, b].some((one) => one.appendonly === undefined) ? undefined : true;
  const appendfsync = WEAKEST_FIRST.find((one) => one === a.appendfsync || one === b.appendfsync);
  const evictionPolicy = [a, b].find((one) => evictionRefusal(one.evictionPolicy) !== undefined)?.evictionPolicy ?? a.evictionPolicy;
  return { appendonly, appendfsync, failing: a.failing || b.failing, evictionPolicy };
}

/** Rejects as ioredis does. */
export async function survey(redis: Connection, clock: Clock): Promise<Survey> {
  const nodes = mastersOf(redis);
  const servers = await Promise.all(nodes.map((node) => info(node, 'server')));
  const memories = await Promise.all(nodes.map(memoryOf));
  const persistence = await readPersistence(redis);
  const { redisMs, skewMs, skewErrorMs } = await readSkew(redis, clock);
  const [schema, swept] = [await redis.get(keys.schema), await redis.get(keys.swept)];
  const replicas = await readReplicas(redis);
  const beats = await redis.zrange(keys.replicas, '0', '-1');
  const pools = await readPools(redis, await redis.smembers(keys.pools));
  const versions = servers.map((told) => told.get('valkey_version') ?? told.get('redis_version') ?? '');
  const fullest = memories.reduce((a, b) => (share(b) > share(a) ? b : a));
  return {
    version: versions.toSorted((a, b) => Number.parseInt(a, 10) - Number.parseInt(b, 10))[0] ?? '',
    persistence,
    evictionPolicy: persistence.evictionPolicy,
    usedBytes: fullest.usedBytes,
    roomBytes: fullest.roomBytes,
    skewMs,
    skewErrorMs,
    schema: schema ? Number(schema) : undefined,
    sweptAgoMs: swept ? redisMs - Number(swept) : undefined,
    replicas,
    silent: beats.filter((id) => !replicas.some((replica) => replica.id === id)),
    pools: pools.toSorted((a, b) => (a.name < b.name ? -1 : 1)),
  };
}

interface Memory {
  usedBytes: number;
  roomBytes: number;
}

async function memoryOf(redis: Redis): Promise<Memory> {
  const told = await info(redis, 'memory');
  const number = (field: string) => Number(told.get(field) ?? 0);
  return {
    usedBytes: number('used_memory'),
    roomBytes: number('maxmemory') || number('total_system_memory'),
  };
}

function share({ usedBytes, roomBytes }: Memory): number {
  return roomBytes === 0 ? 0 : usedBytes / roomBytes;
}

/** Redis answered somewhere between our two looks at the clock. */
async function readSkew(redis: Connection, clock: Clock): Promise<{ redisMs: number; skewMs: number; skewErrorMs: number }> {
  const before = clock.now();
  const [seconds, micros] = await redis.time();
  const after = clock.now();
  const redisMs = Number(seconds) * 1_000 + Math.floor(Number(micros) / 1_000);
  return { redisMs, skewMs: Math.round(redisMs - (before + after) / 2), skewErrorMs: Math.ceil((after - before) / 2) };
}
