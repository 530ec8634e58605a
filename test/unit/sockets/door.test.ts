import { connect, type Socket } from 'node:net';
import { connect as tlsConnect } from 'node:tls';
import { credentials } from '@grpc/grpc-js';
import { afterEach, expect, test } from 'vitest';
import { HealthClient, HealthService as HealthDefinition } from '../../../src/grpc/generated/grpc/health/v1/health.js';
import { HealthService, HealthState } from '../../../src/grpc/health-service.js';
import { DOOR_LIMITS, type DoorLimits } from '../../../src/sockets/door.js';
import { TcpServer } from '../../../src/sockets/tcp-server.js';
import { ServerTls } from '../../../src/sockets/tls.js';
import { createCa } from '../../helpers/certs.js';
import { FakeClock } from '../../helpers/fake-clock.js';
import { until } from '../../helpers/until.js';

const PREFACE = Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0])]);
const ends: (() => void)[] = [];
afterEach(() => {
  for (const end of ends.splice(0)) end();
});

interface Served {
  port: number;
  clock: FakeClock;
  /** How many are open, as the observer was told last. */
  open: () => number;
  turnedAway: string[];
  server: TcpServer;
}

async function serve({ tls, ...limits }: Partial<DoorLimits> & { tls?: ServerTls } = {}): Promise<Served> {
  const clock = new FakeClock();
  const turnedAway: string[] = [];
  let open = 0;
  const observer = {
    connections: (_: string, n: number) => {
      open = n;
    },
    turnedAway: (listener: string, why: string, peer: string) => void turnedAway.push(`${listener} ${why} ${peer}`),
  };
  const server = new TcpServer({}, { clock, observer, limits: { ...DOOR_LIMITS, ...limits } });
  const state = new HealthState();
  state.set('', true);
  server.addService(HealthDefinition, new HealthService(state, { maxWatchers: 10 }).handlers);
  ends.push(() => server.forceShutdown());
  return { port: await server.listen('127.0.0.1:0', tls), clock, open: () => open, turnedAway, server };
}

async function secured(handshakeMs = 5_000) {
  const ca = await createCa();
  const { cert, key } = await ca.issue(['127.0.0.1']);
  return { ca, tls: new ServerTls({ cert: Buffer.from(cert), key: Buffer.from(key), clientCa: undefined }, { handshakeMs }) };
}

/** A peer that closes nothing by itself, not even when it is asked to. */
function stubborn(port: number, over?: 'tls'): Socket & { over?: boolean } {
  const options = { port, host: '127.0.0.1', allowHalfOpen: true };
  const socket =
    over === 'tls' ? tlsConnect({ ...options, servername: 'localhost', rejectUnauthorized: false, ALPNProtocols: ['h2'] }) : connect(options);
  ends.push(() => socket.destroy());
  return socket.on('error', () => undefined).on('data', () => undefined);
}

const ended = (socket: Socket) => until(() => socket.readableEnded || socket.destroyed, { what: 'the connection to be ended' });

function check(port: number, security = credentials.createInsecure()): Promise<number> {
  const client = new HealthClient(`127.0.0.1:${port}`, security);
  ends.push(() => client.close());
  return new Promise((resolve, reject) => client.check({ service: '' }, (error, answer) => (error ? reject(error) : resolve(answer.status))));
}

test.each(['in plaintext', 'over TLS'])('%s: beyond maxConnections a connection is closed as it comes, and whoever goes makes room', async (how) => {
  const { tls } = how === 'over TLS' ? await secured() : {};
  const { port, open, turnedAway } = await serve({ maxConnections: 3, ...(tls && { tls }) });
  const first = [stubborn(port), stubborn(port), stubborn(port)];
  await until(() => open() === 3);
  const more = [stubborn(port), stubborn(port)];
  await Promise.all(more.map(ended));
  expect([open(), turnedAway]).toEqual([3, ['grpc full 127.0.0.1', 'grpc full 127.0.0.1']]);
  first[0]?.destroy();
  await until(() => open() === 2);
  stubborn(port);
  await until(() => open() === 3);
  expect(turnedAway.length).toBe(2);
});

test('one that never begins HTTP/2 is cut off at PREFACE_MS, one that has is not, and its calls are answered after', async () => {
  const { port, clock, open, turnedAway } = await serve({ prefaceMs: 1_000 });
  const [mute, half, good] = [stubborn(port), stubborn(port), stubborn(port)];
  half.write(PREFACE.subarray(0, -1));
  good.write(PREFACE);
  expect(await check(port)).toBe(1);
  await until(() => open() === 4 && good.bytesRead > 0 && half.bytesWritten === PREFACE.length - 1);
  await clock.pass(999);
  expect([open(), turnedAway]).toEqual([4, []]);
  await clock.pass(1);
  await Promise.all([ended(mute), ended(half)]);
  await until(() => open() === 2);
  expect(turnedAway).toEqual(['grpc silent 127.0.0.1', 'grpc silent 127.0.0.1']);
  expect(good.destroyed || good.readableEnded).toBe(false);
});

test('the same under TLS, where the bytes of the handshake are not taken for its', async () => {
  const { ca, tls } = await secured();
  const { port, clock, open, turnedAway } = await serve({ prefaceMs: 1_000, tls });
  const [mute, good] = [stubborn(port, 'tls'), stubborn(port, 'tls')];
  good.write(PREFACE);
  await until(() => mute.bytesRead > 0 && good.bytesRead > 0);
  expect(await check(port, credentials.createSsl(Buffer.from(ca.cert)))).toBe(1);
  await clock.pass(1_000);
  await ended(mute);
  await until(() => open() === 2);
  expect(turnedAway).toEqual(['grpc silent 127.0.0.1']);
});

test('no TLS is the end of a connection, and so is a handshake that takes too long, though the peer does not close', async () => {
  const { tls } = await secured(200);
  const { port, open, turnedAway } = await serve({ tls });
  const plain = stubborn(port);
  plain.write(PREFACE);
  const mute = stubborn(port);
  await Promise.all([ended(plain), ended(mute)]);
  await until(() => open() === 0);
  expect(turnedAway).toEqual(['grpc tls 127.0.0.1', 'grpc tls 127.0.0.1']);
  // Whoever only looks whether somebody listens was not turned away.
  const looked = connect({ port, host: '127.0.0.1' });
  await until(() => open() === 1);
  looked.destroy();
  await until(() => open() === 0);
  expect(turnedAway.length).toBe(2);
});

test('whatever the peer does, a connection is over when its time is, and a server that was cut off keeps none', async () => {
  const { port, clock, open, server } = await serve({ lifeMs: 60_000 });
  const old = stubborn(port);
  old.write(PREFACE);
  await until(() => old.bytesRead > 0);
  await clock.pass(59_999);
  expect(open()).toBe(1);
  await clock.pass(1);
  await ended(old);
  await until(() => open() === 0);
  const next = stubborn(port);
  next.write(PREFACE);
  await until(() => next.bytesRead > 0 && open() === 1);
  server.forceShutdown();
  await ended(next);
  await until(() => open() === 0);
});
