import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { ROOT } from '../helpers/source.js';

interface Lock {
  packages: Record<string, { version?: string; optionalDependencies?: Record<string, string> }>;
}

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
