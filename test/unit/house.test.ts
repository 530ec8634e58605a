import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { rules } from '../helpers/house-rules.js';
import { codeOnly, importsOf, ROOT, resolveImport, type Source, sourcesUnder } from '../helpers/source.js';

const sources: Source[] = [...sourcesUnder('src', /\.(ts|lua)$/), ...sourcesUnder('test', /\.ts$/), ...sourcesUnder('scripts', /\.(ts|mjs)$/)];

/** The rules' own bad examples stand in strings there. */
const EXAMPLES = new Set(['test/helpers/house-rules.ts', 'test/unit/house.test.ts']);

describe.each(rules)('$name', ({ applies, broken, remedy, bad, good }) => {
  test('holds in every file', () => {
    const files = sources.filter(({ path }) => applies(path) && !EXAMPLES.has(path));
    expect(files.length).toBeGreaterThan(0);
    const found = files.flatMap((source) => broken(source).map((what) => `${source.path}: ${what}`));
    expect(found, `${remedy}\n${found.join('\n')}`).toEqual([]);
  });

  test('can fail', () => {
    for (const source of bad) {
      expect(applies(source.path), source.path).toBe(true);
      expect(broken(source), source.text).not.toEqual([]);
    }
    for (const source of good ?? []) expect(broken(source), source.text).toEqual([]);
  });
});

/** The packages that a module needs, itself and through what it imports. */
function packagesBehind(entry: string, byPath: Map<string, string>): Set<string> {
  const packages = new Set<string>();
  const seen = new Set<string>();
  const queue = [entry];
  for (let path = queue.pop(); path !== undefined; path = queue.pop()) {
    if (seen.has(path)) continue;
    seen.add(path);
    for (const specifier of importsOf(byPath.get(path) ?? '')) {
      const target = resolveImport(path, specifier);
      if (target === undefined) packages.add(specifier);
      else queue.push(target);
    }
  }
  return packages;
}

const SERVER_ONLY = ['ioredis', 'redlock', 'bullmq', 'prom-client'];

test('the SDK pulls in neither a Redis client nor BullMQ, not even through others', () => {
  const byPath = new Map(sources.map(({ path, text }) => [path, text]));
  const entries = sources.filter(({ path }) => path.startsWith('src/sdk/'));
  expect(entries.length).toBeGreaterThan(0);
  for (const { path } of entries) {
    const packages = packagesBehind(path, byPath);
    expect(
      SERVER_ONLY.filter((name) => packages.has(name)),
      `${path}: what it needs of that module belongs into domain`,
    ).toEqual([]);
  }
});

test('what a module needs is found through two others and a type import', () => {
  const files = new Map([
    ['src/sdk/a.ts', "import type { B } from '../domain/b.js';"],
    ['src/domain/b.ts', "export * from './c.js';"],
    ['src/domain/c.ts', "const { Redis } = await import('ioredis');"],
  ]);
  expect([...packagesBehind('src/sdk/a.ts', files)]).toEqual(['ioredis']);
});

test('comments, strings and regular expressions are not code', () => {
  const text = "a; // b\nconst c = /['\"]/; d('e', `f $" + '{g}`); /* h */ const i = j / k / l;';
  expect(codeOnly(text).replace(/\s+/g, ' ')).toBe('a; const c = ; d( , ); const i = j / k / l;');
});

interface Manifest {
  files: string[];
  bin: Record<string, string>;
  exports: Record<string, string | Record<string, string>>;
}

/** Every path that package.json promises to whoever installs it. */
function promised({ files, bin, exports }: Manifest): string[] {
  const targets = Object.values(exports).flatMap((entry) => (typeof entry === 'string' ? [entry] : Object.values(entry)));
  return [...files, ...Object.values(bin), ...targets].map((path) => path.replace(/^\.\//, ''));
}

test('all that package.json promises is there after a build', () => {
  const manifest = JSON.parse(readFileSync(new URL('package.json', ROOT), 'utf8')) as Manifest;
  const missing = promised(manifest).filter((path) => !existsSync(new URL(path, ROOT)));
  expect(missing, 'mend package.json, or run `npm run build`').toEqual([]);
  expect(promised({ files: ['dist'], bin: { a: './b.js' }, exports: { '.': { types: './c.d.ts' } } })).toEqual(['dist', 'b.js', 'c.d.ts']);
});
