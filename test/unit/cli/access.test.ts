import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Server, ServerCredentials, status } from '@grpc/grpc-js';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { readConfig } from '../../../src/config.js';
import { type Ca, createCa, type Pair } from '../../helpers/certs.js';
import { until } from '../../helpers/until.js';
import { type Answers, answer, Refused, type Replica, startReplica } from '../sdk/replica.js';
import { muster } from './harness.js';

const folder = mkdtempSync(join(tmpdir(), 'cli-access-'));
const at = (name: string) => join(folder, name);
afterAll(() => rmSync(folder, { recursive: true }));

const ends: (() => unknown)[] = [];
afterEach(() => {
  for (const end of ends.splice(0)) end();
});

let ca: Ca;
let server: Pair;
beforeAll(async () => {
  ca = await createCa('ours');
  server = await ca.issue(['127.0.0.1', 'replicas.example']);
  const own = await ca.issue(['muster:client:me']);
  const files = { ca: ca.cert, other: (await createCa('theirs')).cert, cert: own.cert, key: own.key, token: 'mst_one\n', empty: '\n', words: 'a b' };
  for (const [name, text] of Object.entries(files)) writeFileSync(at(name), text);
});

/** Serves TLS; `asks`: for a certificate, too. */
async function serve(answers: Answers, { plain = false, asks = false } = {}): Promise<Replica> {
  const pair = { cert_chain: Buffer.from(server.cert), private_key: Buffer.from(server.key) };
  const replica = await startReplica(answers, 0, plain ? undefined : ServerCredentials.createSsl(Buffer.from(ca.cert), [pair], asks));
  ends.push(() => replica.kill());
  return replica;
}

/** Notes the token of each call. */
function pools(tokens: unknown[] = []): Answers {
  return {
    listPools: (call, callback) => {
      tokens.push(call.metadata.get('authorization')[0]);
      callback(null, { pools: [] });
    },
  };
}

describe('a replica that serves TLS', () => {
  test.each<[string, () => string[], Record<string, () => string>]>([
    ['--tls-ca', () => ['--tls-ca', at('ca')], {}],
    ['MUSTER_CLIENT_TLS_CA', () => [], { MUSTER_CLIENT_TLS_CA: () => at('ca') }],
    ['--tls-ca and --tls-server-name', () => ['--tls-ca', at('ca'), '--tls-server-name', 'replicas.example'], {}],
    ['a flag over the environment', () => ['--tls-ca', at('ca')], { MUSTER_CLIENT_TLS_CA: () => at('other') }],
  ])('answers with %s', async (_, flags, env) => {
    const { target } = await serve(pools());
    const environment = Object.fromEntries(Object.entries(env).map(([name, value]) => [name, value()]));
    const ran = await muster(['get', 'pools', '-o', 'json', '--target', target, ...flags()], { env: environment });
    expect([ran.code, ran.story]).toEqual([0, '']);
    expect(ran.json()).toEqual({ pools: [], more: false });
  });

  test('and asks for a certificate, is shown it', async () => {
    const { target } = await serve(pools(), { asks: true });
    const ran = await muster(['get', 'pools', '--target', target, '--tls-ca', at('ca'), '--tls-cert', at('cert'), '--tls-key', at('key')]);
    expect([ran.code, ran.story]).toEqual([0, 'no pools']);
    const env = { MUSTER_TARGET: target, MUSTER_CLIENT_TLS_CA: at('ca'), MUSTER_CLIENT_TLS_CERT: at('cert'), MUSTER_CLIENT_TLS_KEY: at('key') };
    expect((await muster(['get', 'pools'], { env })).code).toBe(0);
  });

  test.each<[string, () => string[], string]>([
    ['without a word of TLS', () => [], '--tls-ca FILE'],
    ['with another authority', () => ['--tls-ca', at('other')], '--tls-ca names the authority'],
    ['with the authorities of Node', () => ['--tls'], '--tls-ca names the authority'],
    ['under another name', () => ['--tls-ca', at('ca'), '--tls-server-name', 'elsewhere.example'], '--tls-server-name the name'],
  ])('is not reached %s, and the flag is named', async (_, flags, said) => {
    const { target } = await serve(pools());
    const ran = await muster(['get', 'pools', '--timeout', '800ms', '--target', target, ...flags()]);
    expect([ran.code, ran.story]).toEqual([3, expect.stringContaining(said)]);
  });
});

describe('--token-file', () => {
  test('goes along, without its end of line; from the environment, too', async () => {
    const tokens: unknown[] = [];
    const { target } = await serve(pools(tokens));
    await muster(['get', 'pools', '--target', target, '--tls-ca', at('ca'), '--token-file', at('token')]);
    await muster(['get', 'pools'], { env: { MUSTER_TARGET: target, MUSTER_CLIENT_TLS_CA: at('ca'), MUSTER_CLIENT_TOKEN_FILE: at('token') } });
    expect(tokens).toEqual(['Bearer mst_one', 'Bearer mst_one']);
  });

  test('goes by plaintext to this machine', async () => {
    const tokens: unknown[] = [];
    const { target } = await serve(pools(tokens), { plain: true });
    await muster(['get', 'pools', '--target', target, '--token-file', at('token')]);
    expect(tokens).toEqual(['Bearer mst_one']);
  });

  test('whose token the replicas do not know, or do not allow it, is named; without one, the flag that is missing', async () => {
    const refuse = (code: number) => ({
      listPools: answer((): never => {
        throw new Refused(code, 'WHY', 'not you');
      }),
    });
    const unknown = await serve(refuse(status.UNAUTHENTICATED), { plain: true });
    const without = await muster(['get', 'pools', '--target', unknown.target]);
    expect([without.code, without.story]).toEqual([
      1,
      'muster: refused: not you (UNAUTHENTICATED, WHY). Say who asks: --token-file FILE is missing, or --tls-cert FILE and --tls-key FILE.',
    ]);
    const wrong = await muster(['get', 'pools', '--target', unknown.target, '--token-file', at('token')]);
    expect([wrong.code, wrong.story]).toEqual([1, expect.stringContaining('Is the token (--token-file) one that the replicas know?')]);
    const { target } = await serve(refuse(status.PERMISSION_DENIED), { plain: true });
    const denied = await muster(['get', 'pools', '--target', target, '--token-file', at('token')]);
    expect([denied.code, denied.story]).toEqual([1, expect.stringMatching(/refused: not you \(PERMISSION_DENIED, WHY\)\. .*--token-file/)]);
  });
});

const FAR = ['--target', 'replicas.example:1'];

describe.each([
  ['get', ['get', 'pools']],
  ['sidecar', ['sidecar', '--upstream', '127.0.0.1:1']],
])('what is missing or wrong for %s is a usage error that names the flag', (_, command) => {
  test.each<[string[], string]>([
    [['--tls-cert', 'cert'], '--tls-key: is missing'],
    [['--tls-key', 'key'], '--tls-cert: is missing'],
    [['--tls-ca', 'nowhere'], '--tls-ca'],
    [['--tls-ca', 'key'], '--tls-ca: holds no whole certificate'],
    [['--tls-cert', 'ca', '--tls-key', 'key'], '--tls-key: does not go with --tls-cert'],
    [['--token-file', 'nowhere'], 'no such file'],
    [['--token-file', 'empty'], 'holds no token'],
    [['--token-file', 'words'], 'holds no token'],
    [[...FAR, '--token-file', 'token'], 'Add --tls or --tls-ca FILE; or --allow-plaintext-token'],
  ])('%j', async (flags, said) => {
    const paths = flags.map((flag) => (/^-|:/.test(flag) ? flag : at(flag)));
    const ran = await muster([...command, ...paths]);
    expect([ran.code, ran.text, ran.story]).toEqual([2, '', expect.stringContaining(said)]);
    expect(ran.story).not.toContain('mst_');
  });
});

test('a sidecar attaches by TLS, with the token as it stands then', async () => {
  const upstream = new Server();
  const port = await new Promise<number>((resolve, reject) => {
    upstream.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) => (error === null ? resolve(bound) : reject(error)));
  });
  ends.push(() => upstream.forceShutdown());
  const tokens: unknown[] = [];
  const { target } = await serve({
    attach: (call) => {
      tokens.push(call.metadata.get('authorization')[0]);
      // The second one is let be.
      if (tokens.length === 1) {
        writeFileSync(at('rotated'), 'mst_two');
        call.emit('error', { code: status.UNAVAILABLE, details: 'gone' });
      }
    },
  });
  writeFileSync(at('rotated'), 'mst_one');
  let interrupt = () => {};
  const flags = ['--target', target, '--tls-ca', at('ca'), '--token-file', at('rotated')];
  const running = muster(['sidecar', '--pool', 'p', '--upstream', `127.0.0.1:${port}`, ...flags], {
    onStart: (stop) => {
      interrupt = stop;
    },
  });
  await until(() => tokens.length === 2);
  interrupt();
  interrupt();
  await running;
  expect(tokens).toEqual(['Bearer mst_one', 'Bearer mst_two']);
});

test('the names of the environment are none of a replica', () => {
  const names = ['TLS', 'TLS_CA', 'TLS_CERT', 'TLS_KEY', 'TLS_SERVER_NAME', 'TOKEN_FILE'].map((name) => `MUSTER_CLIENT_${name}`);
  expect(() => readConfig(Object.fromEntries(names.map((name) => [name, 'x'])))).not.toThrow();
});
