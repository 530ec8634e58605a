import type { Redis } from 'ioredis';
import { keys } from '../../src/store/keys.js';

/** Which of these jobs have a lease that a worker holds, as Redis has it. Rejects as ioredis does. */
export async function liveLeases(redis: Redis, pool: string, jobs: ReadonlySet<string>): Promise<string[]> {
  const workers = await redis.zrange(keys.workers(pool), '0', '-1');
  const held = await Promise.all(workers.map((worker) => redis.hgetall(keys.held(pool, worker))));
  const all = held.flatMap((leases) => Object.entries(leases));
  return all.flatMap(([job, fence]) => (jobs.has(job) && !fence.startsWith('!') ? job : []));
}

/**
 * Is the slot kept from other jobs, as Redis has it, although the job's lease was taken away? By a quarantine, or, for a worker that cannot say
 * what it runs and answers that it is busy, by being blocked.
 */
export async function slotKept(redis: Redis, pool: string, worker: string, job: string): Promise<boolean> {
  const [fence, blocked] = await Promise.all([redis.hget(keys.held(pool, worker), job), redis.hget(keys.worker(pool, worker), 'blocked')]);
  return fence?.startsWith('!') === true || blocked === '1';
}
