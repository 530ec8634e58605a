import { connect } from 'node:net';
import { type TLSSocket, connect as tlsConnect } from 'node:tls';
import { type ChannelCredentials, credentials } from '@grpc/grpc-js';
import { beforeAll, describe, expect, test } from 'vitest';
import type { EmbeddedRedis } from '../../../src/lifecycle/embedded-redis.js';
import { ApiError } from '../../../src/sdk/api-error.js';
import { jobSpec } from '../../../src/sdk/run.js';
import { type Ca, createCa } from '../../helpers/certs.js';
import { ownRedis } from '../../helpers/redis.js';
import { over, type Secured, startSecured, token } from '../../helpers/secured.js';
import { until } from '../../helpers/until.js';

let redis: EmbeddedRedis;
let clients: Ca;
let strangers: Ca;

beforeAll(async () => {
  redis = await ownRedis();
  clients = await createCa('clients');
  strangers = await createCa('strangers');
});

/** What a call for admins comes to: '' when it was answered, or the reason. */
async function outcome(replica: Secured, creds: ChannelCredentials): Promise<string> {
  const api = replica.api(creds);
  try {
    await api.listPools({}, { deadlineMs: 5_000 });
    return '';
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    return error.reason || error.codeName;
  } finally {
    api.close();
  }
}

function handshake(target: string, options: object): Promise<string> {
  const [host, port] = target.split(':');
  return new Promise((resolve) => {
    const socket: TLSSocket = tlsConnect({ host, port: Number(port), ALPNProtocols: ['h2'], rejectUnauthorized: false, ...options }, () => {
      resolve(socket.getProtocol() ?? '');
      socket.destroy();
    });
    socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
  });
}

describe('certificates', () => {
  let replica: Secured;
  const admin = token('admin', 'ops');

  beforeAll(async () => {
    replica = await startSecured(redis.url, {
      tokens: [admin.line],
      clientCa: clients,
      settings: { TLS_ROLES: 'admin=URI:spiffe://prod/ns/ops/*,worker=URI:muster:worker:*,admin=DNS:*.ops.example' },
    });
  });

  const SANS: [sans: string[], reason: string][] = [
    [['spiffe://prod/ns/ops/alice'], ''],
    [['a.ops.example'], ''],
    [['A.OPS.Example'], ''],
    [['unknown.example', 'spiffe://prod/ns/ops/alice'], ''],
    [['muster:worker:w1'], 'ROLE_REFUSED'],
    // The first of TLS_ROLES that fits decides, not the first SAN.
    [['muster:worker:w1', 'spiffe://prod/ns/ops/alice'], ''],
    [['a.ops.example', 'muster:worker:w1'], 'ROLE_REFUSED'],
    [['spiffe://prod/ns/ops/alice/more'], 'NO_ROLE'],
    [['spiffe://prod/ns/ops/'], 'NO_ROLE'],
    [['spiffe://evil/spiffe://prod/ns/ops/alice'], 'NO_ROLE'],
    [['a.b.ops.example'], 'NO_ROLE'],
    [['ops.example'], 'NO_ROLE'],
    [['a.ops.example.evil.example'], 'NO_ROLE'],
    [['10.0.0.1'], 'NO_ROLE'],
    // Not two names: one, with a comma.
    [['muster:x:y, URI:spiffe://prod/ns/ops/alice'], 'NO_ROLE'],
  ];
  test.each(SANS)('%j', async (sans, reason) => {
    expect(await outcome(replica, over(replica.ca, { pair: await clients.issue(sans) }))).toBe(reason);
  });

  test('of another authority, or expired: as if there were none; a token counts beside it', async () => {
    const sans = ['spiffe://prod/ns/ops/alice'];
    const forged = await strangers.issue(sans);
    const expired = await clients.issue(sans, { days: -1 });
    for (const pair of [forged, expired]) {
      expect(await outcome(replica, over(replica.ca, { pair }))).toBe('NO_CREDENTIALS');
      expect(await outcome(replica, over(replica.ca, { pair, secret: admin.secret }))).toBe('');
    }
  });

  test('none: a token is enough, and nothing is not', async () => {
    expect(await outcome(replica, over(replica.ca, { secret: admin.secret }))).toBe('');
    expect(await outcome(replica, over(replica.ca))).toBe('NO_CREDENTIALS');
  });

  test('a good one does not save a bad token: what is said is what counts', async () => {
    const pair = await clients.issue(['spiffe://prod/ns/ops/alice']);
    expect(await outcome(replica, over(replica.ca, { pair, secret: 'mst_wrong' }))).toBe('BAD_TOKEN');
  });

  test("the replica's own is that of its authority: a client that trusts another does not speak to it", async () => {
    expect(await outcome(replica, over(strangers, { secret: admin.secret }))).toBe('UNAVAILABLE');
  });

  test('plaintext is not spoken', async () => {
    expect(await outcome(replica, credentials.createInsecure())).toBe('UNAVAILABLE');
  });

  test('TLS 1.2 and 1.3 are spoken, older is not, before a reload and after', async () => {
    const all = async () => [
      await handshake(replica.target, { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT:@SECLEVEL=0' }),
      await handshake(replica.target, { maxVersion: 'TLSv1.2' }),
      await handshake(replica.target, { minVersion: 'TLSv1.3' }),
    ];
    const spoken = [expect.stringMatching(/^(ERR_SSL|ECONNRESET)/), 'TLSv1.2', 'TLSv1.3'];
    expect(await all()).toEqual(spoken);
    const { cert, key } = await replica.ca.issue(['127.0.0.1']);
    replica.files.key.write(key);
    replica.files.cert.write(cert);
    await until(() => replica.lines.some((line) => line.includes('the certificates were read again')));
    expect(await all()).toEqual(spoken);
  });
});

describe('read again', () => {
  test('certificate and key: new connections see the new one, open streams go on; half of a pair changes nothing', async () => {
    const admin = token('admin', 'ops');
    const replica = await startSecured(redis.url, { tokens: [admin.line] });
    const creds = over(replica.ca, { secret: admin.secret });
    const before = replica.api(creds);
    await before.submitJob({ spec: jobSpec({ pool: 'p', work: { $case: 'kind', value: 'echo' } }) });
    const watching = new AbortController();
    const events: string[] = [];
    const watched = (async () => {
      for await (const { kind } of before.watchEvents({ pool: 'p', after: '', within: undefined }, { signal: watching.signal })) events.push(kind);
    })().catch(() => undefined);
    const next = await createCa('next');
    const pair = await next.issue(['127.0.0.1']);
    replica.files.cert.write(pair.cert);
    await until(() => replica.lines.some((line) => line.includes('the certificates stay as they were') && line.includes('key values mismatch')));
    expect(await outcome(replica, creds)).toBe('');
    replica.files.key.write(pair.key);
    await until(async () => (await outcome(replica, over(next, { secret: admin.secret }))) === '');
    expect(await outcome(replica, creds)).toBe('UNAVAILABLE');
    await until(async () => {
      await before.pausePool({ pool: 'p' });
      await before.resumePool({ pool: 'p' });
      return events.includes('pool.paused');
    });
    watching.abort();
    await watched;
  });

  test("the clients' authority", async () => {
    const replica = await startSecured(redis.url, { clientCa: clients });
    const pair = await clients.issue(['muster:admin:a']);
    expect(await outcome(replica, over(replica.ca, { pair }))).toBe('');
    replica.files.clientCa.write(strangers.cert);
    await until(async () => (await outcome(replica, over(replica.ca, { pair }))) === 'NO_CREDENTIALS');
    const other = await strangers.issue(['muster:admin:a']);
    expect(await outcome(replica, over(replica.ca, { pair: other }))).toBe('');
  });

  test('tokens: a new one counts, an old one does not, and the streams of the old one end', async () => {
    const old = token('admin', 'old');
    const stays = token('admin', 'stays');
    const next = token('admin', 'next');
    const replica = await startSecured(redis.url, { tokens: [old.line, stays.line] });
    const watch = (secret: string) => {
      const api = replica.api(over(replica.ca, { secret }));
      const stream = { heard: false, reason: '' };
      void (async () => {
        for await (const _ of api.watchEvents({ pool: 'q', after: '', within: undefined })) stream.heard = true;
      })().catch((error: ApiError) => {
        stream.reason = error.reason;
      });
      return stream;
    };
    const api = replica.api(over(replica.ca, { secret: stays.secret }));
    await api.submitJob({ spec: jobSpec({ pool: 'q', work: { $case: 'kind', value: 'echo' } }) });
    const streams = [watch(old.secret), watch(stays.secret)];
    await until(async () => {
      await api.pausePool({ pool: 'q' });
      await api.resumePool({ pool: 'q' });
      return streams.every(({ heard }) => heard);
    });
    replica.files.tokens.write(`# rotated\n${stays.line}\n\n${next.line}\n`);
    await until(() => streams[0]?.reason === 'REVOKED', { what: 'the old stream to end' });
    expect(await outcome(replica, over(replica.ca, { secret: old.secret }))).toBe('BAD_TOKEN');
    expect(await outcome(replica, over(replica.ca, { secret: next.secret }))).toBe('');
    expect(streams[1]?.reason).toBe('');
  });

  test.each([
    ['a line that is none', (line: string) => `${line}\nadmin eve sha256:short\n`, 'line 2: the third word'],
    ['a secret in the place of its hash', (line: string) => `${line}\nadmin eve mst_SECRETsecretSECRETsecret\n`, 'line 2: the third word'],
    ['nothing', () => '', 'there is no token in it'],
  ])('tokens stay as they were when the file holds %s', async (_what, content, said) => {
    const admin = token('admin', 'ops');
    const replica = await startSecured(redis.url, { tokens: [admin.line] });
    replica.files.tokens.write(content(admin.line));
    const line = await until(() => replica.lines.find((one) => one.includes('the tokens stay as they were')));
    expect(line).toContain(said);
    expect(line).not.toContain('SECRETsecret');
    expect(await outcome(replica, over(replica.ca, { secret: admin.secret }))).toBe('');
    // And it is not deaf from then on.
    const next = token('admin', 'next');
    replica.files.tokens.write(next.line);
    await until(async () => (await outcome(replica, over(replica.ca, { secret: next.secret }))) === '');
  });
});

test('a connection that never shakes hands is cut off', async () => {
  const admin = token('admin', 'ops');
  const replica = await startSecured(redis.url, { tokens: [admin.line], settings: { TLS_HANDSHAKE_MS: 200 } });
  const [host, port] = replica.target.split(':');
  const socket = connect(Number(port), host);
  let closed = false;
  socket
    .on('error', () => undefined)
    .on('close', () => {
      closed = true;
    });
  await until(() => closed, { timeoutMs: 5_000, what: 'the connection to be closed' });
});
