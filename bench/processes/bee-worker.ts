import { once } from 'node:events';
import Queue from 'bee-queue';

/** bee-queue's worker: one process, many jobs at once. `argv`: queue, port of Redis, concurrency. */
const [, , name = '', port, concurrency] = process.argv;

// Its guide's advice for workers: no events to get where nobody listens, and what succeeded goes.
const queue = new Queue<string>(name, {
  redis: { host: '127.0.0.1', port: Number(port) },
  getEvents: false,
  storeJobs: false,
  removeOnSuccess: true,
});
queue.on('error', (error) => {
  process.stderr.write(`${error.message}\n`);
  process.exit(1);
});
await queue.ready();
queue.process(Number(concurrency), async ({ data }: { data: string }) => data);
process.send?.('ready');
await once(process, 'disconnect');
