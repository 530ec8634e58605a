import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { readDescriptors, unaryMethods } from '../../../src/domain/descriptors.js';
import { type Api, connect } from '../../../src/sdk/connect.js';
import { jobSpec, runToEnd } from '../../../src/sdk/run.js';
import { Sidecar } from '../../../src/sdk/sidecar/sidecar.js';
import { ownRedis, uniquePool } from '../../helpers/redis.js';
import { until } from '../../helpers/until.js';
import { listen } from '../links/support.js';
import { startReplica } from './replica.js';
import { startUpstream, type UpstreamServerOptions } from './upstream.js';

let redisUrl: string;
let replica: Awaited<ReturnType<typeof startReplica>>;
let api: Api;
const ends: (() => unknown)[] = [];

beforeAll(async () => {
  redisUrl = (await ownRedis()).url;
  // Attached streams turn over all the time.
  replica = await startReplica(redisUrl, { MUSTER_CONNECTION_AGE_MS: '300', MUSTER_REATTACH_GRACE_MS: '1000', MUSTER_CONFIRM_MS: '50' });
  api = connect(replica.target);
});
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});
afterAll(async () => {
  api.close();
  await replica.stop();
});

async function upstream(options: UpstreamServerOptions = {}) {
  const server = await startUpstream(options);
  ends.push(server.kill);
  return server;
}

function sidecarOf(upstreamTarget: string, target = replica.target) {
  const pool = uniquePool();
  const story: string[] = [];
  const sidecar = new Sidecar({
    target,
    pool,
    upstream: upstreamTarget,
    id: 'side',
    healthIntervalMs: 30,
    healthTimeoutMs: 200,
    tell: (line) => story.push(line),
  });
  sidecar.start();
  ends.push(() => sidecar.stop());
  return { pool, story };
}

const workerOf = async (pool: string) => (await api.getWorker({ pool, id: 'side' })).worker;
const spec = (pool: string, id: string) => jobSpec({ id, pool, work: { $case: 'method', value: '/job.JobService/RunJob' } });

describe('a sidecar', () => {
  it('stays without slots over changes of its stream, while the server does not serve', async () => {
    const server = await upstream();
    const { pool } = sidecarOf(server.target);
    await until(async () => (await workerOf(pool))?.slots === 1);
    server.health.set('', false);
    await until(async () => (await workerOf(pool))?.slots === 0);
    const epoch = Number((await workerOf(pool))?.linkEpoch);
    await until(async () => Number((await workerOf(pool))?.linkEpoch) > epoch + 1, { what: 'two changes of stream' });
    await until(async () => (await workerOf(pool))?.slots === 0, { what: 'no slots again' });
    server.health.set('', true);
    expect((await runToEnd(api, spec(pool, 'j1'))).outcome?.$case).toBe('output');
  });

  it('is not wedged by a server that accepts and stays mute', async () => {
    const mute = await listen();
    const { pool, story } = sidecarOf(`127.0.0.1:${mute.port}`);
    await until(() => story.some((line) => line.includes('does not serve')));
    await mute.stop();
    await upstream({ port: mute.port });
    expect((await runToEnd(api, spec(pool, 'j1'))).outcome?.$case).toBe('output');
  });

  it('puts the descriptors again when another version of the server comes up', async () => {
    const first = await upstream({ reflection: 'none' });
    const { pool, story } = sidecarOf(first.target);
    await until(() => story.some((line) => line.includes('serves no reflection')));
    first.kill();
    await until(() => story.some((line) => line.includes('does not serve')));
    await upstream({ port: first.port });
    const methods = await until(async () => unaryMethods(readDescriptors((await api.getPoolDescriptors({ pool })).fileDescriptorSet, 'set')));
    expect(methods.has('/job.JobService/RunJob')).toBe(true);
  });

  it('waits for a replica that is not there yet, and puts the descriptors then', async () => {
    const port = await until(async () => {
      const taken = await listen();
      await taken.stop();
      return taken.port;
    });
    const server = await upstream();
    const { pool, story } = sidecarOf(server.target, `127.0.0.1:${port}`);
    await until(() => story.some((line) => line.endsWith(' serves')));
    const late = await startReplica(redisUrl, { MUSTER_GRPC_ADDR: `127.0.0.1:${port}` });
    ends.push(late.stop);
    await until(async () => (await workerOf(pool))?.slots === 1);
    await until(async () => (await api.getPoolDescriptors({ pool })).fileDescriptorSet.length > 0);
  });
});
