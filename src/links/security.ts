import { isIP } from 'node:net';
import { type ConnectionOptions, createSecureContext, type PeerCertificate, type SecureContext } from 'node:tls';
import { MusterError, toError } from '../domain/errors.js';
import { checkCertificates } from '../domain/pem.js';
import { formatAddress } from '../domain/worker.js';
import { mismatch, type Wanted } from './certificate.js';
import { type Entry, isAmong, parseEntry } from './cidr.js';

/** What links are secured by, as PEM. `cert` and `key`, both or none (''): this replica's own, for workers that ask for one. */
export interface DialKeys {
  ca: string;
  cert: string;
  key: string;
}

/** Where the present keys come from. */
export interface Contexts {
  /** Another object when they have changed. Throws MusterError when they were not read yet. */
  current(): SecureContext;
  /** A worker was met by it, both sides content: it is not wrong for everybody. */
  proved?(context: SecureContext): void;
}

/** Throws Error that names the setting. */
export function dialContext({ ca, cert, key }: DialKeys): SecureContext {
  checkCertificates('DIAL_CA', ca);
  if ((cert === '') !== (key === '')) throw new Error(`${cert === '' ? 'DIAL_CERT' : 'DIAL_KEY'}: is missing: DIAL_CERT and DIAL_KEY go together`);
  if (cert === '') return createSecureContext({ ca });
  checkCertificates('DIAL_CERT', cert);
  try {
    return createSecureContext({ ca, cert, key });
  } catch (error) {
    throw new Error(`DIAL_KEY: does not go with DIAL_CERT: ${toError(error).message}`, { cause: error });
  }
}

export interface DialSecurityOptions {
  /** Without `contexts` everything is plaintext. */
  insecure: boolean;
  /** DIAL_PLAINTEXT, as `parseEntry` takes its entries. */
  plaintext: string[];
  /** Undefined: there is no DIAL_CA. */
  contexts: Contexts | undefined;
}

/** Which workers are dialed by TLS, and what they must show then. */
export class DialSecurity {
  readonly #insecure: boolean;
  readonly #plaintext: Entry[];
  readonly #contexts: Contexts | undefined;

  /** Throws an Error that names the entry that cannot be read. */
  constructor({ insecure, plaintext, contexts }: DialSecurityOptions) {
    this.#insecure = insecure;
    this.#plaintext = plaintext.map((entry) => parseEntry('DIAL_PLAINTEXT', entry));
    this.#contexts = contexts;
  }

  /** Undefined: by plaintext. Throws failed_precondition DIAL_CA_MISSING when it should be TLS, and nobody said whom to trust. */
  of(target: Wanted): WorkerTls | undefined {
    if (isAmong(this.#plaintext, target.address)) return undefined;
    if (this.#contexts !== undefined) return new WorkerTls(target, this.#contexts);
    if (this.#insecure) return undefined;
    const remedy = 'set DIAL_CA to the authority of the workers, or name its network in DIAL_PLAINTEXT';
    throw new MusterError(
      'failed_precondition',
      'DIAL_CA_MISSING',
      `${formatAddress(target.address)} is dialed by TLS, and this replica knows no authority to trust: ${remedy}`,
    );
  }
}

const HOST_NAME = /^(?=.{1,253}$)(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?(?:\.|$))+$/;
/** Asked for where the id is no host name: some servers end a handshake over one that is none. */
const NO_NAME = 'muster-worker';

/** How one worker is connected to, over and over: the very same for the proof of a peer and for the calls. */
export class WorkerTls {
  readonly #wanted: Wanted;
  readonly #contexts: Contexts;
  /** The server name of the handshake, by which a peer of many names may choose its certificate: the worker's id. */
  readonly serverName: string;

  constructor(wanted: Wanted, contexts: Contexts) {
    const { id } = wanted.ref;
    this.#wanted = wanted;
    this.#contexts = contexts;
    this.serverName = HOST_NAME.test(id) && !id.endsWith('.') && isIP(id) === 0 ? id : NO_NAME;
  }

  /** A connection that was made with another one is to be made anew. */
  get context(): SecureContext {
    return this.#contexts.current();
  }

  /** In place of the check of host names. OpenSSL has verified the chain before it is asked. */
  readonly checkServerIdentity = (_host: string, { subjectaltname }: PeerCertificate): Error | undefined => {
    const what = mismatch(subjectaltname, this.#wanted);
    return what === undefined ? undefined : new Error(what);
  };

  /** A connection that was made with it got as far as HTTP/2. */
  proved(context: SecureContext): void {
    this.#contexts.proved?.(context);
  }

  options(): ConnectionOptions {
    return { secureContext: this.context, servername: this.serverName, checkServerIdentity: this.checkServerIdentity };
  }
}

/** The words for an error of a connection that was to be TLS; undefined: it is not about TLS. `secured`: the handshake was over. */
export function tlsTrouble(thrown: unknown, at: string, secured: boolean): string | undefined {
  const { code = '', reason, message } = thrown as { code?: string; reason?: string; message: string };
  // OpenSSL's own. A client's certificate is refused after the handshake, in TLS 1.3.
  if (/^ERR_SSL|^EPROTO$/.test(code)) {
    const remedy = /alert/.test(reason ?? message) ? 'it refused ours: see DIAL_CERT' : 'if it speaks plaintext, name it in DIAL_PLAINTEXT';
    return `no TLS with ${at}: ${reason ?? code} (${remedy})`;
  }
  if (secured || /^E[A-Z]+$|^ERR_HTTP2/.test(code)) return undefined;
  return message.startsWith('certificate of ') ? message : `certificate of ${at} is not trusted: ${message} (${code}); DIAL_CA names its authority`;
}
