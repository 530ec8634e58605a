import type { Readable } from 'node:stream';
import { Client as GrpcClient, type ServiceDefinition, type ServiceError } from '@grpc/grpc-js';
import { beforeAll, describe, expect, test } from 'vitest';
import { ACCESS } from '../../../src/grpc/auth.js';
import { ExternalScalerService, GetMetricsRequest, ScaledObjectRef } from '../../../src/grpc/generated/externalscaler/externalscaler.js';
import { Contract } from '../../../src/grpc/generated/muster/v1/common.js';
import { type DeepPartial, JobServiceService, ListJobsRequest, RunJobRequest, SessionRequest } from '../../../src/grpc/generated/muster/v1/job.js';
import {
  AttachRequest,
  DeregisterRequest,
  PingRequest,
  ReportRequest,
  WorkerInfo,
  WorkerServiceService,
} from '../../../src/grpc/generated/muster/v1/worker.js';
import { WorkerServiceService as LegacyWorkerService } from '../../../src/grpc/generated/worker/worker.js';
import { type ApiError, toApiError } from '../../../src/sdk/api-error.js';
import type { Api } from '../../../src/sdk/connect.js';
import { Client, Worker } from '../../../src/sdk/index.js';
import { jobSpec } from '../../../src/sdk/run.js';
import { firstContract } from '../../helpers/first-contract.js';
import { ownRedis } from '../../helpers/redis.js';
import { over, type Secured, startSecured, token } from '../../helpers/secured.js';
import { legacyWorker, methodWorker } from '../replica/workers.js';

const TOKENS = {
  one: token('worker', 'one'),
  two: token('worker', 'two'),
  builds: token('worker', 'builds-only', ['builds', 'deploys']),
  client: token('client', 'client'),
  buyer: token('client', 'buyer', ['builds']),
  admin: token('admin', 'admin'),
};
let replica: Secured;
const apis = {} as Record<keyof typeof TOKENS, Api>;

beforeAll(async () => {
  const redis = await ownRedis();
  replica = await startSecured(redis.url, {
    tokens: Object.values(TOKENS).map(({ line }) => line),
    settings: { DIAL_ALLOW: '127.0.0.0/8', DIAL_PLAINTEXT: '127.0.0.0/8', LEGACY_ADDR: '127.0.0.1:0', LEGACY_POOL: 'legacies' },
  });
  for (const [who, { secret }] of Object.entries(TOKENS)) apis[who as keyof typeof TOKENS] = replica.api(over(replica.ca, { secret }));
});

async function reason(call: Promise<unknown>): Promise<string> {
  try {
    await call;
    return '';
  } catch (error) {
    const { codeName, reason } = error as ApiError;
    return `${codeName} ${reason}`;
  }
}

const echo = async (value: unknown) => value;

const NOT_YOURS = 'PERMISSION_DENIED NOT_YOURS';
const info = (fields: Partial<WorkerInfo>) => WorkerInfo.fromPartial({ ip: '127.0.0.1', contract: Contract.CONTRACT_METHOD, ...fields });

/** Every way to speak for a worker by a unary call. */
function ways(api: Api, pool: string, id: string, port: number, boot: string): Record<string, () => Promise<unknown>> {
  const beat = { held: [] };
  return {
    Register: () => api.register(info({ pool, id, port, boot })),
    Ping: () => api.ping({ pool, id, boot }),
    Report: () => api.report({ pool, workerId: id, boot, results: [], beat: undefined }),
    'Report with a beat': () => api.report({ pool, workerId: id, boot, results: [], beat }),
    Deregister: () => api.deregister({ pool, id, boot, drainTimeout: undefined }),
  };
}

describe('a dialed worker', () => {
  test('is its identity’s alone: nobody else registers, pings, reports or deregisters for it; an admin may', async () => {
    const { port } = await methodWorker();
    await apis.one.register(info({ pool: 'dialed', id: 'w', port, boot: 'b' }));
    for (const [way, call] of Object.entries(ways(apis.two, 'dialed', 'w', port, 'b'))) expect(await reason(call()), way).toBe(NOT_YOURS);
    for (const who of [apis.one, apis.admin]) {
      const { Deregister, ...others } = ways(who, 'dialed', 'w', port, 'b');
      for (const [way, call] of Object.entries(others)) expect(await reason(call()), way).toBe('');
    }
    expect(await reason(apis.one.deregister({ pool: 'dialed', id: 'w', boot: 'b', drainTimeout: undefined }))).toBe('');
  });

  test('whose id is dead is anybody’s', async () => {
    const { port } = await methodWorker();
    await apis.one.register(info({ pool: 'dead', id: 'w', port, boot: 'b' }));
    await apis.admin.evictWorker({ pool: 'dead', id: 'w', reason: '' });
    expect(await reason(apis.two.register(info({ pool: 'dead', id: 'w', port, boot: 'c' })))).toBe('');
    expect(await reason(apis.one.ping({ pool: 'dead', id: 'w', boot: 'c' }))).toBe(NOT_YOURS);
  });

  test('that is heard keeps its address: a newcomer of another identity does not bury it by naming it', async () => {
    const { port } = await methodWorker();
    await apis.one.register(info({ pool: 'addresses', id: 'w', port, boot: 'b' }));
    expect(await reason(apis.two.register(info({ pool: 'addresses', id: 'x', port, boot: 'c' })))).toBe('ALREADY_EXISTS ADDRESS_TAKEN');
    expect(await apis.one.ping({ pool: 'addresses', id: 'w', boot: 'b' })).toMatchObject({ healthy: true });
    expect(await reason(apis.one.register(info({ pool: 'addresses', id: 'x', port, boot: 'c' })))).toBe('');
  });

  test.each(['::ffff:127.0.0.1', '::FFFF:7F00:1', '0:0:0:0:0:ffff:7f00:0001', '0000::ffff:127.0.0.1'])(
    'that is heard keeps its address in every spelling: %s',
    async (ip) => {
      const { port } = await methodWorker();
      const pool = `spelled-${ip.replace(/[^a-z0-9]/g, '-')}`;
      await apis.one.register(info({ pool, id: 'w', port, boot: 'b' }));
      expect(await reason(apis.two.register(info({ pool, id: 'x', port, ip, boot: 'c' })))).toBe('ALREADY_EXISTS ADDRESS_TAKEN');
    },
  );
});

test('an attached worker is its identity’s alone, while it lives', async () => {
  const worker = (secret: string) =>
    new Worker({ target: replica.target, credentials: over(replica.ca, { secret }), pool: 'attached', id: 'w', slowRetryMs: 50 }).handle(
      'echo',
      echo,
    );
  const first = worker(TOKENS.one.secret);
  await first.start({ signals: false });
  await expect(worker(TOKENS.two.secret).start({ signals: false })).rejects.toMatchObject({ reason: 'NOT_YOURS' });
  for (const [way, call] of Object.entries(ways(apis.two, 'attached', 'w', 1, first.boot))) {
    if (way !== 'Register') expect(await reason(call()), way).toBe(NOT_YOURS);
  }
  await first.stop({ graceMs: 0 });
  const second = worker(TOKENS.two.secret);
  await second.start({ signals: false });
  await second.stop({ graceMs: 0 });
});

test('the first contract at LEGACY_ADDR: no credentials, no say over workers of those with, and taken over by the first who has some', async () => {
  const plain = firstContract(replica.legacyTarget);
  const old = await legacyWorker('old');
  expect(await plain.register({ id: 'old', ip: '127.0.0.1', port: old.port, region: '' })).toMatchObject({ success: true });
  expect(await plain.ping({ id: 'old' })).toEqual({ healthy: true });
  const legacy = { pool: 'legacies', contract: Contract.CONTRACT_LEGACY, ip: '127.0.0.1' };
  expect(await reason(apis.one.register(WorkerInfo.fromPartial({ ...legacy, id: 'old', port: old.port })))).toBe('');
  await expect(plain.ping({ id: 'old' })).rejects.toMatchObject({ code: 7 });
  await expect(plain.register({ id: 'old', ip: '127.0.0.1', port: old.port, region: '' })).rejects.toMatchObject({ code: 7 });
  expect(await reason(apis.two.ping({ pool: 'legacies', id: 'old', boot: '' }))).toBe(NOT_YOURS);
  expect(await reason(apis.one.ping({ pool: 'legacies', id: 'old', boot: '' }))).toBe('');
  plain.close();
});

describe('pools=', () => {
  const REFUSED = 'PERMISSION_DENIED POOL_REFUSED';
  const job = { pool: 'other', id: 'j' };
  const spec = jobSpec({ ...job, work: { $case: 'kind', value: 'echo' } });
  const ref = { scaledObjectRef: { scalerMetadata: { pool: 'other' } } };
  const worker = { pool: 'other', id: 'w', ip: '127.0.0.1', port: 1, boot: 'b' };
  const open = SessionRequest.fromPartial({ frame: { $case: 'open', value: {} } });
  const session = (frame: DeepPartial<SessionRequest>['frame']) => [open, SessionRequest.fromPartial({ frame })];

  /** Frames or requests of each RPC, in every way in which it can name a pool; each list is one call. */
  const NAMING: Record<string, unknown[][]> = {
    '/muster.v1.WorkerService/Register': [[WorkerInfo.fromPartial(worker)], [WorkerInfo.fromPartial({ ...worker, pool: '' })]],
    '/muster.v1.WorkerService/Ping': [[PingRequest.fromPartial({ pool: 'other', id: 'w' })], [PingRequest.fromPartial({ id: 'w' })]],
    '/muster.v1.WorkerService/Deregister': [[DeregisterRequest.fromPartial({ pool: 'other', id: 'w' })]],
    '/muster.v1.WorkerService/Report': [[ReportRequest.fromPartial({ pool: 'other', workerId: 'w' })]],
    '/muster.v1.WorkerService/Attach': [[AttachRequest.fromPartial({ frame: { $case: 'hello', value: { worker } } })]],
    // They name none: theirs is LEGACY_POOL.
    '/worker.WorkerService/Register': [[{ id: 'w', ip: '127.0.0.1', port: 1, region: '' }]],
    '/worker.WorkerService/Ping': [[{ id: 'w' }]],
    '/muster.v1.JobService/SubmitJob': [[{ spec }]],
    '/muster.v1.JobService/BatchSubmitJobs': [[{ specs: [spec] }]],
    '/muster.v1.JobService/RunJob': [[RunJobRequest.fromPartial({ spec })]],
    '/muster.v1.JobService/WaitJob': [[job]],
    '/muster.v1.JobService/GetJob': [[job]],
    '/muster.v1.JobService/ListJobs': [[ListJobsRequest.fromPartial({ pool: 'other' })]],
    '/muster.v1.JobService/CancelJob': [[job]],
    '/muster.v1.JobService/RetryJob': [[job]],
    '/muster.v1.JobService/Session': [
      [SessionRequest.fromPartial({ frame: { $case: 'open', value: { awaiting: [job] } } })],
      session({ $case: 'submit', value: { specs: [spec] } }),
      session({ $case: 'cancel', value: { jobs: [job] } }),
      session({ $case: 'ack', value: { jobs: [job] } }),
      session({ $case: 'awaitJobs', value: { jobs: [job] } }),
    ],
    '/externalscaler.ExternalScaler/IsActive': [[ScaledObjectRef.fromPartial(ref.scaledObjectRef)]],
    '/externalscaler.ExternalScaler/StreamIsActive': [[ScaledObjectRef.fromPartial(ref.scaledObjectRef)]],
    '/externalscaler.ExternalScaler/GetMetricSpec': [[ScaledObjectRef.fromPartial(ref.scaledObjectRef)]],
    '/externalscaler.ExternalScaler/GetMetrics': [[GetMetricsRequest.fromPartial(ref)]],
  };
  /** They say nothing of any pool. */
  const OF_NO_POOL = /^\/grpc\.(health|reflection)\./;
  const DEFINITIONS: ServiceDefinition[] = [WorkerServiceService, LegacyWorkerService, JobServiceService, ExternalScalerService];
  const METHODS = new Map(DEFINITIONS.flatMap((definition) => Object.values(definition).map((method) => [method.path, method])));

  /** The answer's refusal, or the first of those that stand in the answers. */
  function refusalOf(path: string, requests: unknown[]): Promise<string> {
    const method = METHODS.get(path);
    if (!method) throw new Error(`no definition of ${path}`);
    const { requestSerialize: write, responseDeserialize: read, requestStream, responseStream } = method;
    const { secret } = ACCESS.get(path)?.includes('worker') ? TOKENS.builds : TOKENS.buyer;
    const client = new GrpcClient(replica.target, over(replica.ca, { secret }));
    const deadline = { deadline: Date.now() + 5_000 };
    const said = new Promise<string>((resolve) => {
      const failed = (error: ServiceError) => resolve(`${toApiError(error).codeName} ${toApiError(error).reason}`);
      const answered = (answer: unknown) => {
        if (/"reason":"POOL_REFUSED"/.test(JSON.stringify(answer))) resolve(REFUSED);
        else if (!responseStream) resolve(JSON.stringify(answer));
      };
      if (!requestStream && !responseStream) {
        client.makeUnaryRequest(path, write, read, requests[0], deadline, (error, answer) => (error ? failed(error) : answered(answer)));
        return;
      }
      const stream: Readable & { write?(request: unknown): void } = requestStream
        ? client.makeBidiStreamRequest(path, write, read, deadline)
        : client.makeServerStreamRequest(path, write, read, requests[0], deadline);
      stream.on('data', answered).on('error', failed);
      if (requestStream) for (const request of requests) stream.write?.(request);
    });
    return said.finally(() => client.close());
  }

  test('every RPC that a worker or a client may call is tried, or is of no pool', () => {
    const open = [...ACCESS].filter(([path, access]) => String(access) !== 'admin' && !OF_NO_POOL.test(path)).map(([path]) => path);
    expect(Object.keys(NAMING).sort()).toEqual(open.sort());
  });

  test.each(Object.entries(NAMING))('%s refuses a pool of others', async (path, calls) => {
    for (const requests of calls) expect(await refusalOf(path, requests), JSON.stringify(requests)).toBe(REFUSED);
  });

  test('each of a batch by itself', async () => {
    const good = jobSpec({ pool: 'builds', id: 'good', work: { $case: 'kind', value: 'echo' } });
    const { results } = await apis.buyer.batchSubmitJobs({ specs: [good, spec] });
    expect(results.map(({ created, reason }) => [created, reason])).toEqual([
      [true, ''],
      [false, 'POOL_REFUSED'],
    ]);
  });

  test('each of a session by itself; Attach as a whole', async () => {
    const client = new Client({ target: replica.target, credentials: over(replica.ca, { secret: TOKENS.buyer.secret }) });
    await expect(client.submit('echo', 1, { pool: 'other' })).rejects.toMatchObject({ reason: 'POOL_REFUSED' });
    const handle = await client.submit('echo', 1, { pool: 'builds' });
    expect(handle.created).toBe(true);
    const creds = over(replica.ca, { secret: TOKENS.builds.secret });
    const worker = (pool: string) => new Worker({ target: replica.target, credentials: creds, pool, id: 'w', slowRetryMs: 50 }).handle('echo', echo);
    await expect(worker('other').start({ signals: false })).rejects.toMatchObject({ reason: 'POOL_REFUSED' });
    const right = worker('builds');
    await right.start({ signals: false });
    expect(await handle.result()).toBe(1);
    await Promise.all([right.stop({ graceMs: 0 }), client.close()]);
  });
});
