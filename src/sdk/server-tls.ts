import { createSecureContext } from 'node:tls';
import { ServerCredentials } from '@grpc/grpc-js';
import { toError } from '../domain/errors.js';
import { checkCertificates } from '../domain/pem.js';

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

/** Plaintext without options. Throws TypeError that names the option. */
export function serverCredentials(options: ServerTlsOptions | undefined): ServerCredentials {
  if (options === undefined) return ServerCredentials.createInsecure();
  const { cert, key, clientCa } = options;
  checkPem('serverTls.cert', cert);
  if (clientCa !== undefined) checkPem('serverTls.clientCa', clientCa);
  try {
    createSecureContext({ cert: pemBytes(cert), key: pemBytes(key) });
  } catch (error) {
    throw new TypeError(`serverTls.key: does not go with serverTls.cert: ${toError(error).message}`, { cause: error });
  }
  const pair = { cert_chain: pemBytes(cert), private_key: pemBytes(key) };
  return ServerCredentials.createSsl(clientCa === undefined ? null : pemBytes(clientCa), [pair], clientCa !== undefined);
}
