import { fileURLToPath } from 'node:url';
import { cacheFolder, pythonWith } from '../lib/toolbox.js';
import { foreign, READY } from './foreign.js';
import { PAYLOAD } from './muster.js';
import type { Peer } from './peers.js';

const FOLDER = new URL('../processes/dask/', import.meta.url);
/** No page to watch it on, and its HTTP server on any port. */
const QUIET = ['--no-dashboard', '--dashboard-address', '127.0.0.1:0', '--host', '127.0.0.1'];

const build = () => pythonWith(FOLDER, 'dask');

export const dask: Peer = {
  name: 'dask',
  how: 'Python on uvloop, as its guide says is fastest; one worker with that many threads and no nanny; it keeps everything in memory alone',
  build,
  async start({ children }, _redis, concurrency) {
    const file = await build();
    const env = { DASK_DISTRIBUTED__ADMIN__EVENT_LOOP: 'uvloop', DASK_TEMPORARY_DIRECTORY: cacheFolder('dask'), PYTHONDONTWRITEBYTECODE: '1' };
    const common = { file, cwd: fileURLToPath(FOLDER), env };
    const scheduler = await children.run({
      ...common,
      name: 'dask scheduler',
      args: ['-m', 'distributed.cli.dask_scheduler', '--port', '0', ...QUIET],
      ready: /Scheduler at:\s+(tcp:\S+)\n/,
    });
    const address = scheduler.ready?.[1] ?? '';
    const threads = ['--nworkers', '1', '--nthreads', String(concurrency), '--no-nanny'];
    const worker = await children.run({
      ...common,
      name: 'dask worker',
      args: ['-m', 'distributed.cli.dask_worker', address, ...threads, ...QUIET],
      ready: /Registered to:/,
    });
    const args = ['submitter.py', address, String(PAYLOAD.length)];
    const submitter = await children.run({ ...common, name: 'dask submitter', args, ready: READY });
    return foreign('dask', [scheduler, worker, submitter]);
  },
};
