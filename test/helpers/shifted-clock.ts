import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { endianness, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const OFFSET_BYTES = 8;
const SOURCE = fileURLToPath(new URL('./clock-shim.c', import.meta.url));

/** Why clocks can't be shifted here; undefined: they can. */
export function unshiftable(): string | undefined {
  if (process.platform !== 'linux') return 'needs Linux';
  return spawnSync('cc', ['--version']).status === 0 ? undefined : 'needs a C compiler (cc)';
}

/** The wall clock of processes that are started with `env`: as it is, until it is shifted. */
export class ShiftedClock {
  readonly #folder = mkdtempSync(join(tmpdir(), 'muster-clock-'));
  readonly #file = join(this.#folder, 'offset');
  readonly #library = join(this.#folder, 'shim.so');

  constructor() {
    writeFileSync(this.#file, Buffer.alloc(OFFSET_BYTES));
    const { status, stderr } = spawnSync('cc', ['-O2', '-shared', '-fPIC', '-o', this.#library, SOURCE]);
    if (status !== 0) throw new Error(`cc: ${stderr}`);
  }

  get env(): Record<string, string> {
    return { LD_PRELOAD: this.#library, CLOCK_SHIM: this.#file };
  }

  /** So many ms off from now on; negative: back. */
  shift(ms: number): void {
    const bytes = Buffer.alloc(OFFSET_BYTES);
    if (endianness() === 'LE') bytes.writeBigInt64LE(BigInt(ms));
    else bytes.writeBigInt64BE(BigInt(ms));
    // In place: whoever maps the file sees it.
    writeFileSync(this.#file, bytes, { flag: 'r+' });
  }

  dispose(): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
