import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { FaultProxy } from '../../chaos/proxy.js';
import { until } from '../../helpers/until.js';

/** The server answers each piece in capitals, and keeps what it heard. */
let server: Server;
let proxy: FaultProxy;
let heard = '';
const sockets: Socket[] = [];

beforeEach(async () => {
  heard = '';
  server = createServer((socket) => {
    socket.on('error', () => {});
    socket.on('data', (chunk) => {
      heard += chunk.toString();
      socket.write(chunk.toString().toUpperCase());
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  proxy = await FaultProxy.start(address !== null && typeof address === 'object' ? address.port : 0);
});

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await proxy.close();
  await new Promise((resolve) => server.close(resolve));
});

interface Peer {
  socket: Socket;
  got: string;
  /** How it ended: 'close', or the error's code. */
  over: string;
}

async function dial(): Promise<Peer> {
  const socket = connect(proxy.port, '127.0.0.1');
  sockets.push(socket);
  const peer = { socket, got: '', over: '' };
  socket.on('data', (chunk) => {
    peer.got += chunk.toString();
  });
  socket.on('error', (error: NodeJS.ErrnoException) => {
    peer.over = error.code ?? 'error';
  });
  socket.on('close', () => {
    peer.over ||= 'close';
  });
  await Promise.race([once(socket, 'connect'), once(socket, 'close')]).catch(() => {});
  return peer;
}

async function talking(): Promise<Peer> {
  const peer = await dial();
  peer.socket.write('a');
  await until(() => peer.got === 'A');
  return peer;
}

test('without a fault all of it arrives, nothing is hit, and an end is passed on both ways', async () => {
  const peer = await talking();
  peer.socket.write('x'.repeat(200_000));
  await until(() => peer.got.length === 200_001);
  expect(proxy.hits).toBe(0);
  peer.socket.end();
  await until(() => proxy.connections === 0 && peer.over === 'close');
});

test.each([
  ['drop', ''],
  ['drop-requests', ''],
  ['drop-replies', 'bc'],
] as const)('%s: the server hears "%s", no answer comes, and the connection does not outlive it', async (fault, arrives) => {
  const peer = await talking();
  heard = '';
  proxy.set(fault);
  peer.socket.write('bc');
  await until(() => proxy.hits === 2 && heard === arrives);
  const other = await dial();
  other.socket.write('d');
  await until(() => proxy.hits === 3);
  expect([peer.got, other.got]).toEqual(['A', '']);
  proxy.set(undefined);
  await until(() => peer.over !== '' && other.over !== '');
  expect(proxy.hits).toBe(3);
  await talking();
});

test('a connection on which nothing was lost outlives a drop', async () => {
  const peer = await talking();
  proxy.set('drop');
  proxy.set(undefined);
  peer.socket.write('b');
  await until(() => peer.got === 'AB');
});

test('reset: what is open breaks, and what is tried', async () => {
  const peer = await talking();
  proxy.set('reset');
  await until(() => peer.over === 'ECONNRESET');
  const other = await dial();
  await until(() => other.over !== '');
  expect({ hits: proxy.hits, got: other.got }).toEqual({ hits: 2, got: '' });
});

test('silent: connections are taken, nothing comes, and all of it comes when it is relieved', async () => {
  const peer = await talking();
  heard = '';
  proxy.set('silent');
  peer.socket.write('b');
  const other = await dial();
  other.socket.write('c');
  // One for the connection, two for the bytes.
  await until(() => proxy.hits === 3);
  expect({ heard, got: peer.got, over: other.over }).toEqual({ heard: '', got: 'A', over: '' });
  proxy.set(undefined);
  await until(() => peer.got === 'AB' && other.got === 'C');
});

test('slow: a kilobyte takes its second, in order, and the rest comes at once when it is relieved', async () => {
  const peer = await talking();
  const text = Array.from({ length: 200 }, (_, i) => String(i % 10)).join('');
  proxy.set('slow');
  const began = performance.now();
  peer.socket.write(text);
  await until(() => peer.got.length === 201);
  // 200 bytes on their way there; the answers follow ten by ten.
  expect(performance.now() - began).toBeGreaterThan(190);
  expect(peer.got).toBe(`A${text}`);
  peer.socket.write('x'.repeat(100_000));
  await until(() => proxy.hits > 100_000);
  proxy.set(undefined);
  await until(() => peer.got.length === 100_201);
});

test('late: a round takes 200 ms more, and the order stays', async () => {
  const peer = await talking();
  proxy.set('late');
  const began = performance.now();
  for (const char of 'bcd') peer.socket.write(char);
  await until(() => peer.got === 'ABCD');
  expect(performance.now() - began).toBeGreaterThan(195);
  expect(proxy.hits).toBe(6);
});
