import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findRedisBinary } from '../../src/lifecycle/embedded-redis.js';
import { freePort } from '../../src/lifecycle/free-port.js';
import { goProgram } from '../lib/toolbox.js';
import { foreign, READY } from './foreign.js';
import { PAYLOAD } from './muster.js';
import type { Peer } from './peers.js';

const MODULE = new URL('../processes/faktory/', import.meta.url);
const SERVER = 'github.com/contribsys/faktory/cmd/faktory';
/** As everybody's Redis here (see Children): Faktory's own settings, which its first argument names, would write snapshots instead. */
const REDIS = '--port 0 --save "" --appendonly yes --appendfsync everysec --auto-aof-rewrite-percentage 0';

/** Faktory starts the `redis-server` that it finds on PATH: there it finds this one. */
function redisShim(folder: string): string {
  const bin = join(folder, 'bin');
  mkdirSync(bin);
  const shim = join(bin, 'redis-server');
  writeFileSync(shim, `#!/bin/sh\nshift\nexec "${findRedisBinary()}" ${REDIS} "$@"\n`);
  chmodSync(shim, 0o755);
  return bin;
}

const build = async () => ({ server: await goProgram(MODULE, 'faktory-server', SERVER), file: await goProgram(MODULE, 'faktory') });

export const faktory: Peer = {
  name: 'faktory',
  how: 'Go; it keeps no results, so each comes back as a job of a second queue, which is two jobs for one; its own Redis over a Unix socket',
  build,
  async start({ children }, _redis, concurrency) {
    const { server, file } = await build();
    // Not in the cache: the name of a socket has to be short.
    const folder = mkdtempSync(join(tmpdir(), 'muster-faktory-'));
    process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
    const address = `127.0.0.1:${await freePort()}`;
    const broker = await children.run({
      name: 'faktory',
      file: server,
      args: ['-b', address, '-w', `127.0.0.1:${await freePort()}`, '-d', folder, '-c', folder, '-e', 'development'],
      env: { PATH: `${redisShim(folder)}:${process.env.PATH}`, FAKTORY_PASSWORD: '' },
      ready: / listening at .* press/,
    });
    const env = { FAKTORY_URL: `tcp://${address}`, FAKTORY_PROVIDER: 'FAKTORY_URL' };
    const worker = await children.run({ name: 'faktory worker', file, args: ['worker', String(concurrency)], env, ready: READY });
    const submitter = await children.run({ name: 'faktory submitter', file, args: ['submitter', String(PAYLOAD.length)], env, ready: READY });
    return foreign('faktory', [broker, worker, submitter], [], true);
  },
};
