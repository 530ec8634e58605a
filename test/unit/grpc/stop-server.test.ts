import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { stopServer } from '../../../src/grpc/server.js';
import { TcpServer } from '../../../src/sockets/tcp-server.js';
import { until } from '../../helpers/until.js';

const PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';
const EMPTY_SETTINGS = Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]);
const sockets: Socket[] = [];

afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy();
});

test('a server that stops is cut off after its grace, also from a peer that answers nothing and closes nothing', async () => {
  const server = new TcpServer();
  const port = await server.listen('127.0.0.1:0');
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  sockets.push(socket);
  let got = 0;
  let ended = false;
  socket.on('data', (chunk) => {
    got += chunk.length;
  });
  socket.on('end', () => {
    ended = true;
  });
  await once(socket, 'connect');
  socket.write(PREFACE);
  socket.write(EMPTY_SETTINGS);
  await until(() => got > 0);
  const began = performance.now();
  await stopServer(server, 200);
  expect(performance.now() - began).toBeLessThan(2_000);
  await until(() => ended);
});
