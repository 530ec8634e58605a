import type { Redis } from 'ioredis';
import { keys } from './keys.js';

export interface ReplicaRecord {
  id: string;
  address: string;
  version: string;
  links: number;
  startedAt: number;
  draining: boolean;
}

/**
 * Says that this replica lives, for `ttlMs`, by Redis' clock: one replica whose own is ahead would take all others off the list, again and again,
 * and one that is behind would be taken off. Not what homes are judged by (that is `beat`): for lists, and for who may check
 * whom.
 */
export async function writeReplica(redis: Redis, record: ReplicaRecord, ttlMs: number): Promise<void> {
  const key = keys.replica(record.id);
  const [seconds] = await redis.time();
  const now = Number(seconds) * 1_000;
  await redis
    .multi()
    .hset(key, {
      address: record.address,
      version: record.version,
      links: record.links,
      started: record.startedAt,
      draining: record.draining ? 1 : 0,
    })
    .pexpire(key, ttlMs)
    .zadd(keys.replicas, now, record.id)
    .zremrangebyscore(keys.replicas, '-inf', now - 10 * ttlMs)
    .exec();
}

/** The same for a Redis that is full and takes no new record: the one that it has goes on. false: it has none. */
export async function keepReplica(redis: Redis, id: string, ttlMs: number): Promise<boolean> {
  return (await redis.pexpire(keys.replica(id), ttlMs)) === 1;
}

export async function removeReplica(redis: Redis, id: string): Promise<void> {
  await redis.multi().del(keys.replica(id)).zrem(keys.replicas, id).exec();
}

export async function readReplicas(redis: Redis): Promise<ReplicaRecord[]> {
  const ids = await redis.zrange(keys.replicas, '0', '-1');
  const pipeline = redis.pipeline();
  for (const id of ids) pipeline.hgetall(keys.replica(id));
  const replies = (await pipeline.exec()) ?? [];
  const records: ReplicaRecord[] = [];
  ids.forEach((id, i) => {
    const [error, value] = replies[i] ?? [];
    if (error) throw error;
    const hash = value as Record<string, string>;
    if (hash['address'] === undefined) return;
    records.push({
      id,
      address: hash['address'],
      version: hash['version'] ?? '',
      links: Number(hash['links'] ?? 0),
      startedAt: Number(hash['started'] ?? 0),
      draining: hash['draining'] === '1',
    });
  });
  return records;
}
