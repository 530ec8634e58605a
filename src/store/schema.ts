import { MusterError } from '../domain/errors.js';
import { keys } from './keys.js';
import { type Connection, mastersOf } from './nodes.js';
import { info } from './survey.js';

/** Grows when keys or scripts change so that the version before cannot work beside them. Scripts of N and N−1 share keys. */
export const SCHEMA = 1;

/** Refuses a Redis whose keys another, incompatible version writes; marks one that is new. */
export async function checkSchema(redis: Connection): Promise<void> {
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

/** Scripts with flags came with Redis 7. Answers whether Redis told its version: where it does not, its refusal of the scripts has to do. */
export async function checkServer(redis: Connection): Promise<boolean> {
  const versions = (await Promise.all(mastersOf(redis).map((node) => info(node, 'server')))).map((told) => told.get('redis_version'));
  for (const version of versions) {
    if (version !== undefined && Number(version.split('.')[0]) < 7) {
      throw new MusterError('failed_precondition', 'REDIS_VERSION', `Redis ${version} is too old: Muster needs 7.0 or newer (or Valkey)`);
    }
  }
  return !versions.includes(undefined);
}
