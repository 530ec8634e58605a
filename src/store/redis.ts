import { Redis, type RedisOptions } from 'ioredis';

export interface ConnectOptions {
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
    retryStrategy: (attempt) => Math.min(RECONNECT_MS.first * attempt, RECONNECT_MS.most),
  };
}

/** For scripts and reads. */
export function commandConnection(connect: ConnectOptions): Redis {
  const redis = new Redis(connect.url, options(connect));
  redis.on('error', connect.onError);
  return redis;
}

/** For hints alone: a subscribed connection takes no other commands. It subscribes again by itself after a loss. */
export function subscriberConnection(connect: ConnectOptions): Redis {
  // An idle subscriber hears nothing for long, rightly; the inbox pings it instead.
  const redis = new Redis(connect.url, { ...options(connect), socketTimeout: undefined, autoResubscribe: true });
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
