import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect as connectTcp, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { readConfig } from '../../../src/config.js';
import type { EmbeddedRedis } from '../../../src/lifecycle/embedded-redis.js';
import { keys } from '../../../src/store/keys.js';
import { ownRedis } from '../../helpers/redis.js';
import { until } from '../../helpers/until.js';
import { type Running, refusal, startReplica, startWith, submit } from './support.js';
import { register, runnerWorker } from './workers.js';

/** Whoever connects to this host by whatever address is counted here. */
let target: Server;
let port: number;
let accepted: number;
const sockets = new Set<Socket>();
let redis: EmbeddedRedis;
let raw: Redis;

const folder = mkdtempSync(join(tmpdir(), 'zero-packets-'));

beforeAll(async () => {
  writeFileSync(join(folder, 'tokens'), `admin test sha256:${createHash('sha256').update(TOKEN).digest('hex')}\n`);
  redis = await ownRedis();
  raw = new Redis(redis.url);
  target = createServer((socket) => {
    accepted++;
    sockets.add(socket);
    socket.on('error', () => undefined).resume();
  });
  // All addresses of both families.
  await new Promise<void>((resolve) => target.listen(0, '::', resolve));
  port = (target.address() as AddressInfo).port;
});
beforeEach(async () => {
  // A replica that may dial here must not find the workers of the test before.
  await raw.flushall();
  accepted = 0;
});
afterAll(() => {
  for (const socket of sockets) socket.destroy();
  target.close();
  raw.disconnect();
  rmSync(folder, { recursive: true });
});

/** Connections are accepted in the order in which they came: once ours is counted, so is every one before it. */
async function connections(): Promise<number> {
  const before = accepted;
  const ours = connectTcp(port, '127.0.0.1');
  await until(() => accepted > before);
  ours.destroy();
  return accepted - 1;
}

const TOKEN = 'mst_zero-packets';

/** Asks for credentials, and frees nothing because it is a test. */
function secured(settings: Record<string, unknown>): Promise<Running> {
  const times = { HEALTH_INTERVAL_MS: 1_000, PING_TIMEOUT_MS: 900, HOME_BEAT_MS: 200, HOME_TTL_MS: 600, STOP_LEAD_MS: 0 };
  const security = { TOKENS_FILE: join(folder, 'tokens'), TLS_TERMINATED: true };
  const config = readConfig({}, { REDIS_URL: redis.url, GRPC_ADDR: '127.0.0.1:0', HTTP_ADDR: '', ...times, ...security, ...settings });
  return startWith(config, { token: TOKEN });
}

/** Ways to write this host, or what routers and resolvers make this host of. */
const BYPASSES = [
  ...['127.0.0.1', '127.0.0.2', '127.255.255.254', '0.0.0.0', '::', '::1', '0:0:0:0:0:0:0:1'],
  ...['::ffff:127.0.0.1', '::ffff:7f00:1', '::FFFF:127.0.0.1', '::ffff:0.0.0.0', '::127.0.0.1', '::7f00:1', '::ffff:0:127.0.0.1'],
  ...['64:ff9b::127.0.0.1', '64:ff9b::7f00:1', '64:ff9b:1::7f00:1', '2001:0:7f00:1::', '2002:7f00:1::'],
  ...['127.1', '127.0.1', '0177.0.0.1', '0x7f.0.0.1', '0x7f000001', '2130706433', '017700000001', '127.000.000.001', '0'],
  ...['::1%lo', 'fe80::1%lo', '::ffff:127.0.0.1%1', '127.0.0.1%lo'],
  ...[
    'localhost',
    'localhost.',
    'ip6-localhost',
    '127.0.0.1.',
    '127.0.0.1.nip.io',
    'user@127.0.0.1',
    '127.0.0.1#',
    '127.0.0.1/',
    '[::1]',
    ' 127.0.0.1',
  ],
];

describe.each<[string, Record<string, unknown>]>([
  ['without DIAL_ALLOW', {}],
  ['with all of the internet in DIAL_ALLOW, by plaintext', { DIAL_ALLOW: '0.0.0.0/0,::/0', DIAL_PLAINTEXT: '0.0.0.0/0,::/0' }],
])('a secured replica %s', (_, settings) => {
  test('refuses every spelling of this host, and sends nothing there', async () => {
    const { api, stop } = await secured(settings);
    for (const ip of BYPASSES) {
      const error = await refusal(register(api, { id: 'w', pool: 'p', port, ip, boot: 'b' }));
      expect(['ADDRESS_REFUSED', 'INVALID_FIELD'], ip).toContain(error.reason);
    }
    for (const bad of [0, 65_536, 65_536 + port])
      expect((await refusal(register(api, { id: 'w', pool: 'p', port: bad, boot: 'b' }))).codeName).toBe('INVALID_ARGUMENT');
    expect(await connections()).toBe(0);
    expect(await api.listPools({})).toEqual({ pools: [] });
    await stop();
  });
});

describe('an address that stands on the roll, and which this replica may not dial', () => {
  /** On the roll by a replica that may dial everything here, and then under another address. */
  async function onTheRoll(first: Running, pool: string, address: string): Promise<void> {
    await runnerWorker(first.target, pool, 'w');
    await raw.hset(keys.worker(pool, 'w'), 'address', address);
  }

  test('is not dialed when its home is gone', async () => {
    const second = await secured({ DIAL_ALLOW: '10.0.0.0/8', DIAL_PLAINTEXT: '0.0.0.0/0' });
    const first = await startReplica(redis.url);
    await onTheRoll(first, 'orphans', `127.0.0.1:${port}`);
    await first.stop();
    await until(() => second.lines.some(({ err }) => String(err).includes(`127.0.0.1:${port} may not be dialed`)), { what: 'it to be refused' });
    expect(await connections()).toBe(0);
    await second.stop();
  });

  test.each(['127.0.0.1', '[::ffff:7f00:1]', 'localhost'])('is not dialed as %s when a job is for it', async (ip) => {
    const first = await startReplica(redis.url);
    const second = await secured({ DIAL_ALLOW: '10.0.0.0/8', DIAL_PLAINTEXT: '0.0.0.0/0' });
    await onTheRoll(first, 'ours', `${ip}:${port}`);
    await raw.hset(keys.worker('ours', 'w'), 'home', second.id);
    await raw.zadd(keys.homes('ours'), Date.now() + 60_000, second.id);
    await submit(second.api, { pool: 'ours', id: 'j', work: { $case: 'kind', value: 'echo' } });
    const refused = () => second.lines.some(({ err }) => /may not be dialed|ip: must be an IP literal/.test(String(err)));
    await until(refused, { what: 'it to be refused' });
    expect(await connections()).toBe(0);
    await Promise.all([first.stop(), second.stop()]);
  });
});
