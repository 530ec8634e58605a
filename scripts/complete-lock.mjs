/**
 * Adds to package-lock.json the optional packages of other platforms that npm left out because the registry it asked does not carry
 * them. `npm ci` refuses a lockfile without them, everywhere. Their names say for which system they are, and their versions are exact.
 *
 * `node scripts/complete-lock.mjs` after a change of dependencies; test/unit/lockfile.test.ts says when it is needed.
 */
import { readFileSync, writeFileSync } from 'node:fs';

const LOCK = new URL('../package-lock.json', import.meta.url);
const SYSTEMS = ['aix', 'android', 'darwin', 'freebsd', 'linux', 'netbsd', 'openbsd', 'openharmony', 'sunos', 'win32'];
const CPUS = { aarch64: 'arm64', armv7: 'arm' };
const LIBCS = { gnu: 'glibc', musl: 'musl' };

/** `@scope/name-linux-x64-musl` → its os, cpu and libc; undefined when the name does not say. */
function platformOf(name) {
  const words = name.split(/[/-]/);
  const at = words.findIndex((word) => SYSTEMS.includes(word));
  if (at === -1 || words[at + 1] === undefined) return undefined;
  const [os, arch, abi] = words.slice(at);
  return { os: [os], cpu: [CPUS[arch] ?? arch], ...(abi in LIBCS ? { libc: [LIBCS[abi]] } : {}) };
}

const lock = JSON.parse(readFileSync(LOCK, 'utf8'));
const added = [];
for (const [path, entry] of Object.entries(lock.packages)) {
  for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
    const key = `node_modules/${name}`;
    const platform = platformOf(name);
    if (key in lock.packages || `${path}/${key}` in lock.packages || !platform || !/^\d/.test(version)) continue;
    lock.packages[key] = { version, ...platform, ...(entry.dev ? { dev: true } : {}), optional: true };
    added.push(`${name}@${version}`);
  }
}
const sorted = Object.keys(lock.packages).sort((a, b) => a.localeCompare(b, 'en'));
lock.packages = Object.fromEntries(sorted.map((key) => [key, lock.packages[key]]));
writeFileSync(LOCK, `${JSON.stringify(lock, null, 2)}\n`);
process.stderr.write(added.length > 0 ? `added:\n  ${added.join('\n  ')}\n` : 'complete already\n');
