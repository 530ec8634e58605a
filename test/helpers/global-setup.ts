import type { TestProject } from 'vitest/node';
import { startEmbeddedRedis } from '../../src/lifecycle/embedded-redis.js';

declare module 'vitest' {
  export interface ProvidedContext {
    redisUrl: string;
  }
}

/** One Redis for the whole run. Files share it and keep apart by the names of their pools. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const redis = await startEmbeddedRedis();
  project.provide('redisUrl', redis.url);
  return () => redis.stop();
}
