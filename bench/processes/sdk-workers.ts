import { once } from 'node:events';
import { Worker } from '../../src/sdk/worker.js';

/** The SDK's workers in one process, each on a TCP connection of its own. `argv`: target, pool, how many. Sends `ready` when all are attached. */
const [, , target = '', pool = '', count = '0'] = process.argv;

const workers = Array.from({ length: Number(count) }, (_, i) =>
  new Worker({ target, pool, id: `sdk-${i}`, channel: { 'grpc.use_local_subchannel_pool': 1 } }).handle('noop', async (input) => input, 'bytes'),
);
await Promise.all(workers.map((worker) => worker.start({ signals: false })));
process.send?.('ready');
await once(process, 'disconnect');
