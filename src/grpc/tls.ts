import { createSecureContext, type SecureContextOptions } from 'node:tls';
import { ServerCredentials } from '@grpc/grpc-js';

/** PEM, each. */
export interface TlsMaterial {
  /** The replica's certificate, and those between it and its authority. */
  cert: Buffer;
  key: Buffer;
  /** Who signs clients' certificates; undefined: clients are not asked for one. */
  clientCa: Buffer | undefined;
}

export interface TlsLimits {
  /** A connection whose handshake takes longer is cut. */
  handshakeMs: number;
}

/** TLS 1.2 at the least, whatever Node's own minimum is. Throws an Error that says what is wrong with the material. */
function contextOf({ cert, key, clientCa }: TlsMaterial): SecureContextOptions {
  const options: SecureContextOptions = { cert, key, ca: clientCa, minVersion: 'TLSv1.2' };
  // grpc-js would go on without certificates, and refuse every connection.
  createSecureContext(options);
  return options;
}

/**
 * Server credentials whose certificates can be exchanged while the server serves; connections that are open keep theirs. A client's certificate is
 * asked for and checked, and a connection without a good one is taken all the same: who is on it must bring a token (see Guard).
 */
export class ServerTls extends ServerCredentials {
  /** Throws as `replace` does. */
  constructor(material: TlsMaterial, { handshakeMs }: TlsLimits) {
    super({ requestCert: material.clientCa !== undefined, rejectUnauthorized: false, handshakeTimeout: handshakeMs }, contextOf(material));
  }

  /** For connections from now on. Throws an Error when the material is no certificate, no key, or the two do not fit; then all stays as it is. */
  replace(material: TlsMaterial): void {
    this.updateSecureContextOptions(contextOf(material));
  }

  override _equals(other: ServerCredentials): boolean {
    return this === other;
  }
}
