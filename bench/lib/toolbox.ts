import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { accessSync, constants, existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

/** Of one build or installation: Temporal's server is large. */
const BUILD_MS = 900_000;
const TAIL_CHARS = 300;
const CACHE = fileURLToPath(new URL('../../node_modules/.cache/bench/', import.meta.url));
const run = promisify(execFile);

/** Why a peer can't be had on this machine, in one line. */
export class Missing extends Error {}

/** A folder for what is built or installed at run time. */
export function cacheFolder(...names: string[]): string {
  const folder = join(CACHE, ...names);
  mkdirSync(folder, { recursive: true });
  return folder;
}

/** The path of the first of these programs that PATH has. Throws Missing with that hint. */
export function tool(names: string[], hint: string): string {
  // Debian has daemons where not everybody's PATH leads.
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/usr/local/sbin'];
  for (const name of names) {
    for (const folder of folders) {
      if (folder !== '' && isExecutable(join(folder, name))) return join(folder, name);
    }
  }
  throw new Missing(`no ${names.join(' or ')} on PATH (${hint})`);
}

/** Builds a package of that Go module, the module itself by default, into the cache; its path. Throws Missing. */
export async function goProgram(module: URL, name: string, target = '.'): Promise<string> {
  const go = tool(['go'], 'https://go.dev');
  const binary = join(cacheFolder('bin'), name);
  await build(`go build ${name}`, go, ['build', '-o', binary, target], fileURLToPath(module));
  return binary;
}

/** A virtual environment with the packages of `requirements.txt` in that folder; the path of its Python. Throws Missing. */
export async function pythonWith(folder: URL, name: string): Promise<string> {
  const python = tool(['python3'], 'https://www.python.org');
  const requirements = fileURLToPath(new URL('requirements.txt', folder));
  const digest = createHash('sha256').update(readFileSync(requirements)).update(process.arch).digest('hex').slice(0, 12);
  const environment = join(cacheFolder(), `python-${name}-${digest}`);
  const binary = join(environment, 'bin', 'python');
  const stamp = join(environment, 'installed');
  if (existsSync(stamp)) return binary;
  rmSync(environment, { recursive: true, force: true });
  await build(`a Python environment for ${name}`, python, ['-m', 'venv', environment]);
  await build(`pip install for ${name}`, binary, ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '-r', requirements]);
  writeFileSync(stamp, '');
  return binary;
}

/** Compiles one file of C; its path. Throws Missing. */
export async function cProgram(source: URL, name: string, libraries: string[], hint: string): Promise<string> {
  const cc = tool(['cc'], 'a C compiler');
  const binary = join(cacheFolder('bin'), name);
  const flags = libraries.map((library) => `-l${library}`);
  try {
    await build(`cc ${name}`, cc, ['-O2', '-pthread', '-o', `${binary}.new`, fileURLToPath(source), ...flags]);
  } catch (error) {
    throw new Missing(`${error instanceof Error ? error.message : error} (${hint})`);
  }
  renameSync(`${binary}.new`, binary);
  return binary;
}

async function build(what: string, file: string, args: string[], cwd?: string): Promise<void> {
  try {
    await run(file, args, { cwd, timeout: BUILD_MS, maxBuffer: 64 * 2 ** 20 });
  } catch (error) {
    const { stderr = '', killed = false } = error as { stderr?: string; killed?: boolean };
    const said = stderr.trim().split('\n').slice(-2).join(' / ').slice(-TAIL_CHARS);
    throw new Missing(killed ? `${what}: not done within ${BUILD_MS / 60_000} minutes` : `${what}: ${said || String(error)}`);
  }
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
