import { type AddressInfo, connect as connectTcp, createServer } from 'node:net';
import { status } from '@grpc/grpc-js';
import { beforeAll, describe, expect, test } from 'vitest';
import { readConfig } from '../../../src/config.js';
import { WorkerState } from '../../../src/grpc/generated/muster/v1/admin.js';
import { Contract } from '../../../src/grpc/generated/muster/v1/common.js';
import { JobState } from '../../../src/grpc/generated/muster/v1/job.js';
import type { EmbeddedRedis } from '../../../src/lifecycle/embedded-redis.js';
import { ownRedis } from '../../helpers/redis.js';
import { bearer, testFile, token } from '../../helpers/secured.js';
import { until } from '../../helpers/until.js';
import { getWorker, jobIn, type Running, refusal, startReplica, startWith, submit, words } from './support.js';
import { register, runnerWorker } from './workers.js';

let redis: EmbeddedRedis;

/** As a deployment would be: nothing is free because it is a test. */
function secured(settings: Record<string, unknown>): Promise<Running> {
  const { secret, line } = token('admin', 'test');
  const security = { TOKENS_FILE: testFile('tokens', line).path, TLS_TERMINATED: true };
  const config = readConfig({}, { REDIS_URL: redis.url, GRPC_ADDR: '127.0.0.1:0', HTTP_ADDR: '', STOP_LEAD_MS: 0, ...security, ...settings });
  return startWith(config, { channel: bearer(secret) });
}

beforeAll(async () => {
  redis = await ownRedis();
});

const SPECIAL: [what: string, ip: string][] = [
  ['loopback', '127.0.0.1'],
  ['loopback, another', '127.255.0.9'],
  ['loopback of IPv6', '::1'],
  ['loopback, written long', '0:0:0:0:0:0:0:1'],
  ['link-local, where clouds keep credentials', '169.254.169.254'],
  ['link-local of IPv6', 'fe80::1'],
  ['multicast', '224.0.0.1'],
  ['multicast of IPv6', 'ff02::1'],
  ['unspecified', '0.0.0.0'],
  ['unspecified of IPv6', '::'],
  ['broadcast', '255.255.255.255'],
  ['loopback mapped into IPv6', '::ffff:127.0.0.1'],
  ['loopback mapped, in hex', '::ffff:7f00:1'],
  ['link-local mapped into IPv6', '::ffff:169.254.169.254'],
  ['loopback behind NAT64', '64:ff9b::7f00:1'],
  ['loopback in 6to4', '2002:7f00:1::'],
];

describe.each<[string, Record<string, unknown>]>([
  ['without DIAL_ALLOW', {}],
  ['with all of the internet in DIAL_ALLOW', { DIAL_ALLOW: '0.0.0.0/0,::/0' }],
])('a secured replica %s', (_name, settings) => {
  let replica: Running;
  beforeAll(async () => {
    replica = await secured(settings);
  });

  test.each(SPECIAL)('does not dial %s (%s)', async (_what, ip) => {
    const error = await refusal(register(replica.api, { id: 'w', pool: 'p', port: 6000, ip, boot: 'b' }));
    expect([error.codeName, error.reason]).toEqual(['PERMISSION_DENIED', 'ADDRESS_REFUSED']);
    expect(error.message).toContain('DIAL_ALLOW');
  });

  test('has written nothing of them', async () => {
    expect(await replica.api.listPools({})).toEqual({ pools: [] });
  });
});

test('without DIAL_ALLOW a worker is dialed only where it calls from, and the refusal says what to set', async () => {
  const { api } = await secured({});
  const error = await refusal(register(api, { id: 'w', pool: 'p', port: 6000, ip: '10.1.2.3' }));
  expect([error.codeName, error.reason]).toEqual(['PERMISSION_DENIED', 'ADDRESS_REFUSED']);
  expect(error.message).toContain('the call came from 127.0.0.1');
  expect(error.message).toContain('DIAL_ALLOW');
});

test('what DIAL_ALLOW names is dialed, at its ports only', async () => {
  const free = await startReplica(redis.url);
  const worker = await runnerWorker(free.target, 'elsewhere', 'w');
  const port = Number(worker.address.split(':')[1]);
  const { api } = await secured({ DIAL_ALLOW: `127.0.0.1/32:${port}`, DIAL_PLAINTEXT: '127.0.0.1' });
  expect(await register(api, { id: 'w', pool: 'named', port, boot: worker.boot })).toMatchObject({ success: true });
  expect((await getWorker(api, 'named', 'w')).state).toBe(WorkerState.WORKER_STATE_FREE);
  const other = await refusal(register(api, { id: 'w2', pool: 'named', port: port + 1 }));
  expect([other.codeName, other.reason]).toEqual(['PERMISSION_DENIED', 'ADDRESS_REFUSED']);
  expect(other.message).toContain('and the port, in DIAL_ALLOW');
});

test('who may be dialed, and is to show a certificate, is not dialed while nobody said whom to trust', async () => {
  const { api } = await secured({ DIAL_ALLOW: '127.0.0.1/32', DIAL_PLAINTEXT: '127.0.0.2' });
  const error = await refusal(register(api, { id: 'w', pool: 'p', port: 6000 }));
  expect([error.codeName, error.reason]).toEqual(['FAILED_PRECONDITION', 'DIAL_CA_MISSING']);
  expect(error.message).toMatch(/127\.0\.0\.1:6000 .*set DIAL_CA.*DIAL_PLAINTEXT/);
});

test('an insecure replica takes loopback workers, mapped ones too, and no other special address', async () => {
  const { api, target } = await startReplica(redis.url);
  const worker = await runnerWorker(target, 'first', 'w');
  const port = Number(worker.address.split(':')[1]);
  expect(await register(api, { id: 'w', pool: 'mapped', port, ip: '::ffff:127.0.0.1', boot: worker.boot })).toMatchObject({ success: true });
  for (const ip of ['169.254.169.254', '224.0.0.1', '0.0.0.0', 'fe80::1', '::ffff:169.254.169.254']) {
    expect((await refusal(register(api, { id: 'w2', pool: 'p', port, ip }))).reason, ip).toBe('ADDRESS_REFUSED');
  }
});

test('a worker that names no address is dialed where its call came from', async () => {
  const { api, target } = await startReplica(redis.url);
  const worker = await runnerWorker(target, 'second', 'w');
  const port = Number(worker.address.split(':')[1]);
  await register(api, { id: 'w', pool: 'unnamed', port, ip: '', boot: worker.boot });
  expect((await getWorker(api, 'unnamed', 'w')).address).toBe(`127.0.0.1:${port}`);
});

describe('the address of a replica', () => {
  let one: Running;
  let two: Running;
  beforeAll(async () => {
    const settings = { DIAL_ALLOW: '127.0.0.0/8', DIAL_PLAINTEXT: '127.0.0.0/8', HTTP_ADDR: '127.0.0.1:0', HOME_BEAT_MS: 100 };
    [one, two] = await Promise.all([secured(settings), secured(settings)]);
    await until(async () => (await one.api.listReplicas({})).replicas.length > 1, { what: 'both replicas' });
  });

  const METHOD = { id: 'w', pool: 'loops', boot: 'b', contract: Contract.CONTRACT_METHOD };

  test('is no worker, at itself and at others, at any of its listeners and in any spelling', async () => {
    const ports = [one, two].flatMap(({ grpcPort, httpPort }) => [grpcPort, httpPort]);
    for (const ip of ['127.0.0.1', '127.0.0.2', '::ffff:127.0.0.1']) {
      for (const port of ports) {
        const refused = async () => words(await refusal(register(one.api, { ...METHOD, port, ip })));
        await until(async () => (await refused()).reason === 'ADDRESS_REFUSED', { what: `${ip}:${port} to be refused` });
        expect((await refusal(register(one.api, { ...METHOD, port, ip }))).message).toContain('a replica of this fleet listens there');
      }
    }
  });

  test('behind a balancer that nobody knows lets no job in, whoever calls', async () => {
    const balancer = createServer((from) => {
      const to = connectTcp(two.grpcPort, '127.0.0.1');
      from.pipe(to).pipe(from);
      for (const socket of [from, to]) socket.on('error', () => socket.destroy());
    });
    await new Promise<void>((resolve) => void balancer.listen(0, '127.0.0.1', resolve));
    const { port } = balancer.address() as AddressInfo;
    await register(one.api, { ...METHOD, port });
    await submit(one.api, { pool: 'loops', id: 'j', work: { $case: 'method', value: '/grpc.health.v1.Health/Check' }, retry: { maxAttempts: 1 } });
    const job = await jobIn(one.api, 'loops', 'j', JobState.JOB_STATE_FAILED);
    expect(job.outcome).toMatchObject({
      value: { code: status.PERMISSION_DENIED, message: expect.stringContaining('this is a replica and no worker') },
    });
    await one.api.evictWorker({ pool: 'loops', id: 'w', reason: '' });
    balancer.close();
  });
});
