import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createSecureContext } from 'node:tls';
import { type Config, ConfigError } from '../config.js';
import type { Clock } from '../domain/clock.js';
import type { LossWindow } from '../domain/redis-failover.js';
import type { MasterEvent, MasterWatch } from '../store/master-watch.js';
import { masterWatch, type RedisAccess, type RedisTls } from '../store/redis.js';
import type { Logger } from './log.js';

type Settings = Pick<Config, 'REDIS_URL' | 'REDIS_CA' | 'REDIS_CERT' | 'REDIS_KEY' | 'REDIS_SERVER_NAME'>;

/** How Redis is reached, with the files that the settings name read. Throws ConfigError, which names the setting, for a file that is no such thing. */
export function redisAccess(settings: Settings): RedisAccess {
  const { REDIS_URL, REDIS_CA, REDIS_CERT, REDIS_KEY, REDIS_SERVER_NAME } = settings;
  const tls: RedisTls = {};
  if (REDIS_CA !== '') tls.ca = pem('REDIS_CA', REDIS_CA, (text) => new X509Certificate(text));
  if (REDIS_CERT !== '') {
    tls.cert = pem('REDIS_CERT', REDIS_CERT, (text) => new X509Certificate(text));
    const { cert } = tls;
    // Their fitting together is what is checked of the key.
    tls.key = pem('REDIS_KEY', REDIS_KEY, (key) => createSecureContext({ cert, key }));
  }
  if (REDIS_SERVER_NAME !== '') tls.servername = REDIS_SERVER_NAME;
  return { url: REDIS_URL, tls };
}

/** Follows the master for all connections of this process, and logs each failover. undefined: MUSTER_REDIS_URL names no Sentinels. */
export function watchMasters(config: Config, clock: Clock, log: Logger): MasterWatch | undefined {
  const onEvent = (event: MasterEvent) => logMaster(log, event);
  return masterWatch(redisAccess(config), { timeoutMs: config.REDIS_TIMEOUT_MS, clock, onEvent });
}

function logMaster(log: Logger, event: MasterEvent): void {
  const name = ({ host, port }: { host: string; port: number }) => `${host}:${port}`;
  if (event.kind === 'switched') log.warn({ from: name(event.from), to: name(event.to) }, 'Redis failover: the Sentinels name another master');
  else if (event.kind === 'promoting') {
    log.warn({ master: name(event.master) }, 'Redis failover: the Sentinels promote a replica, nothing is written until it is the master');
  } else log.warn({ master: name(event.master) }, 'Redis failover: it did not happen, the master stays');
}

/** The same reason is logged again only that often. */
const WAITING_MS = 60_000;

/** Logs what a start waits for: when the reason changes, and once a minute. */
export function waitingLog(log: Logger, clock: Clock): (why: string) => void {
  let last = '';
  let at = 0;
  return (why) => {
    if (why === last && clock.monotonic() - at < WAITING_MS) return;
    last = why;
    at = clock.monotonic();
    log.warn(`waiting for Redis (MUSTER_REDIS_URL): ${why}`);
  };
}

/** What was acknowledged between `from` and `to` may be lost. Jobs that are gone can be submitted again under their IDs. */
export function logLoss(log: Logger, { from, to }: LossWindow): void {
  const iso = (ms: number) => new Date(ms).toISOString();
  const fields = { from: from === undefined ? 'unknown' : iso(from), to: iso(to) };
  log.warn(fields, 'Redis failover: what was acknowledged between from and to may be lost');
}

function pem(setting: keyof Settings, path: string, check: (text: string) => unknown): string {
  const fail = (what: string, error: unknown) =>
    new ConfigError(`MUSTER_${setting}: ${path} ${what} (${error instanceof Error ? error.message : error})`);
  let text = '';
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw fail('cannot be read', error);
  }
  try {
    check(text);
  } catch (error) {
    throw fail(setting === 'REDIS_KEY' ? 'is no PEM of the key of MUSTER_REDIS_CERT' : 'is no PEM of a certificate', error);
  }
  return text;
}
