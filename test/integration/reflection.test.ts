import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { fromBinary } from '@bufbuild/protobuf';
import { FileDescriptorProtoSchema } from '@bufbuild/protobuf/wkt';
import { Client, credentials, type Server, status as Status } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { HealthService as HealthDefinition } from '../../src/grpc/generated/grpc/health/v1/health.js';
import {
  ServerReflectionClient,
  type ServerReflectionRequest,
  type ServerReflectionResponse,
} from '../../src/grpc/generated/grpc/reflection/v1/reflection.js';
import { ServerReflectionClient as AlphaClient } from '../../src/grpc/generated/grpc/reflection/v1alpha/reflection.js';
import { HealthService, HealthState } from '../../src/grpc/health-service.js';
import { addReflection } from '../../src/grpc/reflection.js';
import { until } from '../helpers/until.js';
import { serve } from '../unit/grpc/serve.js';

const run = promisify(execFile);
const BUF = 'node_modules/.bin/buf';
const SERVED = ['grpc.health.v1.Health', 'muster.v1.JobService', 'worker.WorkerService'];
const LISTED = [
  'grpc.health.v1.Health',
  'grpc.reflection.v1.ServerReflection',
  'grpc.reflection.v1alpha.ServerReflection',
  'muster.v1.JobService',
  'worker.WorkerService',
];
const grpcurlThere = await run('grpcurl', ['-version']).then(
  () => true,
  () => false,
);

let target: string;
let server: Server;
let v1: ServerReflectionClient;
let v1alpha: AlphaClient;

beforeAll(async () => {
  const state = new HealthState();
  state.set('', true);
  ({ target, server } = await serve((made) => {
    made.addService(HealthDefinition, new HealthService(state, { maxWatchers: 8 }).handlers);
    addReflection(made, SERVED);
  }));
  v1 = new ServerReflectionClient(target, credentials.createInsecure());
  v1alpha = new AlphaClient(target, credentials.createInsecure());
});
afterAll(() => {
  v1.close();
  v1alpha.close();
  server.forceShutdown();
});

type Asked = ServerReflectionRequest['messageRequest'];

/** Asks one stream in turn; resolves with the answers when the server ended it too. */
async function ask(asked: Asked[], client: ServerReflectionClient | AlphaClient = v1): Promise<ServerReflectionResponse[]> {
  const call = client.serverReflectionInfo();
  const answers: ServerReflectionResponse[] = [];
  call.on('data', (answer: ServerReflectionResponse) => answers.push(answer));
  const ended = new Promise<void>((resolve, reject) => {
    call.on('error', reject);
    call.on('end', resolve);
  });
  for (const messageRequest of asked) call.write({ host: 'h', messageRequest });
  call.end();
  await ended;
  return answers;
}

function filesOf(answer: ServerReflectionResponse | undefined): string[] {
  const response = answer?.messageResponse;
  if (response?.$case !== 'fileDescriptorResponse') throw new Error(`not a file: ${JSON.stringify(response)}`);
  return response.value.fileDescriptorProto.map((bytes) => fromBinary(FileDescriptorProtoSchema, bytes).name);
}

describe.each([
  ['v1', () => v1],
  ['v1alpha', () => v1alpha],
])('reflection %s', (_, client) => {
  it('lists the services served and its own', async () => {
    const [answer] = await ask([{ $case: 'listServices', value: '' }], client());
    expect(answer?.messageResponse).toEqual({ $case: 'listServicesResponse', value: { service: LISTED.map((name) => ({ name })) } });
    expect(answer).toMatchObject({ validHost: 'h', originalRequest: { host: 'h', messageRequest: { $case: 'listServices' } } });
  });

  it('gives a file with all that it imports, each once, the file itself first', async () => {
    const [answer] = await ask([{ $case: 'fileByFilename', value: 'muster/v1/job.proto' }], client());
    const [first, ...imports] = filesOf(answer);
    expect(first).toBe('muster/v1/job.proto');
    expect(imports.sort()).toEqual(['google/protobuf/duration.proto', 'google/protobuf/timestamp.proto', 'muster/v1/common.proto']);
  });
});

describe('reflection', () => {
  it.each([
    ['a service', 'muster.v1.JobService', 'muster/v1/job.proto'],
    ['a method', 'worker.WorkerService.Register', 'worker/worker.proto'],
    ['a message', 'muster.v1.JobSpec', 'muster/v1/job.proto'],
    ['a field', 'muster.v1.RetryPolicy.max_attempts', 'muster/v1/job.proto'],
    ['a oneof', 'muster.v1.JobSpec.work', 'muster/v1/job.proto'],
    ['a nested message', 'google.rpc.BadRequest.FieldViolation', 'google/rpc/error_details.proto'],
    ['a map entry', 'muster.v1.JobSpec.MetadataEntry.key', 'muster/v1/job.proto'],
    ['an enum', 'muster.v1.Contract', 'muster/v1/common.proto'],
    ['an enum value', 'muster.v1.CONTRACT_LEGACY', 'muster/v1/common.proto'],
    ['a nested enum', 'grpc.health.v1.HealthCheckResponse.ServingStatus', 'grpc/health/v1/health.proto'],
    ['a value of a nested enum', 'grpc.health.v1.HealthCheckResponse.SERVING', 'grpc/health/v1/health.proto'],
    ['a message of an import', 'google.protobuf.Duration', 'google/protobuf/duration.proto'],
  ])('finds the file of %s', async (_, symbol, file) => {
    const [answer] = await ask([{ $case: 'fileContainingSymbol', value: symbol }]);
    expect(filesOf(answer)[0]).toBe(file);
  });

  it('sends the very bytes that buf built', async () => {
    const { stdout } = await run(BUF, ['build', '--as-file-descriptor-set', '-o', '-'], { encoding: 'buffer', maxBuffer: 10_000_000 });
    const [answer] = await ask([{ $case: 'fileByFilename', value: 'muster/v1/admin.proto' }]);
    const response = answer?.messageResponse;
    if (response?.$case !== 'fileDescriptorResponse') throw new Error('not a file');
    expect(response.value.fileDescriptorProto).toHaveLength(4);
    for (const bytes of response.value.fileDescriptorProto) expect(stdout.includes(bytes)).toBe(true);
  });

  it('answers what it cannot find or read in band, and goes on', async () => {
    const answers = await ask([
      { $case: 'fileByFilename', value: 'no.proto' },
      { $case: 'fileContainingSymbol', value: 'muster.v1.Nothing' },
      { $case: 'fileContainingSymbol', value: '' },
      { $case: 'fileContainingSymbol', value: '__proto__' },
      { $case: 'fileContainingExtension', value: { containingType: 'muster.v1.Job', extensionNumber: 1 } },
      { $case: 'allExtensionNumbersOfType', value: 'muster.v1.Job' },
      undefined,
      { $case: 'listServices', value: '' },
    ]);
    const codes = answers.map(({ messageResponse }) =>
      messageResponse?.$case === 'errorResponse' ? messageResponse.value.errorCode : messageResponse?.$case,
    );
    expect(codes).toEqual([...Array(6).fill(Status.NOT_FOUND), Status.INVALID_ARGUMENT, 'listServicesResponse']);
  });

  it('outlives bytes that are no request, and a client that breaks off', async () => {
    const raw = new Client(target, credentials.createInsecure());
    const identity = (bytes: Buffer) => bytes;
    const call = raw.makeBidiStreamRequest('/grpc.reflection.v1.ServerReflection/ServerReflectionInfo', identity, identity);
    const codes: number[] = [];
    call.on('error', (error: Error & { code?: number }) => codes.push(error.code ?? -1));
    call.on('data', () => undefined);
    call.write(Buffer.from('ffffffff', 'hex'));
    await until(() => codes.length === 1);
    expect(codes).toEqual([Status.INTERNAL]);
    raw.close();

    const broken = v1.serverReflectionInfo();
    broken.on('error', () => undefined);
    broken.write({ host: '', messageRequest: { $case: 'listServices', value: '' } });
    await new Promise((resolve) => broken.once('data', resolve));
    broken.cancel();
    expect(await ask([{ $case: 'listServices', value: '' }])).toHaveLength(1);
  });

  it('answers a client that asks much and reads late, all of it and in order', async () => {
    const call = v1.serverReflectionInfo();
    call.on('error', () => undefined);
    const count = 400;
    for (let i = 0; i < count; i += 1) call.write({ host: String(i), messageRequest: { $case: 'fileByFilename', value: 'muster/v1/admin.proto' } });
    call.end();
    const hosts: string[] = [];
    call.on('data', (answer: ServerReflectionResponse) => hosts.push(answer.validHost));
    await new Promise((resolve) => call.on('end', resolve));
    expect(hosts).toEqual(Array.from({ length: count }, (_, i) => String(i)));
  });

  it('refuses to start for a service that nothing describes', async () => {
    await expect(serve((made) => addReflection(made, ['acme.Nobody']))).rejects.toThrow('no descriptor of acme.Nobody');
  });
});

describe('buf curl, by reflection alone', () => {
  const curl = async (...args: string[]) => (await run(BUF, ['curl', '--protocol', 'grpc', '--http2-prior-knowledge', ...args])).stdout;

  it('lists services and methods', async () => {
    expect((await curl(`http://${target}`, '--list-services')).trim().split('\n').sort()).toEqual(LISTED);
    const methods = await curl(`http://${target}`, '--list-methods');
    expect(methods).toContain('muster.v1.JobService/SubmitJob');
    expect(methods).toContain('worker.WorkerService/Ping');
  });

  it.each(['grpc-v1', 'grpc-v1alpha'])('calls a method over %s', async (protocol) => {
    const answer = await curl('--reflect-protocol', protocol, '-d', '{"service":""}', `http://${target}/grpc.health.v1.Health/Check`);
    expect(JSON.parse(answer)).toEqual({ status: 'SERVING' });
  });
});

describe(`grpcurl, by reflection alone${grpcurlThere ? '' : ' (not on PATH here: buf curl above speaks for it)'}`, () => {
  const curl = async (...args: string[]) => (await run('grpcurl', ['-plaintext', ...args])).stdout;

  it('lists, describes with comments, and calls', async () => {
    if (!grpcurlThere)
      return expect(await run(BUF, ['curl', '--http2-prior-knowledge', '--protocol', 'grpc', `http://${target}`, '--list-services'])).toBeDefined();
    expect((await curl(target, 'list')).trim().split('\n')).toEqual(LISTED);
    const described = await curl(target, 'describe', 'muster.v1.JobSpec');
    expect(described).toContain('bytes payload = 5;');
    expect(described).toContain('// ≤ MAX_PAYLOAD_BYTES.');
    expect(JSON.parse(await curl('-d', '{"service":""}', target, 'grpc.health.v1.Health/Check'))).toEqual({ status: 'SERVING' });
  });
});

describe('the committed descriptors', () => {
  it('are current', async () => {
    await run(process.execPath, ['node_modules/tsx/dist/cli.mjs', 'scripts/build-descriptors.ts', '--check']);
  });
});
