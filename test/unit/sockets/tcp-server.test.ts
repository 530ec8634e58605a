import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { credentials } from '@grpc/grpc-js';
import { afterEach, expect, test } from 'vitest';
import { HealthClient, HealthService as HealthDefinition } from '../../../src/grpc/generated/grpc/health/v1/health.js';
import { HealthService, HealthState } from '../../../src/grpc/health-service.js';
import { type TcpOptions, TcpServer } from '../../../src/sockets/tcp-server.js';
import { ServerTls } from '../../../src/sockets/tls.js';
import { createCa } from '../../helpers/certs.js';
import { timerOf } from '../../helpers/tcp-timer.js';

const ends: (() => void)[] = [];
afterEach(() => {
  for (const end of ends.splice(0)) end();
});

async function serve(address: string, tls?: ServerTls, door?: Partial<TcpOptions>) {
  const server = new TcpServer({}, door);
  const state = new HealthState();
  state.set('', true);
  server.addService(HealthDefinition, new HealthService(state, { maxWatchers: 10 }).handlers);
  ends.push(() => server.forceShutdown());
  return { server, port: await server.listen(address, tls) };
}

async function secured(handshakeMs = 5_000) {
  const ca = await createCa();
  const { cert, key } = await ca.issue(['127.0.0.1']);
  return { ca, tls: new ServerTls({ cert: Buffer.from(cert), key: Buffer.from(key), clientCa: undefined }, { handshakeMs }) };
}

function check(target: string, security = credentials.createInsecure()): Promise<number> {
  const client = new HealthClient(target, security);
  ends.push(() => client.close());
  return new Promise((resolve, reject) => client.check({ service: '' }, (error, answer) => (error ? reject(error) : resolve(answer.status))));
}

test('calls go through it, over IPv4 and IPv6, and over TLS', async () => {
  for (const address of ['127.0.0.1', '[::1]']) {
    const { port } = await serve(`${address}:0`);
    expect(await check(`${address}:${port}`)).toBe(1);
  }
  const { ca, tls } = await secured();
  const { port } = await serve('127.0.0.1:0', tls);
  expect(await check(`127.0.0.1:${port}`, credentials.createSsl(Buffer.from(ca.cert)))).toBe(1);
});

test('after its shutdown nobody gets in, and an address that is taken is refused', async () => {
  const { server, port } = await serve('127.0.0.1:0');
  await expect(serve(`127.0.0.1:${port}`)).rejects.toMatchObject({ code: 'EADDRINUSE' });
  await new Promise<void>((resolve) => server.tryShutdown(() => resolve()));
  const [error] = await once(connect({ port, host: '127.0.0.1' }), 'error');
  expect(error).toMatchObject({ code: 'ECONNREFUSED' });
});

test.runIf(process.platform === 'linux')('its connections are kept alive by TCP', async () => {
  const { port } = await serve('127.0.0.1:0');
  const socket = connect({ port, host: '127.0.0.1' });
  ends.push(() => socket.destroy());
  // Its SETTINGS: the server has the connection by then.
  await once(socket, 'data');
  await expect.poll(() => timerOf(port, socket.localPort ?? 0)).toBe('02');
});

test('no server of ours pings, and no link: grpc-js takes a connection that is asked to go for dead, and cuts off what is under way on it', () => {
  for (const file of ['grpc/server.ts', 'sockets/tcp-server.ts', 'sockets/door.ts', 'links/wire.ts', 'sdk/runner.ts']) {
    expect(readFileSync(new URL(`../../../src/${file}`, import.meta.url), 'utf8'), file).not.toMatch(/'grpc\.keepalive/);
  }
});
