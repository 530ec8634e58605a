import { Worker } from 'bullmq';

/** BullMQ's worker, as it is at its best: one process, many jobs at once. `argv`: queue, port of Redis, concurrency. */
const [, , queue = '', port, concurrency] = process.argv;

const worker = new Worker<string, string>(queue, async ({ data }) => data, {
  connection: { host: '127.0.0.1', port: Number(port), maxRetriesPerRequest: null },
  concurrency: Number(concurrency),
});
worker.on('error', (error) => {
  process.stderr.write(`${error.message}\n`);
  process.exit(1);
});
await worker.waitUntilReady();
process.send?.('ready');
