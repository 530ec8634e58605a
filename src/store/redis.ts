import { type Cluster, type ClusterOptions, Redis, type RedisOptions } from 'ioredis';
import { systemClock } from '../domain/clock.js';
import { redisErrorRule } from '../domain/redis-errors.js';
import { redisRefusal } from '../domain/redis-refusal.js';
import { type ClusterTarget, parseRedisUrl, redisUser } from '../domain/redis-url.js';
import { type ConnectorHooks, connectorOf } from './connector.js';
import { MasterWatch, type MasterWatchOptions } from './master-watch.js';
import { type Connection, isCluster, publish, serverOf } from './nodes.js';
import { timeoutByProgress } from './patience.js';
import { CalmCluster, PromptCluster } from './prompt-cluster.js';
import { findObstacle } from './redis-probe.js';
import type { SubscriberPorts } from './subscriber.js';

/** PEM texts. What is absent is what Node takes by default. */
export interface RedisTls {
  ca?: string;
  cert?: string;
  key?: string;
  /** The name in the server's certificate, where it is not the host that is connected to. */
  servername?: string;
}

/** How a Redis is reached. */
export interface RedisAccess {
  /** Of one Redis, of Sentinels that know it, or of a Cluster (see domain/redis-url.ts). */
  url: string;
  /** For rediss URLs. */
  tls?: RedisTls;
  /** Follows the master of the Sentinels for all connections. Default: each connection has its own. */
  masters?: MasterWatch | undefined;
}

export interface ConnectOptions extends RedisAccess {
  /** A command has an unknown outcome when nothing came or went on its connection for so long. */
  timeoutMs: number;
  /** For logs; the connection mends itself. */
  onError: (error: Error) => void;
  /** What a server says of itself (`INFO`) each time that a connection to it begins. Not of a Cluster. */
  onMaster?: (info: ReadonlyMap<string, string>) => void;
}

/** Those of one Redis and of each node of a Cluster. */
type SharedOptions = Omit<RedisOptions, 'replyMapping'>;

/** A connection that has said nothing for that many command timeouts is dead, whatever TCP says. */
const DEAD_AFTER_TIMEOUTS = 3;
const RECONNECT_MS = { first: 50, most: 500 };
/** A connection whose server may be the right one is not left more often than that. */
const LEAVE_AGAIN_MS = 1_000;
/** Who has which slot is asked for that often, besides whenever a node says that it moved. */
const SLOTS_REFRESH_MS = 5_000;
/** For an answer of a Sentinel, where no other time is given. */
const SENTINEL_MS = 1_000;
/** While a start waits for Redis: when it is first looked why, and how often after that. */
const LOOK_MS = { first: 250, again: 2_000 };

/**
 * What every connection has in common. Lost replies are not asked for again by the client (that would run a script twice without our
 * knowing); commands fail at once while Redis is away, and have an end when it is silent.
 */
function options({ timeoutMs }: ConnectOptions): SharedOptions {
  return {
    lazyConnect: true,
    autoResendUnfulfilledCommands: false,
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    commandTimeout: timeoutMs,
    connectTimeout: Math.max(timeoutMs, 1000),
    socketTimeout: timeoutMs * DEAD_AFTER_TIMEOUTS,
    keepAlive: 10_000,
    noDelay: true,
    retryStrategy: reconnectMs,
  };
}

function reconnectMs(attempt: number): number {
  return Math.min(RECONNECT_MS.first * attempt, RECONNECT_MS.most);
}

/** Where a connection to one Redis goes to, and when it is left: see connector.ts and the table of errors. */
function singleOptions(access: RedisAccess, watch: MasterWatch | undefined, onMaster?: ConnectorHooks['onMaster']): RedisOptions & { url?: string } {
  const target = parseRedisUrl(access.url);
  if (target.kind === 'cluster') throw new Error('a Cluster has no single address');
  const common = {
    // Servers before 7.2 do not know CLIENT SETINFO, and one that keeps to an ACL of the time before would log it as refused.
    disableClientInfo: true,
    ...(target.tls ? { tls: access.tls ?? {} } : {}),
    Connector: connectorOf({ masters: watch, onMaster }),
    reconnectOnError: leaver(watch),
  };
  if (target.kind === 'single') return { url: access.url, ...common };
  if (!watch) throw new Error('without a MasterWatch a Sentinel leads nowhere');
  const { db, username, password } = target;
  return { ...common, db, username, password };
}

/** Whether a connection is left for what Redis answered on it. Behind one address another connection may find another server. */
function leaver(watch: MasterWatch | undefined): (error: Error) => boolean {
  let leftAt = Number.NEGATIVE_INFINITY;
  return ({ message }) => {
    const leave = redisErrorRule(message)?.leave;
    if (leave === undefined) return false;
    watch?.doubt();
    if (leave === 'now') return true;
    const now = systemClock.monotonic();
    // The Sentinels know whether this is the master; where there are none, only another connection tells.
    if (watch || now - leftAt < LEAVE_AGAIN_MS) return false;
    leftAt = now;
    return true;
  };
}

/** undefined: no Sentinels are asked. */
export function masterWatch(access: RedisAccess, options: Omit<MasterWatchOptions, 'target' | 'tls'>): MasterWatch | undefined {
  const target = parseRedisUrl(access.url);
  return target.kind === 'sentinel' ? new MasterWatch({ ...options, target, tls: access.tls ?? {} }) : undefined;
}

function clusterOptions({ username, password, tls: isTls }: ClusterTarget, tls: RedisTls = {}) {
  return {
    lazyConnect: true,
    clusterRetryStrategy: reconnectMs,
    slotsRefreshInterval: SLOTS_REFRESH_MS,
    // A name is resolved when it is connected to: certificates are for names.
    dnsLookup: ((host, done) => done(null, host)) satisfies ClusterOptions['dnsLookup'],
    redisOptions: { disableClientInfo: true, username, password, ...(isTls ? { tls } : {}) },
  };
}

function openCluster(target: ClusterTarget, connect: ConnectOptions): Cluster {
  const { redisOptions, ...rest } = clusterOptions(target, connect.tls);
  const { enableOfflineQueue: _, retryStrategy: __, ...each } = options(connect);
  return new PromptCluster(target.nodes, {
    ...rest,
    slotsRefreshTimeout: Math.max(connect.timeoutMs, 1000),
    // Neither is a command sent again whose reply was lost, nor does it wait for a failover: whoever asked decides.
    retryDelayOnFailover: 0,
    retryDelayOnClusterDown: 0,
    redisOptions: { ...redisOptions, ...each },
  });
}

function open(connect: ConnectOptions): Connection {
  const target = parseRedisUrl(connect.url);
  return target.kind === 'cluster' ? openCluster(target, connect) : openSingle(connect);
}

function openSingle(connect: ConnectOptions, more: SharedOptions = {}): Redis {
  const { timeoutMs, masters } = connect;
  const own = masters ? undefined : masterWatch(connect, { timeoutMs, clock: systemClock, onEvent: () => undefined });
  const { url, ...address } = singleOptions(connect, masters ?? own, connect.onMaster);
  const all = { ...options(connect), ...address, ...more };
  const redis = url === undefined ? new Redis(all) : new Redis(url, all);
  return redis.once('end', () => void own?.stop());
}

/** Its errors are told, in our words where a setting mends them. */
function told<C extends Connection>(redis: C, { url, onError }: ConnectOptions): C {
  redis.on('error', (error: Error) => {
    // ioredis would go on in database 0, where the keys may be another's.
    if (redisErrorRule(error.message)?.reason === 'REDIS_DATABASE') redis.disconnect(true);
    onError(redisRefusal(error, redisUser(url)) ?? error);
  });
  return redis;
}

/** For scripts and reads. */
export function commandConnection(connect: ConnectOptions): Connection {
  const redis = open(connect);
  timeoutByProgress(redis);
  return told(redis, connect);
}

/**
 * For channels alone: a subscribed connection takes no other commands. It lives once: when it ends, the subscriber opens another. `server`: the
 * `host:port` of a node of a Cluster; without a Cluster it is not looked at.
 */
export function subscriberConnection(connect: ConnectOptions, server: string): Redis {
  const once: SharedOptions = {
    // An idle subscriber hears nothing for long, rightly; the subscriber tests it instead.
    socketTimeout: undefined,
    autoResubscribe: false,
    retryStrategy: () => null,
    sentinelRetryStrategy: () => null,
  };
  const target = parseRedisUrl(connect.url);
  if (target.kind !== 'cluster') return told(openSingle(connect, once), connect);
  const { redisOptions } = clusterOptions(target, connect.tls);
  const colon = server.lastIndexOf(':');
  const address = { host: server.slice(0, colon), port: Number(server.slice(colon + 1)) };
  return told(new Redis({ ...options(connect), ...redisOptions, ...address, ...once }), connect);
}

/** What a subscriber does with Redis. `redis`: the connection for commands, which knows the topology of a Cluster. */
export function subscriberPorts(redis: Connection, connect: ConnectOptions): SubscriberPorts {
  const open = (server: string) => subscriberConnection(connect, server);
  const publishMark = (channel: string, text: string) => publish(redis, channel, text);
  if (!isCluster(redis)) {
    return {
      ...{ open, publish: publishMark, refresh: () => undefined, serverOf: () => '' },
      subscribe: (one, channels) => one.subscribe(...channels),
      unsubscribe: (one, channels) => one.unsubscribe(...channels),
    };
  }
  return {
    ...{ open, publish: publishMark, refresh: () => redis.refreshSlotsCache() },
    serverOf: (channel) => serverOf(redis, channel),
    // One slot a call.
    subscribe: (one, channels) => Promise.all(channels.map((channel) => one.ssubscribe(channel))),
    unsubscribe: (one, channels) => Promise.all(channels.map((channel) => one.sunsubscribe(channel))),
  };
}

/**
 * Connects, and keeps trying: resolves when ready. Rejects when `signal` aborts, and with a MusterError at once for what no waiting mends: a
 * certificate, a password, a permission, a server of another kind. `access`: that of the connection. `onWait` is told in one line what is waited for.
 */
export async function connectOrWait(
  redis: Connection,
  signal: AbortSignal,
  access: RedisAccess,
  onWait: (why: string) => void = () => undefined,
): Promise<void> {
  if (redis.status === 'ready') return;
  const over = new AbortController();
  let last = '';
  try {
    await new Promise<void>((resolve, reject) => {
      const refused = (error: Error) => {
        last = error.message;
        const refusal = redisRefusal(error, redisUser(access.url));
        if (refusal) reject(refusal);
      };
      redis.once('ready', resolve);
      redis.on('error', refused);
      const abort = () => reject(signal.reason);
      signal.addEventListener('abort', abort, { signal: over.signal });
      over.signal.addEventListener('abort', () => redis.off('ready', resolve).off('error', refused));
      if (signal.aborted) return abort();
      if (redis.status === 'wait') redis.connect().catch(() => undefined);
      const look = async () => {
        for (let looks = 0; !over.signal.aborted; looks++) {
          await systemClock.sleep(looks === 0 ? LOOK_MS.first : LOOK_MS.again, over.signal);
          if (over.signal.aborted) return;
          const { why, fatal } = await findObstacle(access);
          if (over.signal.aborted) return;
          if (fatal) return reject(fatal);
          // A connection may just be slow.
          if (why || last || looks > 0) onWait(why || last || 'it answers, and is not ready yet');
        }
      };
      look().catch(reject);
    });
  } finally {
    over.abort();
  }
}

type CalmOptions = ConstructorParameters<typeof CalmCluster>[1];

/** BullMQ waits for jobs on a duplicate of the connection that it is given: that must be a calm one too. */
function calmCluster(nodes: ClusterTarget['nodes'], options: NonNullable<CalmOptions>): CalmCluster {
  const made = new CalmCluster(nodes, options);
  made.duplicate = ((_nodes: unknown, more: CalmOptions = {}) => {
    const redisOptions = { ...options.redisOptions, ...more.redisOptions };
    return calmCluster(nodes, { ...options, ...more, redisOptions });
  }) as Cluster['duplicate'];
  return made;
}

/**
 * A connection on which an answer is overdue for so long is dead, whatever TCP says: BullMQ waits for a job for some 10 s at a time, and would wait for
 * ever for a server that has vanished.
 */
const BULL_NOTICES = { socketTimeout: 30_000, keepAlive: 10_000 } as const;
/** BullMQ asks again at once, whatever it is told: while the server of its keys is away it must not keep the process busy with that. */
const BULL_RETRIES = { retryDelayOnFailover: 500, retryDelayOnClusterDown: 500 } as const;

type BullOptions = Omit<RedisOptions, 'retryStrategy'> & { retryStrategy: typeof reconnectMs };

/** What BullMQ takes as its `connection`, for a queue and for a worker. */
export interface BullConnections {
  /** Fails at once while Redis is away. */
  queue: BullOptions | Cluster;
  /** Its few commands wait for Redis. */
  worker: BullOptions | Cluster;
  /** Of one Redis BullMQ ends what it opened; a Cluster is given to it open, and ended here. */
  close(): void;
}

export function bullConnections(access: RedisAccess, onError: (error: Error) => void): BullConnections {
  const target = parseRedisUrl(access.url);
  if (target.kind !== 'cluster') {
    const own = access.masters ? undefined : masterWatch(access, { timeoutMs: SENTINEL_MS, clock: systemClock, onEvent: () => undefined });
    const common = { ...singleOptions(access, access.masters ?? own), ...BULL_NOTICES, enableOfflineQueue: false, retryStrategy: reconnectMs };
    const worker = { ...common, maxRetriesPerRequest: null, enableOfflineQueue: true };
    return { queue: common, worker, close: () => void own?.stop() };
  }
  const { redisOptions, ...rest } = clusterOptions(target, access.tls);
  const shared = { ...rest, ...BULL_RETRIES, redisOptions: { ...redisOptions, ...BULL_NOTICES, maxRetriesPerRequest: null } };
  const [queue, worker] = [new PromptCluster(target.nodes, shared), calmCluster(target.nodes, shared)];
  for (const cluster of [queue, worker]) cluster.on('error', onError);
  const close = () => {
    queue.disconnect();
    worker.disconnect();
  };
  return { queue, worker, close };
}
