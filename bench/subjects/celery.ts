import { fileURLToPath } from 'node:url';
import { pythonWith } from '../lib/toolbox.js';
import { foreign, READY } from './foreign.js';
import { PAYLOAD } from './muster.js';
import type { Peer } from './peers.js';

const FOLDER = new URL('../processes/celery/', import.meta.url);
/** Workers talk to nobody but the broker: its guide lets a fleet that needs no remote control go without. */
const QUIET = ['--without-gossip', '--without-mingle', '--without-heartbeat', '--loglevel', 'WARNING'];

const build = () => pythonWith(FOLDER, 'celery');

export const celery: Peer = {
  name: 'celery',
  how: 'Python, Redis as broker and for results; its pool of threads, which does more no-op tasks on two cores than processes do',
  build,
  async start({ children }, redis, concurrency) {
    const file = await build();
    const common = { file, cwd: fileURLToPath(FOLDER), env: { REDIS_URL: redis.url, PYTHONDONTWRITEBYTECODE: '1' }, ready: READY };
    const threads = ['-P', 'threads', '-c', String(concurrency)];
    const worker = await children.run({ ...common, name: 'celery worker', args: ['-m', 'celery', '-A', 'noop', 'worker', ...threads, ...QUIET] });
    const submitter = await children.run({ ...common, name: 'celery submitter', args: ['submitter.py', String(PAYLOAD.length)] });
    return foreign('celery', [worker, submitter], ['redis']);
  },
};
