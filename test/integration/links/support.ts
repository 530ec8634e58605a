import { type AddressInfo, createServer, type Server as NetServer, type Socket } from 'node:net';
import { Metadata, Server, ServerCredentials, type ServerUnaryCall, type sendUnaryData } from '@grpc/grpc-js';
import { systemClock } from '../../../src/domain/clock.js';
import type { Assignment } from '../../../src/domain/job.js';
import type { Delivery, DialTarget, LeaseRef, LinkEvents } from '../../../src/domain/link.js';
import { type DialerOptions, GrpcDialer } from '../../../src/links/dialer.js';
import { until } from '../../helpers/until.js';

export type Handler = (call: ServerUnaryCall<Buffer, Buffer>, done: sendUnaryData<Buffer>) => void;

const identity = (bytes: Buffer) => bytes;

export interface Served {
  port: number;
  stop(): void;
  /** Goes as servers should: takes nothing new (GOAWAY), and ends when what runs has ended. */
  leave(): void;
}

/** Who serves otherwise than by plaintext, or not on 127.0.0.1. */
export interface Serving {
  /** Default: plaintext. */
  credentials?: ServerCredentials;
  host?: string;
}

/** A real gRPC server of unary methods by path, on loopback. */
export async function serve(handlers: Record<string, Handler>, port = 0, { credentials, host = '127.0.0.1' }: Serving = {}): Promise<Served> {
  const server = new Server();
  const definition = Object.fromEntries(
    Object.keys(handlers).map((path) => [
      path,
      {
        path,
        requestStream: false,
        responseStream: false,
        requestSerialize: identity,
        requestDeserialize: identity,
        responseSerialize: identity,
        responseDeserialize: identity,
      },
    ]),
  );
  server.addService(definition, handlers);
  const bound = await new Promise<number>((resolve, reject) => {
    server.bindAsync(`${host}:${port}`, credentials ?? ServerCredentials.createInsecure(), (error, at) =>
      error === null ? resolve(at) : reject(error),
    );
  });
  return { port: bound, stop: () => server.forceShutdown(), leave: () => server.tryShutdown(() => undefined) };
}

export function fail(code: number, details: string): Handler {
  return (_call, done) => done({ code, details, metadata: new Metadata() });
}

export interface Listening {
  port: number;
  /** Every connection that is open now. */
  sockets: Set<Socket>;
  server: NetServer;
  stop(): Promise<void>;
}

/** A TCP server that does with each connection what it is told; without anything it accepts and stays mute. */
export async function listen(onSocket: (socket: Socket, nth: number) => void = () => undefined, port = 0): Promise<Listening> {
  const sockets = new Set<Socket>();
  let nth = 0;
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined).on('close', () => sockets.delete(socket));
    socket.resume();
    onSocket(socket, ++nth);
  });
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  const stop = async () => {
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    for (const socket of sockets) socket.destroy();
    await closed;
  };
  return { port: (server.address() as AddressInfo).port, sockets, server, stop };
}

export class Recorder implements LinkEvents {
  readonly deliveries: { lease: LeaseRef; delivery: Delivery }[] = [];
  heardCount = 0;

  delivered(lease: LeaseRef, _ref: unknown, delivery: Delivery): void {
    this.deliveries.push({ lease, delivery });
  }

  heard(): void {
    this.heardCount++;
  }

  /** Only links that a worker opened end by themselves. */
  closed(): void {
    throw new Error('a dialed link ended by itself');
  }

  /** The nth delivery, once it is there. */
  async delivery(nth = 1): Promise<Delivery> {
    await until(() => this.deliveries.length >= nth, { what: `delivery ${nth}` });
    const found = this.deliveries[nth - 1];
    if (found === undefined) throw new Error('unreachable');
    return found.delivery;
  }
}

export function targetOf(contract: DialTarget['contract'], port: number): DialTarget {
  return { ref: { pool: 'p', id: 'w', boot: 'b1', link: '1' }, address: { ip: '127.0.0.1', port }, contract, slots: 4 };
}

export function dialer(options: Partial<DialerOptions> = {}): GrpcDialer {
  return new GrpcDialer({
    clock: systemClock,
    maxResultBytes: 1_024,
    maxPayloadBytes: 262_144,
    pingTimeoutMs: 300,
    connectTimeoutMs: 300,
    ...options,
  });
}

export function assignmentOf(fields: Partial<Assignment> = {}): Assignment {
  return {
    pool: 'p',
    jobId: 'j1',
    fence: '1712345678901234',
    worker: 'w',
    link: '1',
    kind: '',
    method: '/test.Echo/Say',
    attempt: 1,
    runTimeoutMs: 10_000,
    payload: Buffer.from('hello'),
    metadata: {},
    progress: Buffer.alloc(0),
    waitedMs: 0,
    ...fields,
  };
}
