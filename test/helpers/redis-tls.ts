import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Ca, Pair } from './certs.js';
import { createCa } from './certs.js';

/** Files of a test's own authority, for Redis and for whoever comes to it. */
export class TlsFiles {
  private constructor(
    private readonly folder: string,
    private readonly ca: Ca,
    /** The PEM file of the authority. */
    readonly caFile: string,
  ) {}

  static async create(): Promise<TlsFiles> {
    const folder = mkdtempSync(join(tmpdir(), 'muster-tls-'));
    const ca = await createCa();
    const files = new TlsFiles(folder, ca, join(folder, 'ca.pem'));
    writeFileSync(files.caFile, ca.cert);
    return files;
  }

  /** A certificate for those names: where it and its key are. */
  async pair(name: string, names: string[], ca: Ca = this.ca): Promise<{ cert: string; key: string }> {
    const issued: Pair = await ca.issue(names);
    return { cert: this.file(`${name}.pem`, issued.cert), key: this.file(`${name}.key`, issued.key) };
  }

  file(name: string, text: string): string {
    const path = join(this.folder, name);
    writeFileSync(path, text);
    return path;
  }

  /** Arguments of a server that speaks TLS on that port, beside its own. */
  serverArgs(port: number, { cert, key }: { cert: string; key: string }, clients: 'yes' | 'no'): string[] {
    const certificates = ['--tls-cert-file', cert, '--tls-key-file', key, '--tls-ca-cert-file', this.caFile];
    return ['--tls-port', String(port), ...certificates, '--tls-auth-clients', clients];
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}
