import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ServerCredentials } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../../src/domain/clock.js';
import type { DialTarget, Link } from '../../../src/domain/link.js';
import { dialKeys } from '../../../src/lifecycle/dial-keys.js';
import type { GrpcDialer } from '../../../src/links/dialer.js';
import { type Contexts, type DialKeys, DialSecurity, dialContext } from '../../../src/links/security.js';
import { type Ca, createCa, type Pair } from '../../helpers/certs.js';
import { until } from '../../helpers/until.js';
import { atEnd, echo, SAY, unusedPort, worker } from './faults.js';
import { assignmentOf, dialer, type Handler, listen, Recorder, type Served, type Serving, serve, targetOf } from './support.js';

let ca: Ca;
let other: Ca;
let pair: Pair;

beforeAll(async () => {
  [ca, other] = await Promise.all([createCa('ours'), createCa('theirs')]);
  pair = await ca.issue(['muster:worker:w']);
});

/** A worker that shows that certificate; `clients`: whose certificates it asks for. */
async function tlsWorker(
  { cert, key }: Pair,
  { clients, handler = echo, host }: { clients?: Ca; handler?: Handler; host?: string } = {},
): Promise<Served> {
  const shown = [{ cert_chain: Buffer.from(cert), private_key: Buffer.from(key) }];
  const serving: Serving = {
    credentials: ServerCredentials.createSsl(clients ? Buffer.from(clients.cert) : null, shown, clients !== undefined),
    host,
  };
  const served = await serve({ [SAY]: handler }, 0, serving);
  atEnd(() => served.stop());
  return served;
}

function fixed(keys: Partial<DialKeys> = {}): Contexts {
  const context = dialContext({ ca: ca.cert, cert: '', key: '', ...keys });
  return { current: () => context };
}

function secured(contexts: Contexts | undefined = fixed(), plaintext: string[] = [], connectTimeoutMs = 2_000): GrpcDialer {
  return dialer({ security: new DialSecurity({ insecure: false, plaintext, contexts }), connectTimeoutMs, pingTimeoutMs: 2_000 });
}

function dial(port: number, from: GrpcDialer = secured(), target: Partial<DialTarget> = {}): { link: Link; events: Recorder } {
  const events = new Recorder();
  const link = from.dial({ ...targetOf('METHOD', port), ...target }, events);
  atEnd(() => link.close());
  return { link, events };
}

/** Why the probe failed. */
async function trouble(link: Link): Promise<{ kind: string; message: string }> {
  return link.probe(3_000).then(
    () => ({ kind: 'answered', message: '' }),
    (error: { kind: string; message: string }) => error,
  );
}

test.each([
  ['its IP', ['127.0.0.1']],
  ['its id', ['w']],
  ['its id as a URI', ['muster:worker:w']],
])('a worker that shows %s is probed and given jobs', async (_, names) => {
  const { port } = await tlsWorker(await ca.issue(names));
  const { link, events } = dial(port);
  expect(await link.probe(3_000)).toMatchObject({ busy: false });
  link.assign(assignmentOf());
  expect(await events.delivery()).toMatchObject({ kind: 'result', outcome: { ok: true, output: Buffer.from('hello') } });
});

test('a worker at an address of IPv6 shows that, or its id', async () => {
  const address = async (names: string[]) => ({ ip: '::1', port: (await tlsWorker(await ca.issue(names), { host: '[::1]' })).port });
  for (const names of [['::1'], ['muster:worker:w']])
    expect(await dial(0, secured(), { address: await address(names) }).link.probe(3_000)).toMatchObject({ busy: false });
  const { kind, message } = await trouble(dial(0, secured(), { address: await address(['fd00::1']) }).link);
  expect([kind, message]).toEqual([
    'untrusted',
    expect.stringMatching(/certificate of \[::1\]:\d+ has SANs IP Address:FD00.*wanted.*IP Address:::1/),
  ]);
});

describe('who cannot show that it is the worker', () => {
  const refused: [what: string, made: () => Promise<Pair>, said: RegExp][] = [
    [
      'another worker by DNS',
      () => ca.issue(['w2']),
      /certificate of 127\.0\.0\.1:\d+ has SANs DNS:w2, wanted URI:muster:worker:w, DNS:w or IP Address:127/,
    ],
    [
      'another worker by URI, at the same IP',
      () => ca.issue(['muster:worker:w2', '127.0.0.1']),
      /SANs URI:muster:worker:w2, IP Address:127\.0\.0\.1, wanted/,
    ],
    ['another IP', () => ca.issue(['127.0.0.2']), /SANs IP Address:127\.0\.0\.2, wanted/],
    ['one of another authority', () => other.issue(['muster:worker:w']), /is not trusted: .*DIAL_CA/],
    ['one that has expired', () => ca.issue(['muster:worker:w'], { days: -1 }), /is not trusted: certificate has expired/],
  ];
  test.each(refused)('as %s is told apart, hears of no job and is no sign of life', async (_, made, said) => {
    let calls = 0;
    const handler: Handler = (_call, done) => {
      calls++;
      done(null, Buffer.alloc(0));
    };
    const { port } = await tlsWorker(await made(), { handler });
    const { link, events } = dial(port);
    const { kind, message } = await trouble(link);
    expect([kind, message]).toEqual(['untrusted', expect.stringMatching(said)]);
    link.assign(assignmentOf());
    expect(await events.delivery()).toMatchObject({ kind: 'released', reason: expect.stringMatching(said), blocked: true });
    expect([calls, events.heardCount]).toEqual([0, 0]);
  });

  test('by speaking plaintext hears nothing more: there is no way back to plaintext', async () => {
    let calls = 0;
    const plain = await worker({
      [SAY]: (_call, done) => {
        calls++;
        done(null, Buffer.alloc(0));
      },
    });
    const { link, events } = dial(plain.port);
    const { kind, message } = await trouble(link);
    expect([kind, message]).toEqual(['untrusted', expect.stringMatching(/no TLS with 127\.0\.0\.1:\d+: .*DIAL_PLAINTEXT/)]);
    link.assign(assignmentOf());
    expect(await events.delivery()).toMatchObject({ kind: 'released' });
    expect(calls).toBe(0);
  });

  test('only after it was met, in the place of one who could, hears of no job either: calls have the same check', async () => {
    let calls = 0;
    const handler: Handler = (_call, done) => {
      calls++;
      done(null, Buffer.alloc(0));
    };
    const good = await tlsWorker(pair);
    const thief = await tlsWorker(await ca.issue(['muster:worker:thief']), { handler });
    const relay = await listen((socket, nth) => {
      const upstream = connect(nth === 1 ? good.port : thief.port, '127.0.0.1');
      upstream.on('error', () => undefined);
      socket.pipe(upstream).pipe(socket);
      socket.on('close', () => upstream.destroy());
    });
    atEnd(() => relay.stop());
    const { link, events } = dial(relay.port);
    const { kind, message } = await trouble(link);
    expect([kind, message]).toEqual(['untrusted', expect.stringContaining('SANs URI:muster:worker:thief')]);
    link.assign(assignmentOf());
    expect(await events.delivery()).toMatchObject({ kind: 'released' });
    expect([calls, events.heardCount]).toEqual([0, 0]);
  });

  test('by saying nothing is silent, and by not being there refused, as without TLS', async () => {
    const mute = await listen();
    atEnd(() => mute.stop());
    expect((await trouble(dial(mute.port, secured(fixed(), [], 200)).link)).kind).toBe('silent');
    expect((await trouble(dial(await unusedPort()).link)).kind).toBe('refused');
  });
});

test('a worker that serves TLS is not reached by plaintext, which is not "untrusted"', async () => {
  const { port } = await tlsWorker(pair);
  expect((await trouble(dial(port, secured(fixed(), ['127.0.0.0/8'])).link)).kind).toBe('refused');
});

test('what DIAL_PLAINTEXT names is dialed so, the rest is not', async () => {
  const plain = await worker({ [SAY]: echo });
  const { port } = await tlsWorker(pair);
  const from = secured(fixed(), [`127.0.0.1/32:${plain.port}`]);
  expect(await dial(plain.port, from).link.probe(3_000)).toMatchObject({ busy: false });
  expect(await dial(port, from).link.probe(3_000)).toMatchObject({ busy: false });
});

describe('a worker that asks for the certificate of a replica', () => {
  test('is shown it', async () => {
    const { port } = await tlsWorker(pair, { clients: other });
    const { link, events } = dial(port, secured(fixed(await other.issue(['replica']))));
    expect(await link.probe(3_000)).toMatchObject({ busy: false });
    link.assign(assignmentOf());
    expect(await events.delivery()).toMatchObject({ kind: 'result', outcome: { ok: true } });
  });

  test.each([
    ['none', async () => fixed()],
    ['one of another authority', async () => fixed(await ca.issue(['replica']))],
  ])('is not reached with %s, and DIAL_CERT is named', async (_, contexts) => {
    const { port } = await tlsWorker(pair, { clients: other });
    const { kind, message } = await trouble(dial(port, secured(await contexts())).link);
    expect(['refused', 'untrusted']).toContain(kind);
    expect(message).toContain('DIAL_CERT');
  });
});

describe('when DIAL_CA is replaced', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'dial-'));
  });
  afterAll(() => rm(folder, { recursive: true }));

  /** As an operator does it who is careful: whole, and at once. */
  async function write(name: string, text: string): Promise<string> {
    const path = join(folder, name);
    await writeFile(`${path}.new`, text);
    await rename(`${path}.new`, path);
    return path;
  }

  /** Looked at all the time. */
  async function watched(path: string, onError: (error: Error) => void): Promise<Contexts | undefined> {
    const config = { DIAL_CA: path, DIAL_CERT: '', DIAL_KEY: '', DIAL_RELOAD_MS: 5, TLS_ROLES: [] };
    const keys = dialKeys(config, systemClock, (error) => onError(error as Error));
    await keys?.open();
    atEnd(() => keys?.stop());
    return keys;
  }

  test('workers of the new authority are trusted, those of the old one no more; what runs goes on to its end', async () => {
    const path = await write('ca.pem', ca.cert);
    const errors: unknown[] = [];
    const from = secured(await watched(path, (error) => errors.push(error)));
    const calls: (() => void)[] = [];
    const slow: Handler = (call, done) => void calls.push(() => done(null, call.request));
    const old = dial((await tlsWorker(pair, { handler: slow })).port, from);
    const young = dial((await tlsWorker(await other.issue(['muster:worker:w']))).port, from);
    expect((await trouble(young.link)).kind).toBe('untrusted');
    old.link.assign(assignmentOf());
    await until(() => calls.length === 1);

    await write('ca.pem', `${ca.cert}\n${other.cert}`);
    await until(async () => (await trouble(young.link)).kind === 'answered', { what: 'the new authority to be trusted' });
    expect(await trouble(old.link)).toMatchObject({ kind: 'answered' });

    await write('ca.pem', other.cert);
    await until(async () => (await trouble(old.link)).kind === 'untrusted', { what: 'the old authority to be trusted no more' });
    expect(await trouble(young.link)).toMatchObject({ kind: 'answered' });
    calls[0]?.();
    expect(await old.events.delivery()).toMatchObject({ kind: 'result', outcome: { ok: true } });
    expect(errors).toEqual([]);
  });

  test('by what is no certificate, the old one stays in use and that is told', async () => {
    const path = await write('ca2.pem', ca.cert);
    const errors: string[] = [];
    const from = secured(await watched(path, ({ message }) => errors.push(message)));
    const { link } = dial((await tlsWorker(pair)).port, from);
    await write('ca2.pem', ca.cert.slice(0, 200));
    await until(async () => (await trouble(link)).kind === 'answered' && errors.length > 0);
    expect(errors).toEqual([expect.stringMatching(/stay as they were: DIAL_CA: holds no whole certificate/)]);
    expect(await trouble(link)).toMatchObject({ kind: 'answered' });
  });
});

test('a worker that may not be dialed any more gets no further connection', async () => {
  let allowed = true;
  const policy = {
    recheck: () => {
      if (!allowed) throw new Error('not there any more');
    },
  };
  const peer = await listen((socket) => socket.destroy());
  atEnd(() => peer.stop());
  let accepted = 0;
  peer.server.on('connection', () => accepted++);
  const { link, events } = dial(peer.port, dialer({ policy }));
  await trouble(link);
  const before = accepted;
  expect(before).toBeGreaterThan(0);
  allowed = false;
  expect(await trouble(link)).toMatchObject({ kind: 'silent', message: 'not there any more' });
  link.assign(assignmentOf());
  expect(await events.delivery()).toMatchObject({ kind: 'released', reason: expect.stringContaining('not there any more') });
  // Whoever was accepted after those two was so before this one.
  const last = await listen();
  atEnd(() => last.stop());
  await trouble(dial(last.port, dialer()).link);
  expect(accepted).toBe(before);
});
