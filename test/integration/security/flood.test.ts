import { connect } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { Client as GrpcClient, credentials as grpcCredentials, Metadata } from '@grpc/grpc-js';
import { expect, test } from 'vitest';
import { Client, Worker } from '../../../src/sdk/index.js';
import { ownRedis } from '../../helpers/redis.js';
import { bearer, startSecured, token } from '../../helpers/secured.js';

const CONNECTIONS = 2_000;
const AT_ONCE = 50;
/** The knocking is the load here. */
const BETWEEN_JOBS_MS = 50;
/** For a machine that is busy with other tests. */
const TIMEOUT_MS = 60_000;

const DATA = 0;
const HEADERS = 1;
const SETTINGS = 4;
const END_STREAM = 1;
const END_HEADERS = 4;
const FRAME_HEADER = 9;

function frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const header = Buffer.alloc(FRAME_HEADER);
  header.writeUIntBE(payload.length, 0, 3);
  header.writeUInt8(type, 3);
  header.writeUInt8(flags, 4);
  header.writeUInt32BE(stream, 5);
  return Buffer.concat([header, payload]);
}

/** HPACK, without its tables: a literal's length, in seven bits and as many bytes more as it takes. */
function literal(text: string): Buffer {
  const length: number[] = text.length < 127 ? [text.length] : [127];
  for (let rest = text.length - 127; length[0] === 127; rest >>>= 7) {
    length.push(rest >= 128 ? (rest & 127) | 128 : rest);
    if (rest < 128) break;
  }
  return Buffer.concat([Buffer.from(length), Buffer.from(text)]);
}

/** What a client says that connects for one call: a message is announced and never comes. An HTTP/2 client a connection would be most of the load. */
function hello(path: string, authorization: string | undefined): Buffer {
  const fields = { ':path': path, ':authority': 'test', 'content-type': 'application/grpc', te: 'trailers', ...(authorization && { authorization }) };
  const block = Object.entries(fields).flatMap(([name, value]) => [Buffer.from([0]), literal(name), literal(value)]);
  return Buffer.concat([
    Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
    frame(SETTINGS, 0, 0, Buffer.alloc(0)),
    // :method POST and :scheme http, of the static table.
    frame(HEADERS, END_HEADERS, 1, Buffer.concat([Buffer.from([0x83, 0x86]), ...block])),
    frame(DATA, END_STREAM, 1, Buffer.from([0, 0, 0, 0, 9])),
  ]);
}

/** Resolves when the call was answered with headers that end it: a status, and no message. */
function knock(port: number, bytes: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1');
    let rest = Buffer.alloc(0);
    socket.on('error', reject).on('close', () => reject(new Error('closed without an answer')));
    socket.on('data', (chunk) => {
      rest = Buffer.concat([rest, chunk]);
      while (rest.length >= FRAME_HEADER && rest.length >= FRAME_HEADER + rest.readUIntBE(0, 3)) {
        const [type, flags, stream] = [rest.readUInt8(3), rest.readUInt8(4), rest.readUInt32BE(5)];
        if (type === HEADERS && stream === 1 && (flags & END_STREAM) !== 0) {
          resolve();
          return socket.destroy();
        }
        rest = rest.subarray(FRAME_HEADER + rest.readUIntBE(0, 3));
      }
    });
    socket.write(bytes);
  });
}

const PATHS = [
  '/muster.v1.JobService/SubmitJob',
  '/muster.v1.WorkerService/Attach',
  '/muster.v1.JobService/Session',
  '/muster.v1.AdminService/PausePool',
];
const CREDENTIALS = [undefined, `Bearer ${token('admin', 'x').secret}`, 'Basic dXNlcjpwYXNz', `Bearer ${'y'.repeat(4_000)}`];

test(
  '2,000 connections with bad or no credentials are refused and counted while jobs go on',
  async () => {
    const redis = await ownRedis();
    const client = token('client', 'c');
    const worker = token('worker', 'w');
    const replica = await startSecured(redis.url, {
      tokens: [client.line, worker.line],
      // Handshakes are not what is tested here, and would be most of the work.
      settings: { TLS_CERT: '', TLS_KEY: '', TLS_TERMINATED: true },
    });
    const { target } = replica;
    const port = Number(target.split(':')[1]);
    const runner = new Worker({ target, channel: bearer(worker.secret), pool: 'p', id: 'w', slots: 8 }).handle('echo', async (x) => x);
    await runner.start({ signals: false });
    const jobs = new Client({ target, channel: bearer(client.secret) });
    let flooding = true;
    let done = 0;
    const working = (async () => {
      while (flooding) {
        expect(await jobs.run('echo', done, { pool: 'p' })).toBe(done);
        done++;
        await pause(BETWEEN_JOBS_MS);
      }
    })();

    const hellos = CREDENTIALS.flatMap((credentials) => PATHS.map((path) => hello(path, credentials)));
    let next = 0;
    const knocking = async () => {
      for (let i = next++; i < CONNECTIONS; i = next++) await knock(port, hellos[i % hellos.length] ?? Buffer.alloc(0));
    };
    await Promise.all(Array.from({ length: AT_ONCE }, knocking));
    const during = done;
    flooding = false;
    await working;

    const told = (msg: string) =>
      replica.lines.filter((line) => line.includes(`"${msg}"`)).map((line) => (JSON.parse(line) as { reason: string }).reason);
    const refused = told('a call was refused');
    const counted = (reason: string) => refused.filter((one) => one === reason).length;
    expect([refused.length, counted('NO_CREDENTIALS'), counted('BAD_TOKEN')]).toEqual([CONNECTIONS, CONNECTIONS / 4, (CONNECTIONS / 4) * 3]);
    // At warn a line a reason and some seconds, not one a call.
    expect(told('calls are refused').length).toBeLessThan(40);
    expect(during).toBeGreaterThan(10);
    // And what they were told is what a client is told.
    const grpc = new GrpcClient(target, grpcCredentials.createInsecure());
    const metadata = new Metadata();
    metadata.set('authorization', CREDENTIALS[1] ?? '');
    const same = (bytes: Buffer) => bytes;
    const code = await new Promise((resolve) =>
      grpc.makeUnaryRequest(PATHS[0] ?? '', same, same, Buffer.alloc(0), metadata, (error) => resolve(error?.code)),
    );
    expect(code).toBe(16);
    grpc.close();
    await Promise.all([runner.stop({ graceMs: 0 }), jobs.close()]);
  },
  TIMEOUT_MS,
);
