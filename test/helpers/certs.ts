import 'reflect-metadata';
import { webcrypto } from 'node:crypto';
import {
  BasicConstraintsExtension,
  cryptoProvider,
  type GeneralName,
  KeyUsageFlags,
  KeyUsagesExtension,
  PemConverter,
  SubjectAlternativeNameExtension,
  type X509Certificate,
  X509CertificateGenerator,
} from '@peculiar/x509';

cryptoProvider.set(webcrypto);

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
const DAY_MS = 86_400_000;

/** One certificate and its key, as PEM. */
export interface Pair {
  cert: string;
  key: string;
}

/** A certificate authority of a test. */
export interface Ca {
  /** Its own certificate, as PEM. */
  cert: string;
  /**
   * Signs a certificate for those names: an IP literal, `scheme:…` for a URI, anything else for a DNS name. `days`: until it expires; negative: it
   * has expired already.
   */
  issue(names: string[], options?: { days?: number }): Promise<Pair>;
}

export async function createCa(name = 'test CA'): Promise<Ca> {
  const keys = await generate();
  const ca = await X509CertificateGenerator.createSelfSigned({
    serialNumber: serial(),
    name: `CN=${name}`,
    ...validity(1),
    signingAlgorithm: ALGORITHM,
    keys,
    extensions: [new BasicConstraintsExtension(true, 1, true), new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true)],
  });
  return { cert: ca.toString('pem'), issue: (names, { days = 1 } = {}) => issue(ca, keys, names, days) };
}

async function issue(ca: X509Certificate, caKeys: webcrypto.CryptoKeyPair, names: string[], days: number): Promise<Pair> {
  const keys = await generate();
  const cert = await X509CertificateGenerator.create({
    serialNumber: serial(),
    subject: 'CN=test',
    issuer: ca.subject,
    ...validity(days),
    publicKey: keys.publicKey,
    signingKey: caKeys.privateKey,
    signingAlgorithm: ALGORITHM,
    extensions: [new SubjectAlternativeNameExtension(names.map(generalName))],
  });
  const key = PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey), 'PRIVATE KEY');
  return { cert: cert.toString('pem'), key };
}

async function generate(): Promise<webcrypto.CryptoKeyPair> {
  return (await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify'])) as webcrypto.CryptoKeyPair;
}

function validity(days: number): { notBefore: Date; notAfter: Date } {
  const now = Date.now();
  return { notBefore: new Date(now - 2 * DAY_MS - 10_000 + Math.min(0, days) * DAY_MS), notAfter: new Date(now + days * DAY_MS) };
}

function serial(): string {
  return webcrypto.randomUUID().replaceAll('-', '').slice(0, 16);
}

function generalName(name: string): GeneralName | { type: 'dns' | 'ip' | 'url'; value: string } {
  if (/^[0-9.]+$|^[0-9a-f:]*::?[0-9a-f:]*$/i.test(name)) return { type: 'ip', value: name };
  return /^[a-z][a-z0-9+.-]*:/i.test(name) ? { type: 'url', value: name } : { type: 'dns', value: name };
}
