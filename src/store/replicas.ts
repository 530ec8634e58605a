import { keys } from './keys.js';
import { type Connection, nodeOf, readAll } from './nodes.js';

export interface ReplicaRecord {
  id: string;
  address: string;
  version: string;
  links: number;
  startedAt: number;
  draining: boolean;
  /** Where it listens (see `ReplicaAddresses`). */
  listens: readonly string[];
}

/**
 * Says that this replica lives, for `ttlMs`, by Redis' clock: one replica whose own is ahead would take all others off the list, again and again,
 * and one that is behind would be taken off. Not what homes are judged by (that is `beat`): for lists, and for who may check
 * whom.
 */
export async function writeReplica(redis: Connection, record: ReplicaRecord, ttlMs: number): Promise<void> {
  const key = keys.replica(record.id);
  const [seconds] = await nodeOf(redis, keys.replicas).time();
  const now = Number(seconds) * 1_000;
  const { address, version, links, startedAt, draining, listens } = record;
  // What is ahead of now by more was written before the clock of Redis stepped back: it ends as it would have, unless its replica writes again.
  const ahead = await redis.zrangebyscore(keys.replicas, `(${now + 10 * ttlMs}`, '+inf');
  await Promise.allSettled(ahead.flatMap((id) => [redis.zadd(keys.replicas, 'XX', 'LT', now, id), redis.pexpire(keys.replica(id), ttlMs, 'LT')]));
  // Two, because on a Cluster they are in two places; each is whole: a record without its end would stay for ever.
  await Promise.all([
    redis
      .multi()
      .hset(key, { address, version, links, started: startedAt, draining: draining ? 1 : 0, listens: listens.join(' ') })
      .pexpire(key, ttlMs)
      .exec(),
    redis
      .multi()
      .zadd(keys.replicas, now, record.id)
      .zremrangebyscore(keys.replicas, '-inf', now - 10 * ttlMs)
      .exec(),
  ]);
}

/** The same for a Redis that is full and takes no new record: the one that it has goes on. false: it has none. */
export async function keepReplica(redis: Connection, id: string, ttlMs: number): Promise<boolean> {
  return (await redis.pexpire(keys.replica(id), ttlMs)) === 1;
}

export async function removeReplica(redis: Connection, id: string): Promise<void> {
  await Promise.all([redis.del(keys.replica(id)), redis.zrem(keys.replicas, id)]);
}

export async function readReplicas(redis: Connection): Promise<ReplicaRecord[]> {
  const ids = await redis.zrange(keys.replicas, '0', '-1');
  const hashes = await readAll(
    redis,
    ids.map((id) => ['hgetall', keys.replica(id)]),
  );
  const records: ReplicaRecord[] = [];
  ids.forEach((id, i) => {
    const hash = hashes[i] as Record<string, string>;
    if (hash['address'] === undefined) return;
    records.push({
      id,
      address: hash['address'],
      version: hash['version'] ?? '',
      links: Number(hash['links'] ?? 0),
      startedAt: Number(hash['started'] ?? 0),
      draining: hash['draining'] === '1',
      listens: (hash['listens'] ?? '').split(' ').filter((entry) => entry !== ''),
    });
  });
  return records;
}
