import { freePort } from '../../src/lifecycle/free-port.js';
import { cProgram, tool } from '../lib/toolbox.js';
import { foreign, READY } from './foreign.js';
import { PAYLOAD } from './muster.js';
import type { Peer } from './peers.js';

const INSTALL = 'apt-get install gearman-job-server libgearman-dev';

const build = () => cProgram(new URL('../processes/gearman/gearman.c', import.meta.url), 'gearman', ['gearman'], INSTALL);

export const gearmand: Peer = {
  name: 'gearmand',
  how: 'C on both sides, with its own library: a thread and a connection for each job outstanding; its queue is in memory alone, and nothing outlives it',
  build,
  async start({ children }, _redis, concurrency) {
    const server = tool(['gearmand'], INSTALL);
    const file = await build();
    const port = String(await freePort());
    // As it comes: four threads for connections, no queue on disk.
    const broker = await children.run({
      name: 'gearmand',
      file: server,
      args: ['--listen', '127.0.0.1', '--port', port, '--log-file', 'stderr', '--verbose', 'INFO'],
      ready: /Listening on/,
    });
    const worker = await children.run({ name: 'gearman worker', file, args: ['worker', port, String(concurrency)], ready: READY });
    const submitter = await children.run({ name: 'gearman submitter', file, args: ['submitter', port, String(PAYLOAD.length)], ready: READY });
    return foreign('gearmand', [broker, worker, submitter]);
  },
};
