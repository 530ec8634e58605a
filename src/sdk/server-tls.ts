import { toError } from '../domain/errors.js';
import { checkCertificates } from '../domain/pem.js';
import { ServerTls } from '../sockets/tls.js';

/** PEM, as text or as the bytes of a file. */
export type Pem = string | Uint8Array;

/** What a worker that is dialed shows to replicas. */
export interface ServerTlsOptions {
  /** Names the IP that replicas dial, or the worker: `DNS:<id>` or `URI:muster:worker:<id>`. */
  cert: Pem;
  key: Pem;
  /** Of the authorities that replicas' own certificates (DIAL_CERT) are trusted by: who has none is refused. Default: anybody may call. */
  clientCa?: Pem | undefined;
}

export function pemBytes(pem: Pem): Buffer {
  return Buffer.from(pem);
}

/** Throws TypeError that names the option. */
export function checkPem(what: string, pem: Pem): void {
  try {
    checkCertificates(what, pemBytes(pem).toString());
  } catch (error) {
    throw new TypeError(toError(error).message, { cause: error });
  }
}

/** A replica that has not done its part of TLS by then is cut off. */
const HANDSHAKE_MS = 10_000;

/** undefined, which is plaintext, without options. Throws TypeError that names the option. */
export function serverTls(options: ServerTlsOptions | undefined): ServerTls | undefined {
  if (options === undefined) return undefined;
  const { cert, key, clientCa } = options;
  checkPem('serverTls.cert', cert);
  if (clientCa !== undefined) checkPem('serverTls.clientCa', clientCa);
  try {
    const material = { cert: pemBytes(cert), key: pemBytes(key), clientCa: clientCa === undefined ? undefined : pemBytes(clientCa) };
    return new ServerTls(material, { handshakeMs: HANDSHAKE_MS, requireClient: clientCa !== undefined });
  } catch (error) {
    throw new TypeError(`serverTls.key: does not go with serverTls.cert: ${toError(error).message}`, { cause: error });
  }
}
