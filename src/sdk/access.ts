import { isIP } from 'node:net';
import { checkServerIdentity, type PeerCertificate } from 'node:tls';
import { type ChannelCredentials, Client, type ClientOptions, credentials, Metadata, status } from '@grpc/grpc-js';
import type { Clock } from '../domain/clock.js';
import { toError } from '../domain/errors.js';
import { KeptAlive } from '../sockets/kept-alive.js';
import { ApiError, Unauthenticated } from './api-error.js';
import { checkPem, type Pem, pemBytes } from './server-tls.js';
import { hostsOf, isLoopback, isTarget } from './target.js';

export interface TlsOptions {
  /** The authorities that the replicas' certificates are trusted by. Default: those that Node trusts. */
  ca?: Pem | undefined;
  /** The own certificate, where replicas ask for one; with `key`. */
  cert?: Pem | undefined;
  key?: Pem | undefined;
  /**
   * The name that stands in the replicas' certificates. Default: the host of the target; of a list of addresses, the first one, which every
   * replica's certificate would have to name.
   */
  serverName?: string | undefined;
}

/** A secret, or where the present one comes from: asked for at each call and each stream, 10 s at the longest. */
export type Token = string | (() => string | Promise<string>);

/** Where the replicas are, and how they are reached. */
export interface Where {
  /** `host:port`, `ipv4:a:1,b:2`, `ipv6:[a]:1,…`, `dns:///host:port` or `unix:path`. */
  target: string;
  /** Default: plaintext. `true`: TLS, with the authorities that Node trusts. */
  tls?: boolean | TlsOptions | undefined;
  /** Sent along as `authorization: Bearer …`. By plaintext only to this machine, unless `allowPlaintextToken` says otherwise. */
  token?: Token | undefined;
  /** The way to the replicas is trusted: the token may be read on it. */
  allowPlaintextToken?: boolean | undefined;
  /** Of grpc-js, instead of `tls`. */
  credentials?: ChannelCredentials | undefined;
  /** More channel options of grpc-js, over ours. */
  channel?: ClientOptions | undefined;
}

/** A source of tokens that has not answered by then does not answer. */
const TOKEN_MS = 10_000;
/** What a header can carry, without spaces. */
const SECRET = /^[\x21-\x7e]+$/;

/** A checked Where: makes the channels to the replicas, and what goes along with each call. Throws TypeError that names the option. */
export class Access {
  readonly target: string;
  readonly credentials: ChannelCredentials;
  readonly channel: ClientOptions;
  private readonly token: Token | undefined;

  constructor(
    { target, tls = false, token, allowPlaintextToken = false, credentials: own, channel }: Where,
    private readonly clock: Clock,
  ) {
    if (!isTarget(target)) throw new TypeError(`target ${JSON.stringify(target)}: write host:port, ipv4:a:1,b:2 or dns:///host:port`);
    if (own !== undefined && tls !== false) throw new TypeError('tls: say either that or credentials');
    this.target = target;
    const made = tls === false ? { credentials: credentials.createInsecure(), channel: {} } : secured(target, tls === true ? {} : tls);
    this.credentials = own ?? made.credentials;
    this.channel = { ...made.channel, ...channel };
    if (typeof token === 'string' && !SECRET.test(token)) throw new TypeError(MALFORMED);
    if (token !== undefined && !this.credentials._isSecure() && !allowPlaintextToken && !isLoopback(target)) {
      const remedy = 'set tls, or allowPlaintextToken where the network is trusted';
      throw new TypeError(`token: would go to ${target} by plaintext, for everybody on the way to read: ${remedy}`);
    }
    this.token = token;
  }

  /** A channel of its own, kept alive by TCP. */
  client(options: ClientOptions): Client {
    return new Client(this.target, new KeptAlive(this.credentials), { ...options, ...this.channel });
  }

  /**
   * What goes along with one call or stream, at once where nobody has to be asked. Rejects with ApiError: UNAVAILABLE TOKEN_SOURCE when the
   * source of tokens fails, or brings none within `withinMs`, UNAUTHENTICATED TOKEN_SOURCE when what it brings is no token.
   */
  headers(withinMs = TOKEN_MS): Metadata | Promise<Metadata> {
    const { token } = this;
    if (token === undefined) return new Metadata();
    return typeof token === 'string' ? headersOf(token) : this.asked(token, Math.min(withinMs, TOKEN_MS));
  }

  private async asked(source: () => string | Promise<string>, withinMs: number): Promise<Metadata> {
    let stop = () => {};
    const late = new Promise<never>((_, reject) => {
      stop = this.clock.after(withinMs, () => reject(new Error(`none came within ${Math.round(withinMs)} ms`)));
    });
    try {
      const token = await Promise.race([source(), late]);
      if (typeof token !== 'string' || !SECRET.test(token)) throw new Unauthenticated('TOKEN_SOURCE', MALFORMED);
      return headersOf(token);
    } catch (thrown) {
      if (thrown instanceof ApiError) throw thrown;
      throw new ApiError(status.UNAVAILABLE, 'TOKEN_SOURCE', `token: ${toError(thrown).message}`, undefined, { cause: thrown });
    } finally {
      stop();
    }
  }
}

/** It is not told what was given instead: it may be nearly a secret. */
const MALFORMED = 'token: must be one word of printable ASCII, without spaces and ends of lines';

function headersOf(token: string): Metadata {
  const headers = new Metadata();
  headers.set('authorization', `Bearer ${token}`);
  return headers;
}

/** Asked for in place of an IP, which no handshake may ask for; the certificate must name the IP all the same. */
const NO_NAME = 'muster-replica';

function secured(target: string, { ca, cert, key, serverName }: TlsOptions): { credentials: ChannelCredentials; channel: ClientOptions } {
  if ((cert === undefined) !== (key === undefined))
    throw new TypeError(`tls.${cert === undefined ? 'cert' : 'key'}: is missing: cert and key go together`);
  if (ca !== undefined) checkPem('tls.ca', ca);
  if (cert !== undefined) checkPem('tls.cert', cert);
  const name = serverName ?? hostsOf(target)[0] ?? '';
  const byIp = isIP(name) !== 0;
  const asked = byIp ? NO_NAME : serverName;
  const verify = byIp ? { checkServerIdentity: (_: string, shown: PeerCertificate) => checkServerIdentity(name, shown) } : {};
  try {
    return {
      credentials: credentials.createSsl(bytes(ca), bytes(key), bytes(cert), verify),
      channel: asked === undefined ? {} : { 'grpc.ssl_target_name_override': asked },
    };
  } catch (error) {
    throw new TypeError(`tls.key: does not go with tls.cert: ${toError(error).message}`, { cause: error });
  }
}

function bytes(pem: Pem | undefined): Buffer | null {
  return pem === undefined ? null : pemBytes(pem);
}
