import { type Cluster, Command, type Redis } from 'ioredis';

/** One Redis (perhaps by Sentinels), or a Cluster of them. */
export type Connection = Redis | Cluster;

export function isCluster(redis: Connection): redis is Cluster {
  return redis.isCluster;
}

/** Whoever holds keys: that one Redis, or each master. For what is asked of servers, not of keys. */
export function mastersOf(redis: Connection): Redis[] {
  return isCluster(redis) ? redis.nodes('master') : [redis];
}

/** The `host:port` of the master that has the key, as the Cluster's client knows it now. undefined: it knows of none. */
export function serverOf(cluster: Cluster, key: string): string | undefined {
  const slot = new Command('get', [key]).getSlot();
  return slot === null ? undefined : cluster.slots[slot]?.[0];
}

/** The connection to the master that has the key: for commands without a key whose answer must be that server's. Throws while it is not known. */
export function nodeOf(redis: Connection, key: string): Redis {
  if (!isCluster(redis)) return redis;
  const server = serverOf(redis, key);
  const node = mastersOf(redis).find(({ options }) => `${options.host}:${options.port}` === server);
  if (!node) throw new Error("Cluster isn't ready: no node is known that has the key");
  return node;
}

/**
 * Resolves when a server answers that takes commands. On a Cluster one that does is enough: pools of others wait by themselves. A node without which
 * the Cluster is not whole, and that must not serve then (`cluster-require-full-coverage yes`), takes none.
 */
export async function answers(redis: Connection): Promise<void> {
  if (!isCluster(redis)) return void (await redis.ping());
  const states = mastersOf(redis).map(async (node) => {
    const state = String(await node.cluster('INFO'));
    if (!state.includes('cluster_state:ok')) throw new Error('CLUSTERDOWN The cluster is down');
  });
  await Promise.any(states).catch((thrown: unknown) => {
    throw (thrown as AggregateError).errors[0] ?? new Error("Cluster isn't ready: nothing is known of its nodes");
  });
}

/** A page of a list ends with so many bytes and one item more, whatever size was asked for: every gRPC client receives 4 MiB. */
export const PAGE_BYTES = 1_048_576;

/** One command of reading, by its name in ioredis. */
export type Read = readonly [name: 'hgetall' | 'zscore' | 'zcard' | 'llen' | 'strlen' | 'mget' | 'mgetBuffer', key: string, ...keys: string[]];

/**
 * Many reads, answered in their order. Rejects with the first error.
 *
 * One Redis gets them as one pipeline. On a Cluster each goes by itself, and each to one key: a pipeline that meets a slot that is being moved is sent to
 * the slot's next node as a whole, where keys that have not arrived yet would read as if they were not there, and many keys at once are
 * refused for as long as it lasts.
 */
export async function readAll(redis: Connection, reads: readonly Read[]): Promise<unknown[]> {
  if (reads.length === 0) return [];
  if (isCluster(redis)) return Promise.all(reads.map((read) => readOne(redis, read)));
  const replies = (await redis.pipeline(reads as unknown as unknown[][]).exec()) ?? [];
  return replies.map(([error, value]) => {
    if (error) throw error;
    return value;
  });
}

function readOne(redis: Cluster, [name, key, ...keys]: Read): Promise<unknown> {
  switch (name) {
    case 'mget':
      return Promise.all([key, ...keys].map((one) => redis.get(one)));
    case 'mgetBuffer':
      return Promise.all([key, ...keys].map((one) => redis.getBuffer(one)));
    case 'zscore':
      return redis.zscore(key, keys[0] ?? '');
    case 'hgetall':
    case 'zcard':
    case 'llen':
    case 'strlen':
      return redis[name](key);
  }
}

/** Says it to whoever listens to the channel. On a Cluster channels are sharded, as keys are: only the node of the channel's slot carries it. */
export async function publish(redis: Connection, channel: string, message: string): Promise<void> {
  await (isCluster(redis) ? redis.spublish(channel, message) : redis.publish(channel, message));
}
