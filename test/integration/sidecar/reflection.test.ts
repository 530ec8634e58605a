import { Server, ServerCredentials } from '@grpc/grpc-js';
import { afterEach, describe, expect, it } from 'vitest';
import { readDescriptors, unaryMethods } from '../../../src/domain/descriptors.js';
import { descriptorFiles } from '../../../src/grpc/generated/descriptors.js';
import {
  type ServerReflectionRequest,
  type ServerReflectionResponse,
  ServerReflectionService,
} from '../../../src/grpc/generated/grpc/reflection/v1/reflection.js';
import { sdkClock } from '../../../src/sdk/clock.js';
import { NoReflection, readReflection } from '../../../src/sdk/sidecar/reflection.js';
import { Upstream } from '../../../src/sdk/sidecar/upstream.js';
import { startUpstream } from './upstream.js';

const ends: (() => void)[] = [];
afterEach(() => {
  for (const end of ends.splice(0)) end();
});

function read(target: string, timeoutMs = 5_000): Promise<Buffer> {
  const upstream = new Upstream({ target, clock: sdkClock, maxReceiveBytes: 4_000_000 });
  ends.push(() => upstream.close());
  return readReflection(upstream, sdkClock, timeoutMs);
}

type Response = NonNullable<ServerReflectionResponse['messageResponse']>;

/** A server of reflection alone that answers as it is told. */
async function reflecting(answer: (asked: ServerReflectionRequest['messageRequest']) => Response | undefined): Promise<string> {
  const server = new Server();
  server.addService(ServerReflectionService, {
    serverReflectionInfo: (call: {
      on(event: string, listener: (request: ServerReflectionRequest) => void): void;
      write(response: ServerReflectionResponse): void;
      end(): void;
    }) => {
      call.on('data', (request) => {
        const messageResponse = answer(request.messageRequest);
        if (messageResponse !== undefined) call.write({ validHost: '', originalRequest: request, messageResponse });
      });
      call.on('end', () => call.end());
      call.on('error', () => undefined);
    },
  });
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, at) => (error === null ? resolve(at) : reject(error)));
  });
  ends.push(() => server.forceShutdown());
  return `127.0.0.1:${port}`;
}

const bytesOf = (name: string): Buffer => Buffer.from(descriptorFiles.find((file) => file.name === name)?.base64 ?? '', 'base64');
const files = (...names: string[]): Response => ({ $case: 'fileDescriptorResponse', value: { fileDescriptorProto: names.map(bytesOf) } });
const list = (...names: string[]): Response => ({ $case: 'listServicesResponse', value: { service: names.map((name) => ({ name })) } });

describe('reading reflection', () => {
  it.each(['both', 'v1alpha'] as const)('brings the methods of an upstream with %s, without those of reflection', async (reflection) => {
    const upstream = await startUpstream({ reflection });
    ends.push(upstream.kill);
    const set = await read(upstream.target);
    expect([...unaryMethods(readDescriptors(set, 'set')).keys()]).toEqual([
      '/grpc.health.v1.Health/Check',
      '/job.JobService/Ping',
      '/job.JobService/RunJob',
    ]);
  });

  it('says when there is none', async () => {
    const upstream = await startUpstream({ reflection: 'none' });
    ends.push(upstream.kill);
    await expect(read(upstream.target)).rejects.toThrow(NoReflection);
  });

  it('asks for the imports that a server does not send along', async () => {
    const asked: string[] = [];
    const target = await reflecting((request) => {
      if (request?.$case === 'listServices') return list('muster.v1.JobService');
      if (request?.$case === 'fileContainingSymbol') return files('muster/v1/job.proto');
      asked.push(String(request?.value));
      return files(String(request?.value));
    });
    expect(unaryMethods(readDescriptors(await read(target), 'set')).has('/muster.v1.JobService/SubmitJob')).toBe(true);
    expect(asked.sort()).toEqual(['google/protobuf/duration.proto', 'google/protobuf/timestamp.proto', 'muster/v1/common.proto']);
  });

  it('goes without a service that its server lists and cannot describe', async () => {
    const target = await reflecting((asked) => {
      if (asked?.$case === 'listServices') return list('a.B', 'job.JobService');
      return asked?.value === 'a.B' ? refused() : files('job/job.proto');
    });
    expect(unaryMethods(readDescriptors(await read(target), 'set')).size).toBe(2);
  });

  it.each<[string, (asked: ServerReflectionRequest['messageRequest']) => Response | undefined, string]>([
    [
      'a service that it lists and does not know',
      (asked) => (asked?.$case === 'listServices' ? list('a.B') : refused()),
      'fileContainingSymbol a.B was refused: not here (status 5)',
    ],
    [
      'another file than asked for',
      (asked) => (asked?.$case === 'listServices' ? list('a.B') : files('muster/v1/job.proto')),
      'was asked for, and another came',
    ],
    ['an answer to another question', () => files('job/job.proto'), 'listServices was refused: it answered fileDescriptorResponse'],
    ['bytes that are no file', (asked) => (asked?.$case === 'listServices' ? list('a.B') : junk()), 'it sent a file that cannot be parsed'],
    ['a list of nothing', () => list('grpc.reflection.v1.ServerReflection'), 'it lists no service but reflection'],
  ])('gives up at %s', async (_, answer, said) => {
    await expect(read(await reflecting(answer))).rejects.toThrow(said);
  });

  it('gives up on a server that does not answer, and on more than fits', async () => {
    await expect(read(await reflecting(() => undefined), 200)).rejects.toThrow(/DEADLINE_EXCEEDED/);
    let nth = 0;
    const endless = await reflecting((asked) =>
      asked?.$case === 'listServices' ? list(...Array.from({ length: 99 }, (_, i) => `a.B${i}`)) : large(nth++),
    );
    await expect(read(endless)).rejects.toThrow('larger than 1048576 bytes');
  });
});

const refused = (): Response => ({ $case: 'errorResponse', value: { errorCode: 5, errorMessage: 'not here' } });
const junk = (): Response => ({ $case: 'fileDescriptorResponse', value: { fileDescriptorProto: [Buffer.from([0xff, 0xff])] } });

/** A file of 100 KB by a name of its own: name = 1, and an unknown field. */
function large(nth: number): Response {
  const name = Buffer.from(`f${String(nth).padStart(3, '0')}`);
  const filler = Buffer.alloc(100_000, 'x');
  const head = Buffer.from([0x0a, name.length, ...name, 0xfa, 0x3f, 0xa0, 0x8d, 0x06]);
  return { $case: 'fileDescriptorResponse', value: { fileDescriptorProto: [Buffer.concat([head, filler])] } };
}
