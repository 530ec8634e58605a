import { randomUUID } from 'node:crypto';
import Queue from 'bee-queue';
import type { EmbeddedRedis } from '../../src/lifecycle/embedded-redis.js';
import type { Subject } from '../lib/rounds.js';
import type { Bench } from '../scenario.js';
import { Batch, Waiting } from './batch.js';
import { PAYLOAD } from './muster.js';
import type { Peer } from './peers.js';

const QUEUE = 'bench';
const DATA = PAYLOAD.toString();

/** bee-queue with its pipelined `saveAll`; results come as the queue's own events over PubSub, so it need not keep its jobs in memory. */
async function start(bench: Bench, redis: EmbeddedRedis, concurrency: number): Promise<Subject> {
  const module = new URL('../processes/bee-worker.ts', import.meta.url);
  const worker = 'bee-queue worker';
  await bench.children.start({ name: worker, module, args: [QUEUE, String(redis.port), String(concurrency)], typescript: true });
  const queue = new Queue<string>(QUEUE, { redis: { host: '127.0.0.1', port: redis.port }, isWorker: false, storeJobs: false });
  const waiting = new Waiting(DATA);
  queue.on('error', () => undefined);
  queue.on('job succeeded', (id, result) => waiting.ended(id, result));
  queue.on('job failed', (id, error) => waiting.failed(id, error));
  await queue.ready();
  const batch = new Batch(async (ids) => {
    const errors = await queue.saveAll(ids.map((id) => queue.createJob(DATA).setId(id)));
    for (const error of errors.values()) throw error;
  }, waiting);
  return {
    name: 'bee-queue',
    processes: ['client', worker, 'redis'],
    job() {
      const id = randomUUID();
      batch.add(id);
      return waiting.for(id);
    },
    close: () => queue.close(),
  };
}

export const beeQueue: Peer = {
  name: 'bee-queue',
  how: 'jobs of one turn of the event loop in one saveAll, results from the events of the queue: over PubSub, so at most once',
  start,
};
