import { X509Certificate } from 'node:crypto';

const BLOCK = /-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g;

/**
 * OpenSSL takes what holds no certificate, or a half of one, for an authority that trusts nobody, and says nothing. Throws Error that names
 * `what` for text that is not one or more whole certificates in PEM.
 */
export function checkCertificates(what: string, pem: string): void {
  const blocks = pem.match(BLOCK) ?? [];
  if (blocks.length === 0 || blocks.length !== pem.split('-----BEGIN CERTIFICATE-----').length - 1)
    throw new Error(`${what}: holds no whole certificate in PEM (-----BEGIN CERTIFICATE-----)`);
  for (const [at, block] of blocks.entries()) {
    try {
      new X509Certificate(block);
    } catch (error) {
      throw new Error(`${what}: certificate ${at + 1} cannot be read: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
    }
  }
}

/** When the first of the certificates in a PEM text expires, in ms since 1970; undefined: there is none that can be read. */
export function firstExpiry(pem: string): number | undefined {
  const times = (pem.match(BLOCK) ?? []).map((block) => Date.parse(new X509Certificate(block).validTo));
  return times.length === 0 ? undefined : Math.min(...times);
}
