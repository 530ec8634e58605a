import { randomUUID } from 'node:crypto';
import { Queue, QueueEvents } from 'bullmq';
import type { EmbeddedRedis } from '../../src/lifecycle/embedded-redis.js';
import type { Subject } from '../lib/rounds.js';
import type { Bench } from '../scenario.js';
import { Batch, Waiting } from './batch.js';
import { PAYLOAD } from './muster.js';
import type { Peer } from './peers.js';

const QUEUE = 'bench-bulk';
const DATA = PAYLOAD.toString();

/**
 * BullMQ at its leanest: what is submitted in one turn of the event loop goes into one `addBulk`, and results come from the stream of
 * QueueEvents alone, without the check that `waitUntilFinished` makes for each job.
 */
async function start(bench: Bench, redis: EmbeddedRedis, concurrency: number): Promise<Subject> {
  const module = new URL('../processes/bullmq-worker.ts', import.meta.url);
  const worker = 'bullmq-bulk worker';
  await bench.children.start({ name: worker, module, args: [QUEUE, String(redis.port), String(concurrency)], typescript: true });
  const connection = { host: '127.0.0.1', port: redis.port };
  const queue = new Queue<string, string>(QUEUE, { connection });
  const events = new QueueEvents(QUEUE, { connection });
  queue.on('error', () => undefined);
  events.on('error', () => undefined);
  const waiting = new Waiting(DATA);
  events.on('completed', ({ jobId, returnvalue }) => waiting.ended(jobId, returnvalue));
  events.on('failed', ({ jobId, failedReason }) => waiting.failed(jobId, new Error(failedReason)));
  await Promise.all([queue.waitUntilReady(), events.waitUntilReady()]);
  const batch = new Batch(async (ids) => {
    await queue.addBulk(ids.map((jobId) => ({ name: 'noop', data: DATA, opts: { jobId } })));
  }, waiting);
  return {
    name: 'bullmq-bulk',
    processes: ['client', worker, 'redis'],
    job() {
      const id = randomUUID();
      batch.add(id);
      return waiting.for(id);
    },
    async close() {
      await Promise.all([queue.close(), events.close()]);
    },
  };
}

export const bullmqBulk: Peer = {
  name: 'bullmq-bulk',
  how: 'jobs of one turn of the event loop in one addBulk, results from QueueEvents without a check for each job',
  start,
};
