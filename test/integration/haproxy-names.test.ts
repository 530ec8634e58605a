import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { Worker } from '../../src/sdk/index.js';
import { startDns } from '../helpers/dns.js';
import { freePorts } from '../helpers/ports.js';
import { ownRedis, uniquePool } from '../helpers/redis.js';
import { startReplica } from '../helpers/replica.js';
import { until } from '../helpers/until.js';
import { binaryOf, startBalancer } from '../rolling/balancers.js';
import { Processes } from '../rolling/processes.js';

/** As docker-compose.yml runs it: one name for all replicas, whose addresses come and go. Each replica has an address of the loopback. */
const why = binaryOf('haproxy') === undefined ? 'haproxy is not on PATH' : process.platform === 'linux' ? '' : 'this system has one loopback address';

test(`HAProxy follows the addresses behind a name${why === '' ? '' : ` (not tried: ${why})`}`, async () => {
  if (why !== '') return;
  const folder = mkdtempSync(join(tmpdir(), 'muster-haproxy-'));
  const processes = new Processes(folder);
  const { url } = await ownRedis();
  const [grpcPort = 0, httpPort = 0] = await freePorts(2);
  const replicaAt = (ip: string) => startReplica(url, { GRPC_ADDR: `${ip}:${grpcPort}`, HTTP_ADDR: `${ip}:${httpPort}`, STOP_LEAD_MS: 1_000 });
  const known = ['127.0.0.2'];
  const dns = await startDns(() => known);
  const first = await replicaAt('127.0.0.2');
  const env = { REPLICAS: `muster:${grpcPort}`, RESOLVER: `127.0.0.1:${dns.port}` };
  const { started, target } = await startBalancer('haproxy', processes, [{ grpcPort, httpPort }], folder, env);
  const workers: Worker[] = [];
  const homes = new Map<string, string>();
  const worker = async () => {
    const made = new Worker({ target, pool: uniquePool() }).handle('echo', (value) => value);
    workers.push(made.on('attached', ({ replica }) => homes.set(made.id, replica)));
    await made.start({ signals: false });
    return made.id;
  };
  try {
    const id = await worker();
    expect(homes.get(id)).toBe(first.id);

    // Its name is there before it is ready: it is asked until it says so.
    known.push('127.0.0.3');
    await until(() => /muster-2 is DOWN/.test(started.output()), { what: 'the new address to be asked in vain' });
    const second = await replicaAt('127.0.0.3');
    const moved = await until(async () => [await worker()].find((one) => homes.get(one) === second.id), {
      what: 'a worker to come to the new address',
    });

    // Its name goes when its container has stopped; that it stops, its readiness has said before.
    await second.stop();
    known.pop();
    await until(() => homes.get(moved) === first.id, { what: 'the worker to be where a replica is' });
    expect(homes.get(await worker())).toBe(first.id);
  } finally {
    await Promise.all(workers.map((made) => made.stop()));
    await processes.stopAll([started]);
    dns.stop();
    rmSync(folder, { recursive: true, force: true });
  }
});
