import { freePort } from '../../src/lifecycle/free-port.js';
import { goProgram } from '../lib/toolbox.js';
import { foreign, READY } from './foreign.js';
import { PAYLOAD } from './muster.js';
import type { Peer } from './peers.js';

const MODULE = new URL('../processes/temporal/', import.meta.url);
const SERVER = 'github.com/temporalio/cli/cmd/temporal';

const build = async () => ({ server: await goProgram(MODULE, 'temporal-server', SERVER), file: await goProgram(MODULE, 'temporal') });

export const temporal: Peer = {
  name: 'temporal',
  how: 'Go; its development server on SQLite in memory; a job is a workflow without an activity; it was made for durable steps, not for rates',
  build,
  async start({ children }, _redis, concurrency) {
    const { server, file } = await build();
    const port = String(await freePort());
    const address = `127.0.0.1:${port}`;
    const broker = await children.run({
      name: 'temporal',
      file: server,
      args: ['server', 'start-dev', '--headless', '--ip', '127.0.0.1', '--port', port, '--log-level', 'error'],
      ready: /Server:\s/,
    });
    const worker = await children.run({ name: 'temporal worker', file, args: ['worker', address, String(concurrency)], ready: READY });
    const submitter = await children.run({ name: 'temporal submitter', file, args: ['submitter', address, String(PAYLOAD.length)], ready: READY });
    return foreign('temporal', [broker, worker, submitter], [], true);
  },
};
