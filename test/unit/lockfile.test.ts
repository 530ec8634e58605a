import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { ROOT } from '../helpers/source.js';

interface Lock {
  packages: Record<string, { version?: string; hasInstallScript?: boolean; optionalDependencies?: Record<string, string> }>;
}

/** Their scripts only fetch, compile, or check what the lockfile's own packages bring anyway. */
const KNOWN = ['@bufbuild/buf', 'esbuild', 'msgpackr-extract', 'protobufjs'];

/** Optional packages that are named and not locked: `npm ci` refuses such a lockfile. */
function missing({ packages }: Lock): string[] {
  return Object.entries(packages).flatMap(([path, { optionalDependencies = {} }]) =>
    Object.keys(optionalDependencies).filter((name) => !(`node_modules/${name}` in packages) && !(`${path}/node_modules/${name}` in packages)),
  );
}

test('the lockfile has the optional packages of every platform', () => {
  const lock = JSON.parse(readFileSync(new URL('package-lock.json', ROOT), 'utf8')) as Lock;
  expect(missing(lock), 'run `node scripts/complete-lock.mjs`').toEqual([]);
  expect(missing({ packages: { 'node_modules/a': { optionalDependencies: { b: '1.0.0' } } } })).toEqual(['b']);
});

test('the lockfile names no registry, so that everybody uses their own', () => {
  expect(readFileSync(new URL('package-lock.json', ROOT), 'utf8')).not.toContain('"resolved"');
});

test('packages with install scripts are those that are known to work without them', () => {
  const { packages } = JSON.parse(readFileSync(new URL('package-lock.json', ROOT), 'utf8')) as Lock;
  const withScripts = Object.entries(packages).flatMap(([path, { hasInstallScript }]) =>
    hasInstallScript ? [path.replace(/^.*node_modules\//, '')] : [],
  );
  expect(withScripts.sort()).toEqual(KNOWN);
});

test('npm pack builds before it packs: without dist the package would be empty', () => {
  const { scripts } = JSON.parse(readFileSync(new URL('package.json', ROOT), 'utf8')) as { scripts: Record<string, string> };
  expect(scripts['prepack']).toBe(scripts['build']);
  expect(readFileSync(new URL('.npmrc', ROOT), 'utf8'), 'then prepack would not run').not.toContain('ignore-scripts');
});
