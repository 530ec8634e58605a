import { createHash } from 'node:crypto';
import { accessSync, constants, createReadStream, existsSync, readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { usage } from '../exit.js';

/** So many files of a folder are taken; more would only take longer. */
const MAX_FILES = 100_000;

/** The project's own node_modules; where it is installed into another project, that one's. */
export function defaultFolder(): string {
  const root = fileURLToPath(new URL('../../..', import.meta.url));
  const own = join(root, 'node_modules');
  return existsSync(own) ? own : resolve(root, '..');
}

/** The readable regular files below a folder, up to 100,000, as absolute paths. Throws a usage error when there are none. */
export function listFiles(folder: string): string[] {
  const files: string[] = [];
  const folders = [resolve(folder)];
  for (let next = folders.pop(); next !== undefined && files.length < MAX_FILES; next = folders.pop()) {
    for (const found of entriesOf(next)) {
      const path = join(next, found.name);
      // Links are not followed: they may lead round in circles.
      if (found.isDirectory()) folders.push(path);
      else if (found.isFile() && readable(path)) files.push(path);
    }
  }
  if (files.length === 0) throw usage(`${folder}: no file there that can be read; name a folder with some`);
  return files.slice(0, MAX_FILES);
}

function entriesOf(folder: string) {
  try {
    return readdirSync(folder, { withFileTypes: true });
  } catch {
    // Not there, no folder, or not ours to read: it has no files for us.
    return [];
  }
}

function readable(path: string): boolean {
  try {
    accessSync(path, constants.R_OK);
    return true;
  } catch {
    return false;
  }
}

/** SHA-256 of a file's bytes, in hex. Rejects as reading does, and when the signal is aborted. */
export async function hashFile(path: string, signal?: AbortSignal): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path, { signal })) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

/** The demo's own hashes, against which those of the workers are held. */
export class OwnHashes {
  readonly #known = new Map<string, Promise<string>>();

  /** Is that the file's hash? A file that was changed since it was hashed here is read again. */
  async agrees(path: string, hash: string): Promise<boolean> {
    let own = this.#known.get(path);
    if (own !== undefined && (await own) === hash) return true;
    own = hashFile(path).catch((error: unknown) => String(error));
    this.#known.set(path, own);
    return (await own) === hash;
  }
}
