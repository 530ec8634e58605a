import { Redis, type RedisOptions } from 'ioredis';
import { parseSentinelUrl } from '../domain/redis-url.js';

export interface ConnectOptions {
  /** Of one Redis, or of Sentinels that know it (see domain/redis-url.ts). */
  url: string;
  /** A command without an answer by then has an unknown outcome. */
  timeoutMs: number;
  /** For logs; the connection mends itself. */
  onError: (error: Error) => void;
}

/** A connection that has said nothing for that many command timeouts is dead, whatever TCP says. */
const DEAD_AFTER_TIMEOUTS = 3;
const RECONNECT_MS = { first: 50, most: 500 };

/**
 * What every connection has in common. Lost replies are not asked for again by the client (that would run a script twice without our
 * knowing); commands fail at once while Redis is away, and have an end when it is silent.
 */
function options({ timeoutMs }: ConnectOptions): RedisOptions {
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

/**
 * Where a connection goes to. Through Sentinels it is asked for at each connect who is the master. A master that was demoted breaks its
 * connections; who came to it before the Sentinels named the new one sees that it takes no writes, and connects again.
 */
export function redisAddress(url: string): RedisOptions & { url?: string } {
  const target = parseSentinelUrl(url);
  if (target === undefined) return { url };
  const { sentinels, name, db, username, password, tls } = target;
  return {
    ...{ sentinels, name, db, username, password },
    ...(tls ? { tls: {}, enableTLSForSentinelMode: true } : {}),
    sentinelRetryStrategy: reconnectMs,
    reconnectOnError: ({ message }) => message.startsWith('READONLY'),
  };
}

function reconnectMs(attempt: number): number {
  return Math.min(RECONNECT_MS.first * attempt, RECONNECT_MS.most);
}

function open(connect: ConnectOptions, more: RedisOptions = {}): Redis {
  const { url, ...address } = redisAddress(connect.url);
  const all = { ...options(connect), ...address, ...more };
  return url === undefined ? new Redis({ sentinelCommandTimeout: connect.timeoutMs, ...all }) : new Redis(url, all);
}

/** For scripts and reads. */
export function commandConnection(connect: ConnectOptions): Redis {
  const redis = open(connect);
  redis.on('error', connect.onError);
  return redis;
}

/**
 * For hints alone: a subscribed connection takes no other commands. After a loss whoever subscribed does so again: where ioredis does it, an
 * answer that comes too late is a rejection that nobody handles, and the end of the process.
 */
export function subscriberConnection(connect: ConnectOptions): Redis {
  // An idle subscriber hears nothing for long, rightly; the inbox pings it instead.
  const redis = open(connect, { socketTimeout: undefined, autoResubscribe: false });
  redis.on('error', connect.onError);
  return redis;
}

/** Connects, and keeps trying: resolves when ready. Rejects only when `signal` aborts. */
export async function connectOrWait(redis: Redis, signal: AbortSignal): Promise<void> {
  if (redis.status === 'wait') redis.connect().catch(() => undefined);
  if (redis.status === 'ready') return;
  await new Promise<void>((resolve, reject) => {
    const end = () => {
      redis.off('ready', ready);
      signal.removeEventListener('abort', abort);
    };
    const ready = () => {
      end();
      resolve();
    };
    const abort = () => {
      end();
      reject(signal.reason);
    };
    redis.on('ready', ready);
    signal.addEventListener('abort', abort, { once: true });
    if (signal.aborted) abort();
  });
}
