import type { Config } from '../config.js';
import { ConfigError } from '../config.js';
import type { Clock } from '../domain/clock.js';
import { toError } from '../domain/errors.js';
import { type Observer, UNOBSERVED } from '../domain/observer.js';
import { parseRolePattern } from '../domain/san.js';
import { parseTokens, type Tokens } from '../domain/tokens.js';
import { Guard, type Refusal } from '../grpc/auth.js';
import { Quotas } from '../grpc/quotas.js';
import { ServerTls, type TlsMaterial } from '../sockets/tls.js';
import { tellExpiry } from './expiry.js';
import type { Logger } from './log.js';
import { seldom } from './seldom.js';
import { WatchedFiles } from './watched-files.js';

/** What a replica that asks for credentials has for it. */
export interface Security {
  guard: Guard;
  quotas: Quotas;
  /** undefined: a proxy ends TLS before it. */
  tls: ServerTls | undefined;
  /** Ends the watching of files. */
  stop(): Promise<void>;
}

/** Throws ConfigError for settings that leave a replica open without a word, or that contradict each other. */
export function checkSecurity(config: Config): void {
  const { INSECURE, TLS_CERT, TLS_KEY, TLS_CLIENT_CA, TLS_TERMINATED, TOKENS_FILE } = config;
  const set = Object.entries({ TLS_CERT, TLS_KEY, TLS_CLIENT_CA, TOKENS_FILE }).flatMap(([name, value]) => (value === '' ? [] : [`MUSTER_${name}`]));
  if (INSECURE) {
    if (set.length > 0) throw new ConfigError(`MUSTER_INSECURE is set, and ${set.join(', ')} with it: take one of the two away`);
    return;
  }
  if (TLS_CERT === '' && TOKENS_FILE === '') {
    throw new ConfigError(
      'a replica needs certificates or tokens: set MUSTER_TLS_CERT and MUSTER_TLS_KEY, and MUSTER_TOKENS_FILE (`muster token create` makes tokens) or ' +
        'MUSTER_TLS_CLIENT_CA; or MUSTER_INSECURE=true (--insecure) where whoever reaches the port may do everything. See docs/security.md',
    );
  }
  if ((TLS_CERT === '') !== (TLS_KEY === '')) {
    throw new ConfigError(`MUSTER_${TLS_CERT === '' ? 'TLS_CERT' : 'TLS_KEY'}: set it too, a certificate and its key go together`);
  }
  if (TLS_CLIENT_CA !== '' && TLS_CERT === '') throw new ConfigError('MUSTER_TLS_CLIENT_CA: needs MUSTER_TLS_CERT and MUSTER_TLS_KEY');
  if (TLS_CLIENT_CA === '' && TOKENS_FILE === '') {
    throw new ConfigError('MUSTER_TLS_CERT alone tells nobody apart: set MUSTER_TOKENS_FILE, or MUSTER_TLS_CLIENT_CA, or both');
  }
  if (TLS_CERT === '' && !TLS_TERMINATED) {
    throw new ConfigError(
      'MUSTER_TOKENS_FILE without MUSTER_TLS_CERT: tokens would be sent in plaintext. Set MUSTER_TLS_CERT and MUSTER_TLS_KEY, or ' +
        'MUSTER_TLS_TERMINATED=true where a proxy on the same host or network ends TLS before this replica',
    );
  }
  if (TLS_CERT !== '' && TLS_TERMINATED) throw new ConfigError('MUSTER_TLS_TERMINATED is set, and MUSTER_TLS_CERT with it: take one of the two away');
}

/**
 * Reads certificates and tokens, and reads them again when they change, until `stop`. undefined: INSECURE. Rejects with ConfigError for settings
 * and files that cannot be used.
 */
export async function openSecurity(
  config: Config,
  clock: Clock,
  log: Logger,
  observer: Pick<Observer, 'refused' | 'certificate'> = UNOBSERVED,
): Promise<Security | undefined> {
  checkSecurity(config);
  if (config.INSECURE) return undefined;
  let tokens: Tokens = new Map();
  const tokensFile = config.TOKENS_FILE === '' ? undefined : watchTokens(config, clock, log, (changed) => void accept(changed));
  if (tokensFile) tokens = await atStart('MUSTER_TOKENS_FILE', config.TOKENS_FILE, () => tokensFile.read());
  const inUse = ({ cert }: TlsMaterial) => tellExpiry(observer, 'server', cert.toString());
  const tlsFiles =
    config.TLS_CERT === ''
      ? undefined
      : watchTls(config, clock, log, (material) => {
          tls?.replace(material);
          inUse(material);
        });
  const tls = tlsFiles
    ? await atStart('MUSTER_TLS_CERT, MUSTER_TLS_KEY', config.TLS_CERT, async () => {
        const material = await tlsFiles.read();
        const made = new ServerTls(material, { handshakeMs: config.TLS_HANDSHAKE_MS });
        inUse(material);
        return made;
      })
    : undefined;
  const told = refusalLog(log, clock);
  const guard = new Guard({
    tokens: () => tokens,
    roles: config.TLS_CLIENT_CA === '' ? [] : config.TLS_ROLES.map(parseRolePattern),
    maxStreams: config.QUOTA_STREAMS,
    onRefused: (refusal) => {
      observer.refused(refusal.reason);
      told(refusal);
    },
  });
  const accept = (changed: Tokens) => {
    tokens = changed;
    guard.revoke();
  };
  tokensFile?.start();
  tlsFiles?.start();
  return {
    guard,
    quotas: new Quotas({ clock, submissions: config.QUOTA_SUBMISSIONS, waiting: config.QUOTA_WAITING }),
    tls,
    stop: async () => void (await Promise.all([tokensFile?.stop(), tlsFiles?.stop()])),
  };
}

async function atStart<T>(settings: string, path: string, act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (error) {
    throw new ConfigError(`${settings} (${path}): ${toError(error).message}`);
  }
}

function watchTokens({ TOKENS_FILE, TOKENS_RELOAD_MS }: Config, clock: Clock, log: Logger, changed: (tokens: Tokens) => void): WatchedFiles<Tokens> {
  return new WatchedFiles({
    clock,
    paths: [TOKENS_FILE],
    everyMs: TOKENS_RELOAD_MS,
    parse: ([text]) => parseTokens(text?.toString() ?? ''),
    changed: (tokens) => {
      changed(tokens);
      log.info({ file: TOKENS_FILE, tokens: tokens.size }, 'the tokens were read again');
    },
    failed: (error) => log.error({ file: TOKENS_FILE, err: error.message }, 'the tokens stay as they were: their file cannot be used'),
  });
}

function watchTls(config: Config, clock: Clock, log: Logger, changed: (material: TlsMaterial) => void): WatchedFiles<TlsMaterial> {
  const { TLS_CERT, TLS_KEY, TLS_CLIENT_CA, TLS_RELOAD_MS } = config;
  const paths = [TLS_CERT, TLS_KEY, ...(TLS_CLIENT_CA === '' ? [] : [TLS_CLIENT_CA])];
  return new WatchedFiles({
    clock,
    paths,
    everyMs: TLS_RELOAD_MS,
    parse: ([cert, key, clientCa]) => ({ cert: cert ?? Buffer.alloc(0), key: key ?? Buffer.alloc(0), clientCa }),
    changed: (material) => {
      changed(material);
      log.info({ files: paths }, 'the certificates were read again');
    },
    // A certificate whose key is still to be written is such a case: it is looked at again.
    failed: (error) => log.error({ files: paths, err: error.message }, 'the certificates stay as they were: their files cannot be used'),
  });
}

/** Each refusal at debug; at warn one a reason and 5 s, with how many there were: thousands of bad calls must not be thousands of lines. */
function refusalLog(log: Logger, clock: Clock): (refusal: Refusal) => void {
  const now = seldom(clock);
  return (refusal) => {
    log.debug(refusal, 'a call was refused');
    now(refusal.reason, (times) => log.warn({ ...refusal, times }, 'calls are refused'));
  };
}
