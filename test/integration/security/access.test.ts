import { Client, credentials, Metadata, type ServiceDefinition, type ServiceError, status } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ACCESS } from '../../../src/grpc/auth.js';
import { ExternalScalerService } from '../../../src/grpc/generated/externalscaler/externalscaler.js';
import { HealthService } from '../../../src/grpc/generated/grpc/health/v1/health.js';
import {
  ServerReflectionRequest,
  ServerReflectionResponse,
  ServerReflectionService,
} from '../../../src/grpc/generated/grpc/reflection/v1/reflection.js';
import { ServerReflectionService as ReflectionAlpha } from '../../../src/grpc/generated/grpc/reflection/v1alpha/reflection.js';
import { AdminServiceService, WatchEventsRequest } from '../../../src/grpc/generated/muster/v1/admin.js';
import { JobServiceService } from '../../../src/grpc/generated/muster/v1/job.js';
import { WorkerServiceService } from '../../../src/grpc/generated/muster/v1/worker.js';
import { WorkerServiceService as LegacyWorkerService } from '../../../src/grpc/generated/worker/worker.js';
import { type ApiError, toApiError } from '../../../src/sdk/api-error.js';
import { ownRedis } from '../../helpers/redis.js';
import { over, type Secured, startSecured, token } from '../../helpers/secured.js';

/** Every service that a replica serves, and who may call it: said here once more, by hand, so that a slip in the table is one in the test. */
const SERVICES: [name: string, definition: ServiceDefinition, roles: string[]][] = [
  ['muster.v1.WorkerService', WorkerServiceService, ['worker', 'admin']],
  ['worker.WorkerService', LegacyWorkerService, ['worker', 'admin']],
  ['muster.v1.JobService', JobServiceService, ['client', 'admin']],
  ['muster.v1.AdminService', AdminServiceService, ['admin']],
  ['externalscaler.ExternalScaler', ExternalScalerService, ['client', 'admin']],
  ['grpc.reflection.v1.ServerReflection', ServerReflectionService, ['worker', 'client', 'admin']],
  ['grpc.reflection.v1alpha.ServerReflection', ReflectionAlpha, ['worker', 'client', 'admin']],
  ['grpc.health.v1.Health', HealthService, ['worker', 'client', 'admin', 'nobody', 'stranger']],
];

const METHODS = SERVICES.flatMap(([, definition, roles]) =>
  Object.values(definition).map(({ path, requestStream, responseStream }) => ({ path, requestStream, responseStream, roles })),
);

/** Without it, the call would last for as long as the client likes. */
const REQUESTS: Record<string, Buffer> = {
  '/muster.v1.AdminService/WatchEvents': Buffer.from(
    WatchEventsRequest.encode({ pool: 'p', after: '', within: { seconds: '0', nanos: 1_000_000 } }).finish(),
  ),
};

const TOKENS = { worker: token('worker', 'w'), client: token('client', 'c'), admin: token('admin', 'a') };
let replica: Secured;
const clients: Record<string, Client> = {};

beforeAll(async () => {
  const redis = await ownRedis();
  replica = await startSecured(redis.url, { tokens: Object.values(TOKENS).map(({ line }) => line), settings: { LEGACY_ADDR: '127.0.0.1:0' } });
  for (const [role, { secret }] of Object.entries(TOKENS)) clients[role] = new Client(replica.target, over(replica.ca, { secret }));
  clients['nobody'] = new Client(replica.target, over(replica.ca));
  clients['stranger'] = new Client(replica.target, over(replica.ca, { secret: token('admin', 'x').secret }));
  clients['legacy'] = new Client(replica.legacyTarget, credentials.createInsecure());
});

afterAll(() => {
  for (const client of Object.values(clients)) client.close();
});

const same = (bytes: Buffer) => bytes;

/** Calls with nothing in particular to say, ending its side. The refusal, or undefined when it was answered (with whatever). */
function call(
  client: Client | undefined,
  { path, requestStream, responseStream }: Omit<(typeof METHODS)[number], 'roles'>,
): Promise<ApiError | undefined> {
  if (!client) throw new Error('no such client');
  const request = REQUESTS[path] ?? Buffer.alloc(0);
  const deadline = { deadline: Date.now() + 5_000 };
  return new Promise((resolve) => {
    const refused = (error: ServiceError) => resolve(toApiError(error));
    if (!requestStream && !responseStream) {
      client.makeUnaryRequest(path, same, same, request, deadline, (error) => (error ? refused(error) : resolve(undefined)));
      return;
    }
    const stream = requestStream
      ? client.makeBidiStreamRequest<Buffer, Buffer>(path, same, same, deadline)
      : client.makeServerStreamRequest<Buffer, Buffer>(path, same, same, request, deadline);
    stream.on('data', () => {
      resolve(undefined);
      stream.cancel();
    });
    stream.on('error', refused);
    stream.on('end', () => resolve(undefined));
    if (requestStream) (stream as ReturnType<typeof client.makeBidiStreamRequest>).end();
  });
}

/** Of the guard, and not of a handler. */
const GUARD = ['NO_CREDENTIALS', 'BAD_TOKEN', 'ROLE_REFUSED'];

test('every RPC of every service is in the table, and nothing else is', () => {
  expect([...ACCESS.keys()].sort()).toEqual(METHODS.map(({ path }) => path).sort());
});

test('these are the services that a replica serves', async () => {
  const client = clients['admin'];
  const answer = await new Promise<ServerReflectionResponse>((resolve, reject) => {
    const stream = client?.makeBidiStreamRequest(
      '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo',
      (request: ServerReflectionRequest) => Buffer.from(ServerReflectionRequest.encode(request).finish()),
      (bytes) => ServerReflectionResponse.decode(bytes),
    );
    stream?.on('data', resolve).on('error', reject);
    stream?.end({ host: '', messageRequest: { $case: 'listServices', value: '' } });
  });
  const response = answer.messageResponse;
  const served = response?.$case === 'listServicesResponse' ? response.value.service.map(({ name }) => name) : [];
  expect(served.sort()).toEqual(SERVICES.map(([name]) => name).sort());
});

describe.each(METHODS)('$path', (method) => {
  test.each(['worker', 'client', 'admin', 'nobody', 'stranger'])('by %s', async (who) => {
    const error = await call(clients[who], method);
    const reason = GUARD.includes(error?.reason ?? '') ? error?.reason : 'let in';
    if (method.roles.includes(who)) return expect(reason).toBe('let in');
    expect([error?.codeName, reason]).toEqual(
      { nobody: ['UNAUTHENTICATED', 'NO_CREDENTIALS'], stranger: ['UNAUTHENTICATED', 'BAD_TOKEN'] }[who] ?? ['PERMISSION_DENIED', 'ROLE_REFUSED'],
    );
    if (error?.code === status.PERMISSION_DENIED) {
      // Who, what, and who may.
      for (const word of [TOKENS[who as 'worker'].line.split(' ')[1], who, method.path, ...method.roles]) expect(error.message).toContain(word);
    }
  });

  test('at LEGACY_ADDR', async () => {
    const error = await call(clients['legacy'], method);
    if (method.path.startsWith('/worker.')) expect(error?.code).not.toBe(status.UNIMPLEMENTED);
    else expect(error?.code).toBe(status.UNIMPLEMENTED);
  });
});

test.each([
  ['another scheme', 'Basic dXNlcjpwYXNz'],
  ['no scheme', TOKENS.admin.secret],
  ['no token', 'Bearer'],
  ['a very long one', `Bearer ${'x'.repeat(5_000)}`],
])('authorization with %s is UNAUTHENTICATED, and says what is right', async (_what, value) => {
  const metadata = new Metadata();
  metadata.set('authorization', value);
  const error = await new Promise<ApiError>((resolve, reject) => {
    clients['nobody']?.makeUnaryRequest('/muster.v1.AdminService/ListPools', same, same, Buffer.alloc(0), metadata, (failed) =>
      failed ? resolve(toApiError(failed)) : reject(new Error('it was answered')),
    );
  });
  expect([error.codeName, error.reason]).toEqual(['UNAUTHENTICATED', 'BAD_TOKEN']);
  expect(error.message).toContain('"Bearer" and one token');
  if (value.length > 10) expect(error.message).not.toContain(value.slice(-10));
});

test('a scheme in other letters is the same scheme', async () => {
  const metadata = new Metadata();
  metadata.set('authorization', `bearer ${TOKENS.admin.secret}`);
  await new Promise<void>((resolve, reject) => {
    clients['nobody']?.makeUnaryRequest('/muster.v1.AdminService/ListPools', same, same, Buffer.alloc(0), metadata, (failed) =>
      failed ? reject(failed) : resolve(),
    );
  });
});
