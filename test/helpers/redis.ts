import { randomUUID } from 'node:crypto';
import { afterAll, inject } from 'vitest';
import { type EmbeddedRedis, type EmbeddedRedisOptions, startEmbeddedRedis } from '../../src/lifecycle/embedded-redis.js';

/** The Redis that all files of a run share. Whoever breaks it, or counts what is in it, takes `ownRedis()`. */
export const redisUrl: string = inject('redisUrl');

/** A pool that no other test has: all of a pool's keys carry its name, so tests on one Redis do not meet. */
export function uniquePool(prefix = 't'): string {
  return `${prefix}-${randomUUID().slice(0, 12)}`;
}

const owned: EmbeddedRedis[] = [];

/** A Redis for this file alone, ended with the file. */
export async function ownRedis(options: EmbeddedRedisOptions = {}): Promise<EmbeddedRedis> {
  const redis = await startEmbeddedRedis(options);
  owned.push(redis);
  return redis;
}

afterAll(async () => {
  await Promise.all(owned.splice(0).map((redis) => redis.stop()));
});
