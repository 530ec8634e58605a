import { once } from 'node:events';
import { type ClientHttp2Session, connect as connectHttp2, constants } from 'node:http2';
import { connect as connectTcp } from 'node:net';
import { beforeAll, describe, expect, test } from 'vitest';
import { HealthService } from '../../../src/grpc/generated/grpc/health/v1/health.js';
import { AdminServiceService } from '../../../src/grpc/generated/muster/v1/admin.js';
import { JobServiceService } from '../../../src/grpc/generated/muster/v1/job.js';
import { WorkerServiceService } from '../../../src/grpc/generated/muster/v1/worker.js';
import { WorkerServiceService as LegacyWorkerService } from '../../../src/grpc/generated/worker/worker.js';
import { runToEnd } from '../../../src/sdk/run.js';
import { ownRedis } from '../../helpers/redis.js';
import { endOf, type Running, startReplica, text } from './support.js';
import { runnerWorker } from './workers.js';

/** What a port scanner, a browser, a broken client and an enemy send. The process lives, and a healthy client is served meanwhile. */
let replica: Running;

beforeAll(async () => {
  const { url } = await ownRedis();
  replica = await startReplica(url);
  await runnerWorker(replica.target, 'default', 'w');
});

/** A client of ours gets its job done, as if nothing was. */
async function served(): Promise<void> {
  const job = await runToEnd(replica.api, { work: { $case: 'kind', value: 'echo' }, payload: text('still here') });
  expect(endOf(job)).toEqual({ state: 'JOB_STATE_SUCCEEDED', attempt: 1, worker: 'w', output: 'still here' });
}

const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');

/** An HTTP/2 frame. */
function frame(type: number, flags: number, stream: number, body: Buffer, length = body.length): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, body]);
}

const DATA = 0;
const HEADERS = 1;
const RST_STREAM = 3;
const SETTINGS = 4;
const PING = 6;
const CONTINUATION = 9;
const END_HEADERS = 4;

/** Repeatable: the same bytes in each run. */
function noise(bytes: number): Buffer {
  let x = 123_456_789;
  return Buffer.from(
    Array.from({ length: bytes }, () => {
      x = (1_103_515_245 * x + 12_345) % 2 ** 31;
      return x % 256;
    }),
  );
}

const TLS_HELLO = Buffer.concat([
  Buffer.from('16030100c8010000c40303', 'hex'),
  noise(32),
  Buffer.from('00000a130113021303c02bc02f0100', 'hex'),
  noise(120),
]);

const OPENINGS: [string, Buffer][] = [
  ['nothing at all', Buffer.alloc(0)],
  ['random bytes', noise(4096)],
  ['HTTP/1.1', Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n')],
  ['an HTTP/1.1 post that never ends', Buffer.from('POST /muster.v1.JobService/SubmitJob HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n')],
  ['a TLS hello', TLS_HELLO],
  ['half of the preface', PREFACE.subarray(0, 12)],
  ['the preface and random bytes', Buffer.concat([PREFACE, noise(2048)])],
  ['half a frame', Buffer.concat([PREFACE, frame(SETTINGS, 0, 0, Buffer.alloc(0)), frame(HEADERS, END_HEADERS, 1, noise(10), 1000)])],
  ['a frame above the limit', Buffer.concat([PREFACE, frame(SETTINGS, 0, 0, Buffer.alloc(0)), frame(DATA, 0, 1, Buffer.alloc(0), 0xffffff)])],
  ['headers that are no HPACK', Buffer.concat([PREFACE, frame(SETTINGS, 0, 0, Buffer.alloc(0)), frame(HEADERS, END_HEADERS, 1, noise(200))])],
  ['data for a stream that never was', Buffer.concat([PREFACE, frame(SETTINGS, 0, 0, Buffer.alloc(0)), frame(DATA, 1, 7, noise(100))])],
  ['a continuation without headers', Buffer.concat([PREFACE, frame(SETTINGS, 0, 0, Buffer.alloc(0)), frame(CONTINUATION, 0, 1, noise(100))])],
  ['settings of a wrong size', Buffer.concat([PREFACE, frame(SETTINGS, 0, 0, noise(5))])],
  [
    'a flood of pings',
    Buffer.concat([PREFACE, frame(SETTINGS, 0, 0, Buffer.alloc(0)), ...Array.from({ length: 20_000 }, () => frame(PING, 0, 0, noise(8)))]),
  ],
  [
    'a flood of resets',
    Buffer.concat([
      PREFACE,
      frame(SETTINGS, 0, 0, Buffer.alloc(0)),
      ...Array.from({ length: 5_000 }, (_, i) => frame(RST_STREAM, 0, 2 * i + 1, Buffer.alloc(4))),
    ]),
  ],
];

describe('raw bytes on the gRPC port', () => {
  test.each(OPENINGS)('%s', async (_what, bytes) => {
    const socket = connectTcp(replica.grpcPort, '127.0.0.1');
    socket.on('error', () => undefined).resume();
    await once(socket, 'connect');
    socket.write(bytes);
    await served();
    socket.destroy();
    await served();
  });
});

interface Raw {
  httpStatus: number;
  grpcStatus: string;
}

/** A gRPC call by hand: the frames are whatever is given. */
async function post(path: string, body: Buffer | undefined, headers: Record<string, string> = {}): Promise<Raw> {
  const session: ClientHttp2Session = connectHttp2(`http://${replica.target}`);
  session.on('error', () => undefined);
  try {
    const stream = session.request({ ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers', ...headers });
    const answer: Raw = { httpStatus: 0, grpcStatus: '' };
    stream.on('response', (got) => {
      answer.httpStatus = Number(got[constants.HTTP2_HEADER_STATUS]);
      answer.grpcStatus = String(got['grpc-status'] ?? '');
    });
    stream.on('trailers', (got) => {
      answer.grpcStatus = String(got['grpc-status'] ?? answer.grpcStatus);
    });
    stream.on('error', () => undefined).resume();
    stream.end(body);
    await once(stream, 'close', { signal: AbortSignal.timeout(10_000) });
    return answer;
  } finally {
    session.destroy();
  }
}

/** A length-prefixed message, with a length of its own if wanted. */
function message(body: Buffer, length = body.length, compressed = 0): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt8(compressed, 0);
  head.writeUInt32BE(length, 1);
  return Buffer.concat([head, body]);
}

const METHODS = [JobServiceService, WorkerServiceService, AdminServiceService, LegacyWorkerService, HealthService]
  .flatMap((service) => Object.values(service).map(({ path }: { path: string }) => path))
  .concat('/grpc.reflection.v1.ServerReflection/ServerReflectionInfo', '/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo');

/** Field 1, length-delimited, says 200 bytes and has two. */
const TRUNCATED = Buffer.from('0ac8010102', 'hex');
/** A group that is never closed, deep. */
const GROUPS = Buffer.alloc(20_000, 0x0b);
/** Field 1 as a varint that never ends. */
const ENDLESS = Buffer.from(`08${'ff'.repeat(20)}`, 'hex');
const OK = '0';

describe('malformed messages are refused by every method', () => {
  test.each(METHODS)('%s', async (path) => {
    for (const [what, body] of Object.entries({ TRUNCATED, GROUPS, ENDLESS })) {
      const { grpcStatus } = await post(path, message(body));
      expect(grpcStatus, `${what} was answered`).not.toBe(OK);
    }
    await served();
  });
});

describe('calls that are none', () => {
  const path = JobServiceService.submitJob.path;
  test.each<{ what: string; call: () => Promise<Raw> }>([
    { what: 'a message longer than it says', call: () => post(path, message(noise(100), 10)) },
    { what: 'a message shorter than it says', call: () => post(path, message(noise(10), 100)) },
    { what: 'a message of 4 GiB, it says', call: () => post(path, message(noise(100), 0xffffffff)) },
    { what: 'a message above the limit', call: () => post(path, message(Buffer.alloc(8_000_000))) },
    { what: 'a compressed message that is none', call: () => post(path, message(noise(100), 100, 1), { 'grpc-encoding': 'gzip' }) },
    { what: 'an encoding that nobody knows', call: () => post(path, message(noise(100), 100, 1), { 'grpc-encoding': 'made-up' }) },
    { what: 'a method that is none', call: () => post('/muster.v1.JobService/Nothing', message(Buffer.alloc(0))) },
    { what: 'a path that is none', call: () => post('/', message(Buffer.alloc(0))) },
    { what: 'another content type', call: () => post(path, Buffer.from('{}'), { 'content-type': 'application/json' }) },
    { what: 'a timeout that is none', call: () => post(path, message(Buffer.alloc(0)), { 'grpc-timeout': 'soon' }) },
    { what: 'no message', call: () => post(path, undefined) },
  ])('$what', async ({ call }) => {
    const { httpStatus, grpcStatus } = await call();
    expect(httpStatus === 200 ? grpcStatus : 'refused').not.toBe(OK);
    await served();
  });
});

test('a thousand connections that say nothing cost a healthy client nothing', async () => {
  const sockets = await Promise.all(
    Array.from({ length: 1000 }, async () => {
      const socket = connectTcp(replica.grpcPort, '127.0.0.1');
      socket.on('error', () => undefined).resume();
      await once(socket, 'connect');
      return socket;
    }),
  );
  await served();
  for (const socket of sockets) socket.destroy();
  await served();
});
