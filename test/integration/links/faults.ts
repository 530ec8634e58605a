import { type ChildProcess, spawn } from 'node:child_process';
import { createServer, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2';
import type { AddressInfo, Socket } from 'node:net';
import { afterEach } from 'vitest';
import type { Link } from '../../../src/domain/link.js';
import { until } from '../../helpers/until.js';
import { dialer, type Handler, listen, Recorder, type Served, serve, targetOf } from './support.js';

export const SAY = '/test.Echo/Say';
export const echo: Handler = (call, done) => done(null, call.request);

const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

/** Ends with the test, last begun first. */
export function atEnd(end: () => unknown): void {
  ends.push(end);
}

export function dial(port: number, contract: 'METHOD' | 'RUNNER' = 'METHOD'): { link: Link; events: Recorder } {
  const events = new Recorder();
  const link = dialer().dial(targetOf(contract, port), events);
  atEnd(() => link.close());
  return { link, events };
}

export async function worker(handlers: Record<string, Handler>, port = 0): Promise<Served> {
  const served = await serve(handlers, port);
  atEnd(() => served.stop());
  return served;
}

/** An HTTP/2 server without gRPC, for answers that no gRPC server gives. */
export async function raw(onStream: (stream: ServerHttp2Stream, session: ServerHttp2Session) => void): Promise<{ port: number; cut(): void }> {
  const server = createServer();
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
  });
  const sessions = new Set<ServerHttp2Session>();
  server.on('session', (session) => {
    sessions.add(session);
    session.on('error', () => undefined).on('close', () => sessions.delete(session));
  });
  server.on('stream', (stream) => {
    stream.on('error', () => undefined).resume();
    if (stream.session !== undefined) onStream(stream, stream.session as ServerHttp2Session);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  atEnd(() => {
    for (const session of sessions) session.destroy();
    server.close();
  });
  const cut = () => {
    for (const socket of sockets) socket.destroy();
  };
  return { port: (server.address() as AddressInfo).port, cut };
}

export async function unusedPort(): Promise<number> {
  const { port, stop } = await listen();
  await stop();
  return port;
}

const WORKER = `
  import { Server, ServerCredentials } from '@grpc/grpc-js';
  const identity = (bytes) => bytes;
  const server = new Server();
  const method = { path: '${SAY}', requestStream: false, responseStream: false, requestSerialize: identity, requestDeserialize: identity, responseSerialize: identity, responseDeserialize: identity };
  server.addService({ say: method }, { say: () => process.stdout.write('began\\n') });
  server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) => process.stdout.write('port ' + port + '\\n'));
`;

/** A worker in a process of its own that takes every call and answers none. */
export async function workerProcess(): Promise<{ child: ChildProcess; port: number; output: () => string }> {
  const child = spawn(process.execPath, ['--input-type=module', '-e', WORKER], { stdio: ['ignore', 'pipe', 'inherit'] });
  atEnd(() => child.kill('SIGKILL'));
  let output = '';
  child.stdout?.on('data', (data: Buffer) => {
    output += data.toString();
  });
  const port = Number(await until(() => /port (\d+)/.exec(output)?.[1], { what: 'the worker process' }));
  return { child, port, output: () => output };
}
