import { X509Certificate } from 'node:crypto';
import type { SecureContext } from 'node:tls';
import { type Config, ConfigError } from '../config.js';
import type { Clock } from '../domain/clock.js';
import { MusterError, toError, unavailable } from '../domain/errors.js';
import { type Observer, UNOBSERVED } from '../domain/observer.js';
import { identityOfSans, parseRolePattern, type RolePattern, splitSans } from '../domain/san.js';
import { type Contexts, dialContext } from '../links/security.js';
import { tellExpiry } from './expiry.js';
import { WatchedFiles } from './watched-files.js';

type DialConfig = Pick<Config, 'DIAL_CA' | 'DIAL_CERT' | 'DIAL_KEY' | 'DIAL_RELOAD_MS' | 'TLS_ROLES'>;

interface Read {
  context: SecureContext;
  /** PEM; '' without DIAL_CERT. */
  cert: string;
}

/** What dialed workers are trusted by, and what they are shown; read again when it changes. */
export class DialKeys implements Contexts {
  readonly #config: DialConfig;
  readonly #files: WatchedFiles<Read>;
  readonly #observer: Pick<Observer, 'certificate'>;
  #context: SecureContext | undefined;
  #proven = false;

  /** `onError`: told of files that cannot be used any more; what was read before stays in use. */
  constructor(config: DialConfig, clock: Clock, onError: (error: unknown) => void, observer: Pick<Observer, 'certificate'> = UNOBSERVED) {
    const { DIAL_CA, DIAL_CERT, DIAL_KEY, DIAL_RELOAD_MS } = config;
    const roles = config.TLS_ROLES.map(parseRolePattern);
    this.#config = config;
    this.#observer = observer;
    this.#files = new WatchedFiles({
      clock,
      paths: DIAL_CERT === '' ? [DIAL_CA] : [DIAL_CA, DIAL_CERT, DIAL_KEY],
      everyMs: DIAL_RELOAD_MS,
      parse: ([ca = '', cert = '', key = '']) => {
        const context = dialContext({ ca: ca.toString(), cert: cert.toString(), key: key.toString() });
        refuseRoles(cert.toString(), roles);
        return { context, cert: cert.toString() };
      },
      changed: (read) => this.#take(read),
      failed: ({ message }) => onError(new MusterError('failed_precondition', 'DIAL_KEYS', `the keys of dialed links stay as they were: ${message}`)),
    });
  }

  /** Reads the files, and looks at them from now on. Rejects with ConfigError. */
  async open(): Promise<void> {
    try {
      this.#take(await this.#files.read());
    } catch (error) {
      const { DIAL_CA, DIAL_CERT, DIAL_KEY } = this.#config;
      const paths = [DIAL_CA, DIAL_CERT, DIAL_KEY].filter((path) => path !== '');
      throw new ConfigError(`MUSTER_DIAL_CA, MUSTER_DIAL_CERT, MUSTER_DIAL_KEY (${paths.join(', ')}): ${toError(error).message}`, { cause: error });
    }
    this.#files.start();
  }

  stop(): Promise<void> {
    return this.#files.stop();
  }

  current(): SecureContext {
    if (this.#context === undefined) throw unavailable('STARTING', 'DIAL_CA was not read yet: this replica is starting');
    return this.#context;
  }

  /** Has any worker been met by the present keys? What workers show is no proof against them before: the keys may be the wrong ones. */
  get proven(): boolean {
    return this.#proven;
  }

  proved(context: SecureContext): void {
    if (context === this.#context) this.#proven = true;
  }

  #take({ context, cert }: Read): void {
    this.#context = context;
    this.#proven = false;
    tellExpiry(this.#observer, 'dial', cert);
  }
}

/**
 * Throws Error for a certificate that has a role at replicas. Workers are shown it, and who registers a replica's own address as a worker's would
 * have it used there.
 */
function refuseRoles(pem: string, roles: readonly RolePattern[]): void {
  if (pem === '') return;
  const sans = splitSans(new X509Certificate(pem).subjectAltName);
  const identity = identityOfSans(sans, roles);
  if (identity === undefined) return;
  throw new Error(
    `DIAL_CERT: its name ${identity.name} has the role ${identity.role} by MUSTER_TLS_ROLES: show workers a certificate that has none, or narrow the role`,
  );
}

/** Undefined without DIAL_CA. Throws ConfigError for settings of which one misses another. */
export function dialKeys(
  config: DialConfig,
  clock: Clock,
  onError: (error: unknown) => void,
  observer?: Pick<Observer, 'certificate'>,
): DialKeys | undefined {
  const { DIAL_CA, DIAL_CERT, DIAL_KEY } = config;
  if ((DIAL_CERT === '') !== (DIAL_KEY === ''))
    throw new ConfigError(`MUSTER_${DIAL_CERT === '' ? 'DIAL_CERT' : 'DIAL_KEY'}: set it too, a certificate and its key go together`);
  if (DIAL_CA !== '') return new DialKeys(config, clock, onError, observer);
  if (DIAL_CERT !== '') throw new ConfigError('MUSTER_DIAL_CERT: needs MUSTER_DIAL_CA: by plaintext nobody is shown a certificate');
  return undefined;
}
