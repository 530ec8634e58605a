import { goProgram } from '../lib/toolbox.js';
import { foreign, READY } from './foreign.js';
import { PAYLOAD } from './muster.js';
import type { Peer } from './peers.js';

const build = () => goProgram(new URL('../processes/asynq/', import.meta.url), 'asynq');

export const asynq: Peer = {
  name: 'asynq',
  how: 'Go; it tells nobody that a task has ended, so results are polled: first after half of what the last one took, then every eighth of that',
  build,
  async start({ children }, redis, concurrency) {
    const file = await build();
    const port = String(redis.port);
    const worker = await children.run({ name: 'asynq worker', file, args: ['worker', port, String(concurrency)], ready: READY });
    const submitter = await children.run({ name: 'asynq submitter', file, args: ['submitter', port, String(PAYLOAD.length)], ready: READY });
    return foreign('asynq', [worker, submitter], ['redis']);
  },
};
