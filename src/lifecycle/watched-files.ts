import { open } from 'node:fs/promises';
import type { Clock } from '../domain/clock.js';
import { toError } from '../domain/errors.js';
import { Loop } from '../domain/loop.js';

export interface WatchedFilesOptions<T> {
  clock: Clock;
  /** Read in this order, and all of them at each look. */
  paths: readonly string[];
  everyMs: number;
  /** Makes something of their contents, in that order. Throws what is wrong with them. */
  parse: (contents: Buffer[]) => T;
  /** They are others now. Throws what is wrong with them; then all stays as it was. */
  changed: (value: T) => void;
  /** They cannot be read or used; told once for each thing that is wrong. */
  failed: (error: Error) => void;
}

/** Certificates and tokens are small; what is larger is another file. */
const MAX_BYTES = 1_048_576;

/**
 * Files that are looked at again and again, and parsed when what is in them has changed. Nothing else is relied on: Kubernetes exchanges
 * symbolic links, editors rename, and neither time nor inode need tell.
 */
export class WatchedFiles<T> {
  readonly #options: WatchedFilesOptions<T>;
  readonly #loop: Loop;
  /** As they were looked at last, good or not. */
  #seen: Buffer[] = [];
  #failure = '';

  constructor(options: WatchedFilesOptions<T>) {
    this.#options = options;
    const { clock, everyMs, failed } = options;
    this.#loop = new Loop({ clock, everyMs, run: () => this.look(), onError: (error) => failed(toError(error)) });
  }

  /** The first look. Rejects with what is wrong. */
  async read(): Promise<T> {
    this.#seen = await this.#contents();
    return this.#options.parse(this.#seen);
  }

  /** Looks from now on, until `stop`. */
  start(): void {
    this.#loop.start();
  }

  stop(): Promise<void> {
    return this.#loop.stop();
  }

  async look(): Promise<void> {
    const { parse, changed, failed } = this.#options;
    try {
      const contents = await this.#contents();
      const same = contents.length === this.#seen.length && contents.every((content, i) => content.equals(this.#seen[i] ?? Buffer.alloc(0)));
      if (same && !this.#failure.startsWith(READING)) return;
      this.#seen = contents;
      changed(parse(contents));
      this.#failure = '';
    } catch (thrown) {
      const error = toError(thrown);
      if (error.message === this.#failure) return;
      this.#failure = error.message;
      failed(error);
    }
  }

  async #contents(): Promise<Buffer[]> {
    const contents: Buffer[] = [];
    for (const path of this.#options.paths) contents.push(await readBounded(path));
    return contents;
  }
}

const READING = 'cannot be read: ';

async function readBounded(path: string): Promise<Buffer> {
  const file = await open(path, 'r').catch((error: NodeJS.ErrnoException) => {
    throw new Error(`${READING}${path}: ${error.code ?? error.message}`);
  });
  try {
    const stats = await file.stat();
    if (!stats.isFile()) throw new Error(`${READING}${path}: it is no file`);
    if (stats.size > MAX_BYTES) throw new Error(`${READING}${path}: it has ${stats.size} bytes, more than ${MAX_BYTES}`);
    return await file.readFile();
  } finally {
    await file.close();
  }
}
