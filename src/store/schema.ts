import type { Redis } from 'ioredis';
import { MusterError } from '../domain/errors.js';
import { keys } from './keys.js';

/** Grows when keys or scripts change so that the version before cannot work beside them. Scripts of N and N−1 share keys. */
export const SCHEMA = 1;

/** Refuses a Redis whose keys another, incompatible version writes; marks one that is new. */
export async function checkSchema(redis: Redis): Promise<void> {
  await redis.set(keys.schema, SCHEMA, 'NX');
  const found = Number(await redis.get(keys.schema));
  if (found !== SCHEMA && found !== SCHEMA - 1 && found !== SCHEMA + 1) {
    throw new MusterError(
      'failed_precondition',
      'SCHEMA',
      `the keys in this Redis are of schema ${found}, this version is of ${SCHEMA}: run the version in between first, or use another Redis`,
    );
  }
  if (found === SCHEMA - 1) await redis.set(keys.schema, SCHEMA);
}

/** Scripts with flags came with Redis 7. */
export async function checkServer(redis: Redis): Promise<void> {
  const info = await redis.info('server');
  const version = info.match(/^redis_version:(\S+)/m)?.[1] ?? '0';
  if (Number(version.split('.')[0]) < 7) {
    throw new MusterError('failed_precondition', 'REDIS_VERSION', `Redis ${version} is too old: Muster needs 7.0 or newer (or Valkey)`);
  }
}
