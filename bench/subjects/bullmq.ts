import { Queue, QueueEvents } from 'bullmq';
import type { EmbeddedRedis } from '../../src/lifecycle/embedded-redis.js';
import type { Subject } from '../lib/rounds.js';
import type { Bench } from '../scenario.js';
import { PAYLOAD } from './muster.js';

const QUEUE = 'bench';
const DATA = PAYLOAD.toString();

/** BullMQ awaiting each result, its worker in a process of its own. Its jobs stay, which costs it least. */
export async function bullmq(bench: Bench, redis: EmbeddedRedis, concurrency: number): Promise<Subject> {
  const module = new URL('../processes/bullmq-worker.ts', import.meta.url);
  await bench.children.start({ name: 'bullmq worker', module, args: [QUEUE, String(redis.port), String(concurrency)], typescript: true });
  const connection = { host: '127.0.0.1', port: redis.port };
  const queue = new Queue<string, string>(QUEUE, { connection });
  const events = new QueueEvents<string>(QUEUE, { connection });
  // It waits for the end of every job on the same two emitters.
  queue.setMaxListeners(0);
  events.setMaxListeners(0);
  queue.on('error', () => undefined);
  events.on('error', () => undefined);
  await Promise.all([queue.waitUntilReady(), events.waitUntilReady()]);
  return {
    name: 'bullmq',
    processes: ['client', 'bullmq worker', 'redis'],
    async job() {
      const job = await queue.add('noop', DATA);
      const result = await job.waitUntilFinished(events);
      if (result !== DATA) throw new Error(`a job of BullMQ ended otherwise than it should: ${JSON.stringify(result)}`);
    },
    async close() {
      await Promise.all([queue.close(), events.close()]);
    },
  };
}
