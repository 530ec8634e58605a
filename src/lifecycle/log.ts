import { type Logger, pino } from 'pino';
import type { Config } from '../config.js';
import type { Clock } from '../domain/clock.js';
import { MusterError, toError } from '../domain/errors.js';
import { redisErrorRule } from '../domain/redis-errors.js';

export type { Logger };

const STDOUT = 1;

/**
 * JSON lines on stdout. Payloads, results and tokens are never among what is logged. A line is written when this returns: a process that ends
 * a moment later has said why.
 */
export function createLog(level: Config['LOG_LEVEL'], replica: string): Logger {
  const destination = pino.destination({ dest: STDOUT, sync: true });
  return pino({ level, base: { replica }, timestamp: pino.stdTimeFunctions.isoTime }, destination);
}

const SAME_MS = 5_000;
const REMEMBERED = 100;
/** What ioredis says without a code of a Redis that is away or silent, of Sentinels that name no master yet, and of a Cluster between two masters. */
const REDIS_AWAY = new RegExp(
  `^(${[
    ...['Command timed out', 'Socket timeout', 'Connection is closed', "Stream isn't writeable", 'Reached the max retries'],
    ...['All sentinels are unreachable', "Cluster isn't ready", 'Too many Cluster redirections', 'Failed to refresh slots cache'],
    ...['None of startup nodes is available'],
  ].join('|')})`,
);

/**
 * Logs errors of the background: what is said again and again is said once in a while, with how often it was. A replica whose Redis is
 * away would otherwise say so thousands of times.
 */
export function errorLog(log: Logger, clock: Clock): (error: unknown) => void {
  const said = new Map<string, { at: number; unsaid: number }>();
  return (thrown) => {
    const error = toError(thrown);
    const key = error instanceof MusterError ? error.reason : error.message;
    const now = clock.monotonic();
    const last = said.get(key);
    if (last && now - last.at < SAME_MS) {
      last.unsaid++;
      return;
    }
    if (said.size >= REMEMBERED) said.clear();
    said.set(key, { at: now, unsaid: 0 });
    // What the network does is news, not a bug.
    const expected =
      error instanceof MusterError
        ? error.code !== 'internal'
        : 'code' in error || REDIS_AWAY.test(error.message) || redisErrorRule(error.message) !== undefined;
    log[expected ? 'warn' : 'error']({ err: expected ? error.message : error, times: (last?.unsaid ?? 0) + 1 }, 'in the background');
  };
}
