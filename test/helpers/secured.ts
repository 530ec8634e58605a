import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { type ChannelCredentials, type ClientOptions, credentials, InterceptingCall, Metadata } from '@grpc/grpc-js';
import { pino } from 'pino';
import { afterAll } from 'vitest';
import { type Config, readConfig } from '../../src/config.js';
import { systemClock, systemIds, systemRandom } from '../../src/domain/clock.js';
import type { Role } from '../../src/domain/identity.js';
import { newSecret, tokenLine } from '../../src/domain/tokens.js';
import { Replica } from '../../src/lifecycle/replica.js';
import { type Api, connect } from '../../src/sdk/connect.js';
import { type Ca, createCa, type Pair } from './certs.js';

/** A file that the test writes, and a replica reads. */
export interface TestFile {
  path: string;
  write(content: string): void;
}

const cleanups: (() => Promise<unknown> | unknown)[] = [];

afterAll(async () => {
  for (const clean of cleanups.splice(0).reverse()) await clean();
});

export function testFile(name: string, content: string): TestFile {
  const folder = mkdtempSync(join(tmpdir(), 'muster-secured-'));
  cleanups.push(() => rmSync(folder, { recursive: true, force: true }));
  const path = join(folder, name);
  const write = (text: string) => writeFileSync(path, text);
  write(content);
  return { path, write };
}

/** A secret and its line in the tokens file. */
export function token(role: Role, name: string, pools: string[] = []): { secret: string; line: string } {
  const secret = newSecret();
  return { secret, line: tokenLine({ role, name, pools }, secret) };
}

/** What a client sends over plaintext, where grpc-js sends no call credentials. */
export function bearer(secret: string): ClientOptions {
  return {
    interceptors: [
      (options, next) =>
        new InterceptingCall(next(options), {
          start: (metadata, listener, onward) => {
            metadata.set('authorization', `Bearer ${secret}`);
            onward(metadata, listener);
          },
        }),
    ],
  };
}

/** TLS to whom that authority has signed, with a token, a certificate, both or neither. */
export function over(ca: Pick<Ca, 'cert'>, { secret, pair }: { secret?: string; pair?: Pair } = {}): ChannelCredentials {
  const tls = credentials.createSsl(Buffer.from(ca.cert), pair ? Buffer.from(pair.key) : null, pair ? Buffer.from(pair.cert) : null);
  if (secret === undefined) return tls;
  const withToken = credentials.createFromMetadataGenerator((_, callback) => {
    const metadata = new Metadata();
    metadata.set('authorization', `Bearer ${secret}`);
    callback(null, metadata);
  });
  return credentials.combineChannelCredentials(tls, withToken);
}

export interface Secured {
  /** `host:port` of gRPC. */
  target: string;
  legacyTarget: string;
  httpPort: number;
  replica: Replica;
  /** Whose certificate the replica has. */
  ca: Ca;
  files: { cert: TestFile; key: TestFile; clientCa: TestFile; tokens: TestFile };
  /** Everything that it logged, at debug, a line each. */
  lines: string[];
  /** Closed with the file. */
  api(credentials: ChannelCredentials): Api;
  stop(): Promise<void>;
}

export interface SecuredOptions {
  /** Lines of the tokens file; none: no such file. */
  tokens?: string[];
  /** Whose clients' certificates are taken. */
  clientCa?: Ca;
  settings?: Partial<Record<keyof Config, unknown>>;
}

/** A replica in this process with TLS of an authority of its own, at debug, its files looked at every 20 ms. */
export async function startSecured(redisUrl: string, { tokens, clientCa, settings }: SecuredOptions): Promise<Secured> {
  const ca = await createCa('servers');
  const own = await ca.issue(['127.0.0.1', 'localhost']);
  const files = {
    cert: testFile('tls.crt', own.cert),
    key: testFile('tls.key', own.key),
    clientCa: testFile('ca.crt', clientCa?.cert ?? ''),
    tokens: testFile('tokens', (tokens ?? []).join('\n')),
  };
  const config = readConfig(
    {},
    {
      ...{ REDIS_URL: redisUrl, REDIS_TIMEOUT_MS: 3_000, GRPC_ADDR: '127.0.0.1:0', HTTP_ADDR: '', STOP_LEAD_MS: 0, LOG_LEVEL: 'debug' },
      ...{ TLS_CERT: files.cert.path, TLS_KEY: files.key.path, TLS_RELOAD_MS: 20, TOKENS_RELOAD_MS: 20 },
      ...(tokens ? { TOKENS_FILE: files.tokens.path } : {}),
      ...(clientCa ? { TLS_CLIENT_CA: files.clientCa.path } : {}),
      ...settings,
    },
  );
  const lines: string[] = [];
  const sink = new Writable({
    write(chunk: Buffer, _encoding, done) {
      lines.push(...chunk.toString().split('\n').filter(Boolean));
      done();
    },
  });
  const log = () => pino({ level: 'debug' }, sink);
  const replica = new Replica({ config, version: 'test', clock: systemClock, ids: systemIds, random: systemRandom, log });
  const { grpcPort, legacyPort, httpPort } = await replica.start(AbortSignal.timeout(10_000));
  const apis: Api[] = [];
  let stopping: Promise<void> | undefined;
  const stop = () => {
    stopping ??= replica.stop();
    return stopping;
  };
  cleanups.push(async () => {
    for (const api of apis) api.close();
    await stop();
  });
  const target = `127.0.0.1:${grpcPort}`;
  const api = (creds: ChannelCredentials) => {
    const made = connect(target, { credentials: creds });
    apis.push(made);
    return made;
  };
  return { target, legacyTarget: `127.0.0.1:${legacyPort}`, httpPort, replica, ca, files, lines, api, stop };
}
