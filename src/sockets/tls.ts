import type { ServerOpts } from 'node:net';
import { createSecureContext, createServer as createTlsServer, type SecureContextOptions, type Server as SecureServer } from 'node:tls';

/** PEM, each. */
export interface TlsMaterial {
  /** The server's certificate, and those between it and its authority. */
  cert: Buffer;
  key: Buffer;
  /** Who signs clients' certificates; undefined: clients are not asked for one. */
  clientCa: Buffer | undefined;
}

export interface TlsLimits {
  /** A connection whose handshake takes longer is cut. */
  handshakeMs: number;
  /** A connection without a good certificate of its client's is cut, too. Default: it is taken, and who is on it must bring a token (see Guard). */
  requireClient?: boolean;
}

/** TLS 1.2 at the least, whatever Node's own minimum is. Throws an Error that says what is wrong with the material. */
function contextOf({ cert, key, clientCa }: TlsMaterial): SecureContextOptions {
  const options: SecureContextOptions = { cert, key, ca: clientCa, minVersion: 'TLSv1.2' };
  // What cannot be used is found here, and not at a client's connection.
  createSecureContext(options);
  return options;
}

/**
 * TLS of a listener, whose certificates can be exchanged while it serves; connections that are open keep theirs. A client's certificate is
 * asked for and checked where there is an authority for it.
 */
export class ServerTls {
  readonly #limits: TlsLimits;
  readonly #servers = new Set<SecureServer>();
  #context: SecureContextOptions;
  readonly #asks: boolean;

  /** Throws as `replace` does. */
  constructor(material: TlsMaterial, limits: TlsLimits) {
    this.#limits = limits;
    this.#context = contextOf(material);
    this.#asks = material.clientCa !== undefined;
  }

  /** For connections from now on. Throws an Error when the material is no certificate, no key, or the two do not fit; then all stays as it is. */
  replace(material: TlsMaterial): void {
    this.#context = contextOf(material);
    for (const server of this.#servers) server.setSecureContext(this.#context);
  }

  /** A server that speaks HTTP/2 over it, with the certificates of the day. It listens nowhere yet. */
  serve(options: ServerOpts): SecureServer {
    const { handshakeMs, requireClient = false } = this.#limits;
    const server = createTlsServer({
      ...options,
      ...this.#context,
      ALPNProtocols: ['h2'],
      handshakeTimeout: handshakeMs,
      requestCert: this.#asks,
      rejectUnauthorized: requireClient,
    });
    this.#servers.add(server);
    server.once('close', () => this.#servers.delete(server));
    return server;
  }
}
