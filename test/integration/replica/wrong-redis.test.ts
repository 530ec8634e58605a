import { createServer as createHttp } from 'node:http';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { freePort } from '../../../src/lifecycle/free-port.js';
import { freePorts } from '../../helpers/ports.js';
import { ownRedis } from '../../helpers/redis.js';
import { TlsFiles } from '../../helpers/redis-tls.js';
import { until } from '../../helpers/until.js';
import { type LogLine, type Running, startReplica } from './support.js';

/** Wrong values of MUSTER_REDIS_URL: what can never work ends the start and names the setting, what may come is said in one line. */
let files: TlsFiles;
/** `host:port` by what is there. */
const at: Record<string, string> = {};
const servers: Server[] = [];
let admin: Redis;

async function listening(server: Server): Promise<string> {
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

beforeAll(async () => {
  files = await TlsFiles.create();
  const [tls = 0, mutual = 0, bus = 0] = await freePorts(3);
  const pair = await files.pair('redis', ['127.0.0.1']);
  const plain = await ownRedis({ extraArgs: ['--databases', '4', ...files.serverArgs(tls, pair, 'no')] });
  await ownRedis({ extraArgs: files.serverArgs(mutual, pair, 'yes') });
  admin = new Redis(plain.url);
  const configFile = files.file('sentinel.conf', `sentinel monitor main 127.0.0.1 ${plain.port} 1\n`);
  const sentinel = await ownRedis({ configFile, extraArgs: ['--sentinel'] });
  const node = await ownRedis({ extraArgs: ['--cluster-enabled', 'yes', '--cluster-port', String(bus)] });
  const replica = await ownRedis({ extraArgs: ['--replicaof', '127.0.0.1', String(plain.port)] });
  at['redis'] = `127.0.0.1:${plain.port}`;
  at['tls'] = `127.0.0.1:${tls}`;
  at['mutual'] = `127.0.0.1:${mutual}`;
  at['sentinel'] = `127.0.0.1:${sentinel.port}`;
  at['node'] = `127.0.0.1:${node.port}`;
  at['replica'] = `127.0.0.1:${replica.port}`;
  at['http'] = await listening(createHttp((_request, response) => response.end('hello')));
  at['ssh'] = await listening(createServer((socket) => socket.on('error', () => {}).write('SSH-2.0-OpenSSH_9.2\r\n')));
  at['mute'] = await listening(createServer((socket) => socket.on('error', () => {})));
  at['closing'] = await listening(createServer((socket) => socket.on('error', () => {}).destroy()));
  at['nobody'] = `127.0.0.1:${await freePort()}`;
}, 60_000);

afterAll(() => {
  admin?.disconnect();
  for (const server of servers) server.close();
  files?.remove();
});

const where = (url: string) => url.replace(/<(\w+)>/g, (_, name: string) => at[name] ?? '');

test.each<[url: string, message: RegExp]>([
  ['redis://<tls>', /TLS is spoken there: write rediss instead of redis/],
  ['redis://<mutual>', /TLS is spoken there: write rediss instead of redis/],
  ['rediss://<redis>', /no TLS is spoken there: name the TLS port of Redis, or write redis/],
  ['redis+sentinel://<tls>/main', /TLS is spoken there: write rediss/],
  ['rediss+sentinel://<sentinel>/main', /no TLS is spoken there/],
  ['rediss+cluster://<node>', /no TLS is spoken there/],
  ['redis+cluster://<tls>', /TLS is spoken there: write rediss/],
  ['redis://<http>', /an HTTP server answers there, no Redis/],
  ['rediss://<http>', /no TLS is spoken there|an HTTP server answers there/],
  ['redis+sentinel://<http>/main', /an HTTP server answers there/],
  ['redis+cluster://<http>', /an HTTP server answers there/],
  ['redis://<ssh>', /no Redis answers there, but "SSH-2.0/],
  ['redis://<sentinel>', /it is a Sentinel: write redis\+sentinel:\/\/host:port\/master in MUSTER_REDIS_URL/],
  ['redis+sentinel://<redis>/main', /it is a Redis, no Sentinel: write redis:\/\/ instead of redis\+sentinel/],
  ['redis+sentinel://<sentinel>/other', /the Sentinel knows no master of the name other/],
  ['redis+cluster://<redis>', /it is no Cluster: write redis:\/\/ instead of redis\+cluster/],
  ['redis://<node>', /it is a node of a Cluster: write redis\+cluster:\/\/host:port in MUSTER_REDIS_URL/],
  ['redis://<redis>/4', /it does not have the database that MUSTER_REDIS_URL names/],
  ['redis+sentinel://<sentinel>/main/99', /it does not have the database that MUSTER_REDIS_URL names/],
  ['redis://me:wrong@<redis>', /MUSTER_REDIS_URL/],
])('%s can never work: the start ends', async (url, message) => {
  const error = await startReplica(where(url)).catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ code: 'failed_precondition', message: expect.stringMatching(message) });
  expect(error).toMatchObject({ message: expect.stringContaining('MUSTER_REDIS_URL') });
});

test.each(['http://127.0.0.1:6379', '127.0.0.1:6379', 'redis://127.0.0.1:6379/main', 'redis+sentinel://127.0.0.1'])(
  '%s is no URL of a Redis',
  async (url) => {
    await expect(startReplica(url)).rejects.toThrow(/^MUSTER_REDIS_URL: /);
  },
);

test.each<[url: string, why: RegExp]>([
  ['redis://<nobody>', /^waiting for Redis \(MUSTER_REDIS_URL\): 127\.0\.0\.1:\d+ \(no TLS\): connect ECONNREFUSED/],
  ['rediss://<nobody>', /127\.0\.0\.1:\d+ \(TLS\): connect ECONNREFUSED/],
  ['redis+sentinel://<nobody>/main', /127\.0\.0\.1:\d+ \(no TLS\): connect ECONNREFUSED/],
  ['redis+cluster://<nobody>', /127\.0\.0\.1:\d+ \(no TLS\): connect ECONNREFUSED/],
  ['redis://no-such-host.invalid', /no-such-host\.invalid:6379 \(no TLS\): getaddrinfo/],
  ['redis://<mute>', /it takes connections and answers nothing/],
  ['redis://<closing>', /it closes connections at once/],
  ['redis://<replica>', /this Redis is a replica: it takes no writes/],
])('%s may work later: the start says in one line what it waits for', async (url, why) => {
  const lines: LogLine[] = [];
  const stop = new AbortController();
  const started = startReplica(where(url), {}, { signal: stop.signal, lines }).catch((error: unknown) => error);
  await until(() => lines.some(({ msg }) => why.test(msg)), { what: `a line like ${why}` });
  expect(lines.filter(({ msg }) => msg === 'in the background')).toEqual([]);
  stop.abort(new Error('enough'));
  expect(await started).toMatchObject({ message: 'enough' });
});

test.each(['volatile-lru', 'allkeys-lru'])('maxmemory-policy %s ends a start, for fast and for durable', async (policy) => {
  await admin.config('SET', 'maxmemory-policy', policy);
  try {
    for (const DURABILITY of ['fast', 'durable']) {
      await expect(startReplica(where('redis://<redis>'), { DURABILITY })).rejects.toMatchObject({
        reason: 'EVICTION',
        message: expect.stringContaining('set maxmemory-policy noeviction'),
      });
    }
  } finally {
    await admin.config('SET', 'maxmemory-policy', 'noeviction');
  }
});

test('what the others are wrong of works', async () => {
  const replica: Running = await startReplica(where('redis+sentinel://<sentinel>/main'));
  await replica.stop();
});
