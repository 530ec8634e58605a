import type { CertificateUse, Observer } from '../domain/observer.js';
import { firstExpiry } from '../domain/pem.js';

/** Tells of a certificate that is in use from now on. `pem`: its file, all of which peers are shown. */
export function tellExpiry(observer: Pick<Observer, 'certificate'>, use: CertificateUse, pem: string): void {
  const expiresAt = firstExpiry(pem);
  if (expiresAt !== undefined) observer.certificate(use, expiresAt);
}
