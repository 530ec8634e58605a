import { type Metadata, ServerCredentials, type ServerDuplexStream, status } from '@grpc/grpc-js';
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type Api, type ConnectOptions, connect } from '../../../src/sdk/connect.js';
import { ApiError, Client, startRunner, Unauthenticated, Worker } from '../../../src/sdk/index.js';
import { startLegacyWorker } from '../../../src/sdk/legacy-worker.js';
import { isLoopback } from '../../../src/sdk/target.js';
import { type Ca, createCa, type Pair } from '../../helpers/certs.js';
import { until } from '../../helpers/until.js';
import { type Answers, job, type Replica, startReplica } from './replica.js';

const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

let ca: Ca;
let other: Ca;
let server: Pair;
beforeAll(async () => {
  [ca, other] = await Promise.all([createCa('ours'), createCa('theirs')]);
  server = await ca.issue(['127.0.0.1', 'replicas.example']);
});

async function serve(answers: Answers, pair?: Pair, clients?: Ca): Promise<Replica> {
  const shown = pair && [{ cert_chain: Buffer.from(pair.cert), private_key: Buffer.from(pair.key) }];
  const credentials = shown && ServerCredentials.createSsl(clients ? Buffer.from(clients.cert) : null, shown, clients !== undefined);
  const replica = await startReplica(answers, 0, credentials);
  ends.push(() => replica.kill());
  return replica;
}

function api(target: string, options: ConnectOptions = {}): Api {
  const made = connect(target, options);
  ends.push(() => made.close());
  return made;
}

async function refusal(call: Promise<unknown>): Promise<ApiError> {
  const error = await call.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (error instanceof ApiError) return error;
  throw new Error(`no refusal: ${String(error)}`);
}

/** Notes what each call brings along. */
function noting(tokens: unknown[]): Answers {
  const note = ({ metadata }: { metadata: Metadata }) => tokens.push(metadata.get('authorization')[0]);
  return {
    ping: (call, callback) => {
      note(call);
      callback(null, { healthy: true, reason: '' });
    },
    watchEvents: (call) => {
      note(call);
      call.end();
    },
    attach: (call) => void note(call),
    session: (call) => {
      note(call);
      call.write({
        frame: { $case: 'opened', value: { replica: 'r', window: 8, maxPayloadBytes: 0, maxFrameBytes: 0, heartbeatInterval: undefined } },
      });
      call.on('end', () => call.end());
    },
  };
}

const PING = { id: 'w', pool: 'p', boot: 'b' };

describe('by TLS', () => {
  test.each<[string, () => ConnectOptions]>([
    ['the authority', () => ({ tls: { ca: ca.cert } })],
    ['the authority, as bytes', () => ({ tls: { ca: Buffer.from(ca.cert) } })],
    ['the authority, and a name', () => ({ tls: { ca: ca.cert, serverName: 'replicas.example' } })],
    ['an authority among others', () => ({ tls: { ca: `${other.cert}\n${ca.cert}` } })],
  ])('calls are answered with %s', async (_, options) => {
    const { target } = await serve(noting([]), server);
    expect(await api(target, options()).ping(PING)).toMatchObject({ healthy: true });
  });

  test.each<[string, () => ConnectOptions]>([
    ['another authority', () => ({ tls: { ca: other.cert } })],
    ['only the authorities of Node', () => ({ tls: true })],
    ['another IP', () => ({ tls: { ca: ca.cert, serverName: '127.0.0.2' } })],
    ['another name', () => ({ tls: { ca: ca.cert, serverName: 'elsewhere.example' } })],
    ['plaintext', () => ({})],
  ])('nothing is told with %s, and the token stays here', async (_, options) => {
    const tokens: unknown[] = [];
    const { target } = await serve(noting(tokens), server);
    const error = await refusal(api(target, { ...options(), token: 't' }).ping(PING, { deadlineMs: 5_000 }));
    expect(error.codeName).toBe('UNAVAILABLE');
    expect(tokens).toEqual([]);
  });

  test('a certificate that has expired is not taken', async () => {
    const { target } = await serve(noting([]), await ca.issue(['127.0.0.1'], { days: -1 }));
    expect((await refusal(api(target, { tls: { ca: ca.cert } }).ping(PING))).message).toContain('expired');
  });

  test('the own certificate is shown to replicas that ask for one', async () => {
    const { target } = await serve(noting([]), server, other);
    const { cert, key } = await other.issue(['muster:client:me']);
    expect(await api(target, { tls: { ca: ca.cert, cert, key } }).ping(PING)).toMatchObject({ healthy: true });
    expect((await refusal(api(target, { tls: { ca: ca.cert } }).ping(PING, { deadlineMs: 3_000 }))).broken).toBe(true);
  });
});

describe('a token', () => {
  test.each([true, false])('goes along with every call and every stream, and is asked for each time (TLS: %s)', async (secured) => {
    const tokens: unknown[] = [];
    const { target } = await serve(noting(tokens), secured ? server : undefined);
    let asked = 0;
    const access = { target, tls: secured ? { ca: ca.cert } : false, token: () => (++asked % 2 === 0 ? `t${asked}` : Promise.resolve(`t${asked}`)) };
    const calls = api(target, access);
    await calls.ping(PING);
    await calls.ping(PING);
    for await (const _ of calls.watchEvents({ pool: 'p', after: '', within: undefined }));
    const client = new Client(access);
    ends.push(() => client.close());
    client.submit('k', {}).catch(() => undefined);
    await until(() => tokens.length === 4);
    const worker = new Worker({ ...access, pool: 'p', id: 'w' }).handle('k', () => 1);
    ends.push(() => worker.stop({ graceMs: 0 }));
    void worker.start({ signals: false });
    await until(() => tokens.length === 5);
    expect(tokens).toEqual(['Bearer t1', 'Bearer t2', 'Bearer t3', 'Bearer t4', 'Bearer t5']);
  });

  test('that was changed is taken up by the next stream of a worker', async () => {
    const streams: ServerDuplexStream<unknown, unknown>[] = [];
    const { target } = await serve({ attach: (call) => void streams.push(call) });
    let token = 'old';
    const worker = new Worker({ target, token: () => token, pool: 'p', id: 'w' }).handle('k', () => 1).on('error', () => undefined);
    ends.push(() => worker.stop({ graceMs: 0 }));
    void worker.start({ signals: false });
    await until(() => streams.length === 1);
    token = 'new';
    streams[0]?.emit('error', { code: status.UNAVAILABLE, details: 'gone' });
    await until(() => streams.length === 2);
    expect(streams.map(({ metadata }) => metadata.get('authorization')[0])).toEqual(['Bearer old', 'Bearer new']);
  });

  test('whose source fails is a call that broke; one that brings none in time keeps nobody longer than the call may take', async () => {
    const { target } = await serve(noting([]));
    const failing = () => {
      throw new Error('the vault is sealed');
    };
    const error = await refusal(api(target, { token: failing }).ping(PING));
    expect(error).toMatchObject({ codeName: 'UNAVAILABLE', reason: 'TOKEN_SOURCE', message: 'token: the vault is sealed', broken: true });
    const never = api(target, { token: () => new Promise(() => undefined) });
    expect(await refusal(never.ping(PING, { deadlineMs: 40 }))).toMatchObject({ reason: 'TOKEN_SOURCE', message: 'token: none came within 40 ms' });
  });

  test('that is none is not sent, and not told', async () => {
    const tokens: unknown[] = [];
    const { target } = await serve(noting(tokens));
    for (const bad of ['', 'se cret', 'secret\n', 'sécret', 'secret\r\nx: y']) {
      expect(() => connect(target, { token: bad })).toThrow(TypeError);
      const error = await refusal(api(target, { token: () => bad }).ping(PING));
      expect(error).toBeInstanceOf(Unauthenticated);
      expect(`${error.message} ${String(error.stack)}`).not.toMatch(/s[eé] ?cret/);
    }
    expect(tokens).toEqual([]);
  });

  test('of a call that was ended meanwhile is not sent', async () => {
    const tokens: unknown[] = [];
    const { target } = await serve(noting(tokens));
    let bring = (_token: string) => {};
    const calls = api(target, {
      token: () =>
        new Promise((resolve) => {
          bring = resolve;
        }),
    });
    const over = new AbortController();
    const first = refusal(calls.ping(PING, { signal: over.signal }));
    over.abort();
    bring('t');
    expect((await first).codeName).toBe('CANCELLED');
    const second = refusal(calls.ping(PING));
    calls.close();
    bring('t');
    expect((await second).reason).toBe('CLOSED');
    expect(tokens).toEqual([]);
  });

  test('goes by plaintext to this machine alone, unless the way is said to be trusted', async () => {
    const target = 'replicas.example:50051';
    const makers: ((options: ConnectOptions) => unknown)[] = [
      (options) => api(target, options),
      (options) => new Client({ target, ...options }).close(),
      (options) => new Worker({ target, ...options }),
    ];
    for (const make of makers) {
      expect(() => make({ token: 't' })).toThrow(/token: would go to replicas\.example:50051 by plaintext.*set tls, or allowPlaintextToken/);
      for (const more of [{ tls: true }, { allowPlaintextToken: true }]) expect(() => make({ token: 't', ...more })).not.toThrow();
    }
    const ip = '127.0.0.1';
    await expect(startRunner({ target, token: 't', id: 'w', pool: 'p', ip, handlers: {} })).rejects.toThrow('allowPlaintextToken');
    await expect(startLegacyWorker({ target, token: 't', id: 'w', ip, run: async () => '' })).rejects.toThrow('allowPlaintextToken');
  });
});

test.each([
  ['127.0.0.1:1', true],
  ['127.9.9.9:1', true],
  ['localhost:1', true],
  ['[::1]:1', true],
  ['ipv4:127.0.0.1:1,127.0.0.2:2', true],
  ['ipv6:[::1]:1,[0:0:0:0:0:0:0:1]:2', true],
  ['dns:///localhost:1', true],
  ['dns:localhost:1', true],
  ['unix:/run/muster', true],
  ['10.0.0.1:1', false],
  ['ipv4:127.0.0.1:1,10.0.0.1:2', false],
  ['ipv6:[::2]:1', false],
  ['[fd00::1]:1', false],
  ['dns://10.0.0.1/localhost:1', false],
  ['dns:///localhost.example:1', false],
  ['127.0.0.1.example:1', false],
  ['127.1:1', false],
  ['xlocalhost:1', false],
])('%s stays on this machine: %s', (target, expected) => {
  expect(isLoopback(target)).toBe(expected);
});

describe('options that cannot be used', () => {
  test.each<[string, () => ConnectOptions, string]>([
    ['a certificate without its key', () => ({ tls: { cert: server.cert } }), 'tls.key: is missing'],
    ['a key without its certificate', () => ({ tls: { key: server.key } }), 'tls.cert: is missing'],
    ['an authority that is none', () => ({ tls: { ca: 'nonsense' } }), 'tls.ca: holds no whole certificate'],
    ['a certificate that is none', () => ({ tls: { cert: server.key, key: server.key } }), 'tls.cert: holds no whole certificate'],
  ])('are named: %s', (_, options, said) => {
    expect(() => connect('127.0.0.1:1', options())).toThrow(TypeError);
    expect(() => connect('127.0.0.1:1', options())).toThrow(said);
  });

  test('are named: a key of another certificate, for both directions', async () => {
    const { key } = await ca.issue(['x']);
    expect(() => connect('127.0.0.1:1', { tls: { cert: server.cert, key } })).toThrow('tls.key: does not go with tls.cert');
    const options = { target: '127.0.0.1:1', id: 'w', pool: 'p', ip: '127.0.0.1', handlers: {} };
    await expect(startRunner({ ...options, serverTls: { cert: server.cert, key } })).rejects.toThrow(
      'serverTls.key: does not go with serverTls.cert',
    );
    await expect(startRunner({ ...options, serverTls: { ...server, clientCa: '' } })).rejects.toThrow('serverTls.clientCa: holds no whole');
  });
});

test('a client with a token over TLS gets its job', async () => {
  const tokens: unknown[] = [];
  const { target } = await serve(
    {
      getJob: (call, callback) => {
        tokens.push(call.metadata.get('authorization')[0]);
        callback(null, { job: job({ spec: { pool: 'p', id: 'j' } }) });
      },
    },
    server,
  );
  const client = new Client({ target, tls: { ca: ca.cert }, token: 'mst_x' });
  ends.push(() => client.close());
  expect(await client.get('j', 'p')).toMatchObject({ id: 'j' });
  expect(tokens).toEqual(['Bearer mst_x']);
});
