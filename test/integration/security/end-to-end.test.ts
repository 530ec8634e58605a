import { beforeAll, expect, test } from 'vitest';
import type { EmbeddedRedis } from '../../../src/lifecycle/embedded-redis.js';
import { Client, PermissionDenied, startRunner, Unauthenticated, Worker } from '../../../src/sdk/index.js';
import { type Ca, createCa } from '../../helpers/certs.js';
import { ownRedis } from '../../helpers/redis.js';
import { type Secured, startSecured, testFile, token } from '../../helpers/secured.js';
import { until } from '../../helpers/until.js';
import { muster } from '../../unit/cli/harness.js';

/** Clients, workers and the command line as they come, against a replica that asks for everything. */
let redis: EmbeddedRedis;
let workers: Ca;
let replica: Secured;
const client = token('client', 'shop');
const worker = token('worker', 'fleet');
const admin = token('admin', 'ops');

beforeAll(async () => {
  redis = await ownRedis();
  workers = await createCa('workers');
  replica = await startSecured(redis.url, {
    tokens: [client.line, worker.line, admin.line],
    clientCa: workers,
    settings: { DIAL_CA: testFile('ca.pem', workers.cert).path, DIAL_ALLOW: '127.0.0.0/8' },
  });
});

const way = (secret?: string) => ({ target: replica.target, tls: { ca: replica.ca.cert }, token: secret });

test('jobs go from a client with a token to attached and dialed workers, with a token or a certificate', async () => {
  await using shop = new Client(way(client.secret));
  const own = await workers.issue(['muster:worker:w2', '127.0.0.1']);
  await using attached = new Worker({ ...way(worker.secret), pool: 'attached', id: 'w1' }).handle('double', (n: number) => 2 * n);
  await attached.start({ signals: false });
  const dialed = await startRunner({
    ...{ target: replica.target, tls: { ca: replica.ca.cert, ...own }, serverTls: own, id: 'w2', pool: 'dialed', ip: '127.0.0.1' },
    handlers: { double: async ({ payload }) => Buffer.from(String(2 * Number(payload.toString()))) },
  });
  try {
    expect(await dialed.registered).toBe(true);
    for (const pool of ['attached', 'dialed']) expect(await shop.run('double', 21, { pool })).toBe(42);
  } finally {
    await dialed.stop();
  }
});

test('who has no token, a wrong one, or one of another role is told so by a type, a client and a worker at once', async () => {
  for (const [secret, kind] of [
    [undefined, Unauthenticated],
    ['mst_wrong', Unauthenticated],
    [worker.secret, PermissionDenied],
  ] as const) {
    await using shop = new Client(way(secret));
    await expect(shop.run('double', 1)).rejects.toBeInstanceOf(kind);
    await expect(shop.get('j')).rejects.toBeInstanceOf(kind);
  }
  const errors: Error[] = [];
  await using refused = new Worker({ ...way(client.secret), id: 'w3', slowRetryMs: 10 })
    .handle('k', () => 1)
    .on('error', (error) => errors.push(error));
  await expect(refused.start({ signals: false })).rejects.toBeInstanceOf(PermissionDenied);
  expect(errors).toEqual([]);
});

test('a token that was replaced in both files is taken up', async () => {
  const next = token('client', 'shop');
  let secret = client.secret;
  await using shop = new Client({ ...way(), token: () => secret });
  await expect(shop.get('j')).rejects.toMatchObject({ codeName: 'NOT_FOUND' });
  replica.files.tokens.write([next.line, worker.line, admin.line].join('\n'));
  await until(async () => (await shop.get('j').catch((error: unknown) => error)) instanceof Unauthenticated);
  secret = next.secret;
  await expect(shop.get('j')).rejects.toMatchObject({ codeName: 'NOT_FOUND' });
});

test('the command line', async () => {
  const env = { MUSTER_TARGET: replica.target, MUSTER_CLIENT_TLS_CA: testFile('ca.crt', replica.ca.cert).path };
  const asAdmin = { ...env, MUSTER_CLIENT_TOKEN_FILE: testFile('admin', `${admin.secret}\n`).path };
  expect(await muster(['get', 'pools', '-o', 'json'], { env: asAdmin })).toMatchObject({ code: 0 });
  const nobody = await muster(['get', 'pools'], { env });
  expect([nobody.code, nobody.story]).toEqual([1, expect.stringContaining('--token-file FILE is missing')]);
  const asWorker = { ...env, MUSTER_CLIENT_TOKEN_FILE: testFile('worker', worker.secret).path };
  const denied = await muster(['get', 'pools'], { env: asWorker });
  expect([denied.code, denied.story]).toEqual([1, expect.stringContaining('use another --token-file')]);
});
