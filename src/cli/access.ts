import type { Command } from 'commander';
import type { TlsOptions, Where } from '../sdk/access.js';
import { isLoopback, isTarget } from '../sdk/target.js';
import { usage } from './exit.js';
import type { Io } from './io.js';
import { readFile } from './payload.js';

/** How the replicas are reached, and who asks. */
export interface AccessOptions {
  target: string;
  tls?: boolean;
  tlsCa?: string;
  tlsCert?: string;
  tlsKey?: string;
  tlsServerName?: string;
  tokenFile?: string;
  allowPlaintextToken?: boolean;
}

const TARGET = '127.0.0.1:50051';
/** Of a file with certificates or keys, and of one with a token. */
const PEM_MAX_BYTES = 1_048_576;
const TOKEN_MAX_BYTES = 4_096;

/** The options of every command that talks to replicas. What the environment says counts as if it was typed. */
export function accessOptions(command: Command, { env }: Io): Command {
  return command
    .option('-t, --target <target>', 'the replicas: host:port, ipv4:a:1,b:2 or dns:///host:port (env: MUSTER_TARGET)', env['MUSTER_TARGET'] || TARGET)
    .option('--tls', 'they serve TLS; implied by the other --tls options (env: MUSTER_CLIENT_TLS=true)', env['MUSTER_CLIENT_TLS'] === 'true')
    .option('--tls-ca <file>', 'the authorities to trust, PEM (env: MUSTER_CLIENT_TLS_CA; default: those of Node)', env['MUSTER_CLIENT_TLS_CA'])
    .option('--tls-cert <file>', 'the own certificate, PEM (env: MUSTER_CLIENT_TLS_CERT)', env['MUSTER_CLIENT_TLS_CERT'])
    .option('--tls-key <file>', 'its key, PEM (env: MUSTER_CLIENT_TLS_KEY)', env['MUSTER_CLIENT_TLS_KEY'])
    .option(
      '--tls-server-name <name>',
      'the name in their certificates, where the target says another (env: MUSTER_CLIENT_TLS_SERVER_NAME)',
      env['MUSTER_CLIENT_TLS_SERVER_NAME'],
    )
    .option(
      '--token-file <file>',
      'the token that is sent along, read again for each call (env: MUSTER_CLIENT_TOKEN_FILE)',
      env['MUSTER_CLIENT_TOKEN_FILE'],
    )
    .option('--allow-plaintext-token', 'send the token without TLS: the way to the replicas is trusted');
}

/** Reads the files. What is missing, or cannot be read, is a usage error that names the flag. */
export async function readAccess(options: AccessOptions): Promise<Where> {
  const { target, tokenFile, allowPlaintextToken } = options;
  if (!isTarget(target)) throw usage(`--target: ${JSON.stringify(target)} is none; write host:port, ipv4:a:1,b:2 or dns:///host:port`);
  const tls = await readTls(options);
  if (!tokenFile) return { target, tls };
  if (tls === undefined && !allowPlaintextToken && !isLoopback(target))
    throw usage(
      `--token-file: the token would go to ${target} by plaintext. Add --tls or --tls-ca FILE; or --allow-plaintext-token, where the way there is trusted`,
    );
  await readToken(tokenFile);
  return { target, tls, token: () => readToken(tokenFile), allowPlaintextToken };
}

async function readTls({ tls, tlsCa, tlsCert, tlsKey, tlsServerName }: AccessOptions): Promise<TlsOptions | undefined> {
  if (!tls && !tlsCa && !tlsCert && !tlsKey && !tlsServerName) return undefined;
  if (!tlsCert !== !tlsKey)
    throw usage(tlsCert ? '--tls-key: is missing: the key of --tls-cert' : '--tls-cert: is missing: the certificate of --tls-key');
  const pem = (path: string | undefined, flag: string) => (path ? readFile(path, flag, PEM_MAX_BYTES) : undefined);
  const [ca, cert, key] = await Promise.all([pem(tlsCa, '--tls-ca'), pem(tlsCert, '--tls-cert'), pem(tlsKey, '--tls-key')]);
  return { ca, cert, key, serverName: tlsServerName || undefined };
}

/** The one word in it: editors and `echo` end it with a line's end. */
async function readToken(path: string): Promise<string> {
  const bytes = await readFile(path, '--token-file', TOKEN_MAX_BYTES);
  const token = bytes.toString().trim();
  if (!/^[\x21-\x7e]+$/.test(token)) throw usage(`--token-file ${path}: holds no token: one word of printable ASCII is wanted`);
  return token;
}

/** For commands whose options were read: what the SDK still refuses is what was typed. */
export function asTyped<T>(make: () => T): T {
  try {
    return make();
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    throw usage(error.message.replace(/\btls\.(ca|cert|key)\b/g, '--tls-$1'));
  }
}
