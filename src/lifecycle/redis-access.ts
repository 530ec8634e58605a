import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createSecureContext } from 'node:tls';
import { type Config, ConfigError } from '../config.js';
import type { RedisAccess, RedisTls } from '../store/redis.js';

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
