import { createServer } from 'node:net';
import { credentials, Client as GrpcClient, status } from '@grpc/grpc-js';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ACCESS } from '../../src/grpc/auth.js';
import { JobRequest, JobResponse } from '../../src/grpc/generated/job/job.js';
import { WorkerState } from '../../src/grpc/generated/muster/v1/admin.js';
import { JobState } from '../../src/grpc/generated/muster/v1/job.js';
import { WorkerInfo } from '../../src/grpc/generated/muster/v1/worker.js';
import { type Api, connect } from '../../src/sdk/connect.js';
import { startRunner, Worker } from '../../src/sdk/index.js';
import { jobSpec, runToEnd } from '../../src/sdk/run.js';
import { type Ca, createCa } from '../helpers/certs.js';
import { Cluster } from '../helpers/cluster.js';
import { firstContract } from '../helpers/first-contract.js';
import { listeningPorts } from '../helpers/listening.js';
import { over, testFile, token } from '../helpers/secured.js';

/**
 * A fleet that speaks the first contract in plaintext beside a replica that asks for TLS and tokens of everybody else: it has a listener of its own,
 * a pool of its own, and addresses of its own. Linux: it dials workers on 127.0.0.2.
 */
const LEGACY_POOL = 'old';
const [WITHIN, OUTSIDE] = ['127.0.0.1', '127.0.0.2'];
const TOKENS = { client: token('client', 'shop'), worker: token('worker', 'fleet'), admin: token('admin', 'ops') };
let servers: Ca;
let workers: Ca;
let cluster: Cluster;
let legacyPort: number;
let shop: Api;
let ops: Api;

beforeAll(async () => {
  [servers, workers] = [await createCa('servers'), await createCa('workers')];
  const own = await servers.issue(['127.0.0.1', 'localhost']);
  const file = (name: string, text: string) => testFile(name, text).path;
  cluster = await Cluster.start({
    replicas: 1,
    timeScale: 1,
    redis: {},
    settings: {
      ...{ INSECURE: 'false', TLS_CERT: file('tls.crt', own.cert), TLS_KEY: file('tls.key', own.key), TLS_CLIENT_CA: file('ca.crt', workers.cert) },
      TOKENS_FILE: file(
        'tokens',
        Object.values(TOKENS)
          .map(({ line }) => `${line}\n`)
          .join(''),
      ),
      ...{ LEGACY_ADDR: '127.0.0.1:0', LEGACY_POOL, STOP_LEAD_MS: '0' },
      ...{ DIAL_ALLOW: '127.0.0.0/8', DIAL_PLAINTEXT: `${WITHIN}/32`, DIAL_CA: file('workers.crt', workers.cert) },
    },
  });
  legacyPort = Number((await cluster.replica(0).child.said('ready'))['legacyPort']);
  [shop, ops] = [TOKENS.client, TOKENS.admin].map(({ secret }) => connect(cluster.targetOf(0), { credentials: over(servers, { secret }) })) as [
    Api,
    Api,
  ];
});
afterAll(async () => {
  shop?.close();
  ops?.close();
  await cluster?.dispose();
});

const legacyTarget = () => `127.0.0.1:${legacyPort}`;
const same = (bytes: Buffer) => bytes;

function callAtLegacy(path: string, request = Buffer.alloc(0)): Promise<number> {
  const client = new GrpcClient(legacyTarget(), credentials.createInsecure());
  return new Promise<number>((resolve) => {
    client.makeUnaryRequest(path, same, same, request, (error) => resolve(error?.code ?? status.OK));
  }).finally(() => client.close());
}

const idsOf = async (pool: string) =>
  (await ops.listWorkers({ pool, state: WorkerState.WORKER_STATE_UNSPECIFIED, pageSize: 100, pageToken: '' })).workers.map(({ id }) => id);

test('jobs of a client with TLS and a token run on plaintext workers of the first contract, and on workers with TLS beside them', async () => {
  await cluster.worker('w1', { legacy: true, target: legacyTarget() });
  const legacyJob = (id: string) => {
    const payload = Buffer.from(JobRequest.encode(JobRequest.fromPartial({ jobId: id, contextDir: '5' })).finish());
    return jobSpec({ id, pool: LEGACY_POOL, work: { $case: 'method', value: '/job.JobService/RunJob' }, payload });
  };
  const pair = await workers.issue(['muster:worker:w2', OUTSIDE]);
  const way = { target: cluster.targetOf(0), tls: { ca: servers.cert } };
  const attached = new Worker({ ...way, token: TOKENS.worker.secret, pool: 'attached', id: 'w3' }).handle('echo', (text: string) => text);
  await attached.start({ signals: false });
  const dialed = await startRunner({
    ...{ target: way.target, tls: { ...way.tls, ...pair }, serverTls: pair, ip: OUTSIDE, id: 'w2', pool: 'dialed' },
    handlers: { echo: async ({ payload }) => payload },
  });
  try {
    expect(await dialed.registered).toBe(true);
    const modern = (pool: string) => jobSpec({ id: 'j', pool, work: { $case: 'kind', value: 'echo' }, payload: Buffer.from('"hello"') });
    const ends = await Promise.all([
      ...['a', 'b', 'c'].map((id) => runToEnd(shop, legacyJob(id))),
      ...['attached', 'dialed'].map((pool) => runToEnd(shop, modern(pool))),
    ]);
    expect(ends.map(({ worker, state }) => [worker, JobState[state]])).toEqual(
      ['w1', 'w1', 'w1', 'w3', 'w2'].map((id) => [id, 'JOB_STATE_SUCCEEDED']),
    );
    const logs = ends.slice(0, 3).map(({ outcome }) => (outcome?.$case === 'output' ? JobResponse.decode(outcome.value).logs : ''));
    expect(logs).toEqual(Array(3).fill('w1 took 5'));
  } finally {
    await Promise.all([dialed.stop(), attached.stop({ graceMs: 0 })]);
  }
});

test('LEGACY_ADDR knows Register and Ping of the first contract, and none of all other calls that the replica serves', async () => {
  const paths = [...ACCESS.keys()];
  const known = ['/worker.WorkerService/Register', '/worker.WorkerService/Ping'];
  const served = await Promise.all(paths.map(async (path) => ({ path, known: (await callAtLegacy(path)) !== status.UNIMPLEMENTED })));
  expect(
    served
      .filter((call) => call.known)
      .map(({ path }) => path)
      .sort(),
  ).toEqual(known.toSorted());
  expect(served.length).toBeGreaterThan(30);
});

test('a worker of the first contract comes into LEGACY_POOL, though it names another', async () => {
  const { port } = cluster.workerOf('w1');
  const request = Buffer.from(WorkerInfo.encode(WorkerInfo.fromPartial({ id: 'w1', ip: WITHIN, port, pool: 'dialed', slots: 9 })).finish());
  expect(await callAtLegacy('/worker.WorkerService/Register', request)).toBe(status.OK);
  expect([await idsOf('dialed'), await idsOf(LEGACY_POOL)]).toEqual([expect.not.arrayContaining(['w1']), ['w1']]);
  expect((await ops.getWorker({ pool: LEGACY_POOL, id: 'w1' })).worker).toMatchObject({ slots: 1 });
});

test.each([
  [OUTSIDE, [0x16, 0x03]],
  // Dialed as it is meant to be, so that the listener is known to hear what is said.
  [WITHIN, [...Buffer.from('PR')]],
])('one that names %s, where somebody listens who answers nothing, is greeted there by no other bytes than these: %j', async (ip, greeting) => {
  const heard: Buffer[] = [];
  const listener = createServer((socket) =>
    socket
      .on('error', () => undefined)
      .once('data', (bytes) => {
        heard.push(bytes);
        socket.destroy();
      }),
  );
  await new Promise<void>((resolve) => listener.listen(0, ip, resolve));
  const plain = firstContract(legacyTarget());
  const { port } = listener.address() as { port: number };
  await expect(plain.register({ id: 'w9', ip, port, region: '' })).rejects.toMatchObject({ code: status.FAILED_PRECONDITION });
  expect(heard.length).toBeGreaterThan(0);
  for (const bytes of heard) expect([...bytes.subarray(0, 2)]).toEqual(greeting);
  expect(await idsOf(LEGACY_POOL)).not.toContain('w9');
  plain.close();
  listener.close();
});

test.runIf(process.platform === 'linux')('the process listens at the ports that are configured, and at no other', async () => {
  const { child, grpcPort, httpPort } = cluster.replica(0);
  expect(listeningPorts(child.pid)).toEqual([grpcPort, legacyPort, httpPort].toSorted((a, b) => a - b));
  expect(cluster.faults()).toEqual([]);
});
