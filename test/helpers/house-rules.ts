import { codeOnly, importsOf, linesMatching, resolveImport, type Source, withoutComments } from './source.js';

/** One rule of the house for one file at a time. */
export interface Rule {
  name: string;
  /** What to do instead. */
  remedy: string;
  applies(path: string): boolean;
  /** What is wrong with the file; empty: nothing. */
  broken(source: Source): string[];
  /** Files that break it: a rule that cannot fail is none. */
  bad: Source[];
  /** Files close to the limit that do not. */
  good?: Source[];
}

const isGenerated = (path: string) => path.includes('generated');
const inSrc = (path: string) => path.startsWith('src/') && path.endsWith('.ts') && !isGenerated(path);
const inTests = (path: string) => path.startsWith('test/') && path.endsWith('.ts');
const isCode = (path: string) => /\.(ts|mjs)$/.test(path) && !isGenerated(path);
const inCli = (path: string) => path.startsWith('src/cli/') || path === 'src/main.ts';

/** The layer of a file in src: its folder, or its name at the top. Generated gRPC code is a layer of its own. */
export function layerOf(path: string): string {
  if (path.startsWith('src/grpc/generated/')) return 'generated';
  return path.split('/')[1]?.replace(/\.ts$/, '') ?? '';
}

const BELOW = ['jobs', 'fleet', 'links', 'store', 'domain', 'config'];

/** What a layer may import besides itself. `main` and `index` wire and export: anything. */
const MAY_IMPORT: Record<string, string[]> = {
  domain: [],
  config: ['domain'],
  sockets: ['domain'],
  store: ['domain', 'config'],
  links: ['sockets', 'domain', 'config', 'generated'],
  jobs: ['links', 'store', 'domain', 'config'],
  fleet: ['jobs', 'links', 'store', 'domain', 'config'],
  grpc: [...BELOW, 'sockets', 'generated'],
  http: BELOW,
  health: BELOW,
  lifecycle: ['grpc', 'http', 'health', 'sockets', ...BELOW],
  sdk: ['sockets', 'domain', 'generated'],
  cli: ['sdk', 'lifecycle', 'domain', 'config'],
};

const OWNERS: Record<string, string[]> = {
  ioredis: ['store'],
  redlock: ['store'],
  bullmq: ['health'],
  'prom-client': ['http'],
  '@opentelemetry/api': ['lifecycle', 'sdk'],
  '@grpc/grpc-js': ['grpc', 'links', 'sdk', 'sockets'],
};

function wrongDirection({ path, text }: Source): string[] {
  const from = layerOf(path);
  const allowed = MAY_IMPORT[from];
  if (from === 'main' || from === 'index') return [];
  if (allowed === undefined) return [`the folder ${from} is not in the architecture`];
  return importsOf(text).flatMap((specifier) => {
    const target = resolveImport(path, specifier);
    if (target === undefined) return [];
    const to = layerOf(target);
    return to === from || allowed.includes(to) ? [] : [`${from} imports ${to} (${specifier})`];
  });
}

function foreignPackage({ path, text }: Source): string[] {
  const layer = layerOf(path);
  return importsOf(text).flatMap((specifier) => {
    const owners = Object.entries(OWNERS).find(([name]) => specifier === name || specifier.startsWith(`${name}/`))?.[1];
    return owners === undefined || owners.includes(layer) ? [] : [`${specifier} is for ${owners.join(', ')} only`];
  });
}

/** The arguments of each call of these functions, split at the top level. */
function callsOf(text: string, names: RegExp): string[][] {
  return [...text.matchAll(names)].map((match) => {
    const args = [''];
    let depth = 0;
    for (const char of text.slice(match.index + match[0].length)) {
      if ('([{'.includes(char)) depth++;
      if (')]}'.includes(char) && depth-- === 0) break;
      if (char === ',' && depth === 0) args.push('');
      else args[args.length - 1] += char;
    }
    return args.map((arg) => arg.trim());
  });
}

const SLEEP_MAX_MS = 100;

/** A timer that rejects or throws is a deadline; any other of that length is a sleep. */
function longSleeps({ text }: Source): string[] {
  return callsOf(codeOnly(text), /\b(?:setTimeout|sleep|delay|pause)\(/g)
    .filter((args) => args.some((arg) => /^[\d_]+$/.test(arg) && Number(arg.replaceAll('_', '')) >= SLEEP_MAX_MS))
    .filter((args) => !/\breject\(|\bthrow\b|\bkill\(/.test(args.join()))
    .map((args) => `sleeps for ${args.join(', ')}`);
}

/** A rule that a pattern in the code, or in the text without comments, tells. */
function pattern(rule: Omit<Rule, 'broken'> & { match: RegExp; view?: (text: string) => string }): Rule {
  const { match, view = codeOnly, ...rest } = rule;
  return { ...rest, broken: ({ text }) => linesMatching(view(text), match) };
}

const MAX_LINES = 500;
const marker = new RegExp(`\\b(${['TO', 'FIX'].map((word, i) => word + ['DO', 'ME'][i]).join('|')})\\b`);

export const rules: Rule[] = [
  {
    name: 'imports go down: main → grpc | http | health → jobs, fleet → links, store → domain',
    remedy: 'move what both need further down, or hand it in as a port defined in domain',
    applies: inSrc,
    broken: wrongDirection,
    bad: [
      { path: 'src/domain/job.ts', text: "import type { Redis } from '../store/redis.js';" },
      { path: 'src/jobs/submit.ts', text: "const x = await import('../grpc/status.js');" },
      { path: 'src/grpc/server.ts', text: "export { probe } from '../health/check.js';" },
      { path: 'src/cli/submit.ts', text: "import { Job } from '../grpc/generated/muster/v1/job.js';" },
      { path: 'src/store/jobs.ts', text: "type A = import('../jobs/submit.js').A;" },
    ],
    good: [{ path: 'src/grpc/server.ts', text: "import { a } from '../jobs/submit.js'; // from '../health/check.js'" }],
  },
  {
    name: 'ioredis and redlock are for store, bullmq for health, prom-client for http, grpc-js for grpc, links, sdk and sockets',
    remedy: 'use the port that the owning folder offers',
    applies: (path) => inSrc(path) && !['main', 'index'].includes(layerOf(path)),
    broken: foreignPackage,
    bad: [
      { path: 'src/jobs/ticker.ts', text: "import { Redis } from 'ioredis';" },
      { path: 'src/store/lock.ts', text: "import { Queue } from 'bullmq';" },
      { path: 'src/lifecycle/service.ts', text: "import Redlock from 'redlock';" },
      { path: 'src/domain/errors.ts', text: "import { status } from '@grpc/grpc-js';" },
      { path: 'src/domain/observer.ts', text: "import { Counter } from 'prom-client';" },
      { path: 'src/jobs/submit.ts', text: "import { trace } from '@opentelemetry/api';" },
    ],
  },
  {
    name: 'relative imports end in .js and built-ins begin with node:',
    remedy: "write './name.js' and 'node:name'",
    applies: isCode,
    broken: ({ path, text }) =>
      importsOf(text).filter((name) =>
        name.startsWith('.')
          ? !/\.(js|mjs|json)$/.test(name) && !path.endsWith('.mjs')
          : /^(fs|path|net|os|crypto|child_process|events|stream|http|http2|url|util|timers)(\/|$)/.test(name),
      ),
    bad: [
      { path: 'src/a/b.ts', text: "import { a } from './c';" },
      { path: 'src/a/b.ts', text: "import { a } from 'fs';" },
    ],
  },
  {
    name: `no file is longer than ${MAX_LINES} lines`,
    remedy: 'split it by thought',
    applies: isCode,
    broken: ({ text }) => {
      const lines = text.trimEnd().split('\n').length;
      return lines > MAX_LINES ? [`${lines} lines`] : [];
    },
    bad: [{ path: 'src/a/b.ts', text: 'x;\n'.repeat(MAX_LINES + 1) }],
    good: [{ path: 'src/a/b.ts', text: 'x;\n'.repeat(MAX_LINES) }],
  },
  pattern({
    name: 'time and randomness come in through constructors',
    remedy: 'take a Clock or Random of domain/clock.ts as a constructor argument',
    applies: (path) => inSrc(path) && path !== 'src/domain/clock.ts' && !inCli(path),
    match: /\bDate\.now\b|\bnew Date\(\)|\bMath\.random\b|\bperformance\.now\b/,
    bad: ['Date.now()', 'new Date()', 'const r = Math.random;', 'performance.now()'].map((text) => ({ path: 'src/jobs/a.ts', text })),
    good: [{ path: 'src/jobs/a.ts', text: "new Date(0); // Date.now()\nconst s = 'Math.random';" }],
  }),
  pattern({
    name: 'only the command line writes to the console',
    remedy: 'take a logger',
    applies: (path) => inSrc(path) && !inCli(path),
    match: /\bconsole\.\w+|\bprocess\.std(out|err)\b/,
    bad: ['console.log(1)', 'process.stdout.write(s)'].map((text) => ({ path: 'src/jobs/a.ts', text })),
  }),
  pattern({
    name: 'nothing is left to do later',
    remedy: 'do it now, or write an issue',
    applies: isCode,
    view: (text) => text,
    match: marker,
    bad: [{ path: 'src/jobs/a.ts', text: `// ${'TO'}${'DO'}: later` }],
  }),
  pattern({
    name: 'no any, and no comment that silences the compiler',
    remedy: 'name the type, or take unknown and check it',
    applies: isCode,
    match: /\bas any\b|:\s*any\b|<any\b|\bany\[\]/,
    bad: ['const a = b as any;', 'function f(a: any) {}', 'const a: Array<any> = [];'].map((text) => ({ path: 'src/jobs/a.ts', text })),
    good: [{ path: 'src/jobs/a.ts', text: "const s = 'as any'; // one: any" }],
  }),
  pattern({
    name: 'the compiler is not silenced',
    remedy: 'mend the type',
    applies: isCode,
    view: (text) => text,
    match: new RegExp(`@ts-(${['ignore', 'nocheck', 'expect-error'].join('|')})`),
    bad: [{ path: 'src/jobs/a.ts', text: `// @ts-${'ignore'}` }],
  }),
  pattern({
    name: 'names in Redis are built in store/keys.ts',
    remedy: 'add a builder with its type to src/store/keys.ts',
    // The tests' clock has a key too, beside the fragment that reads it.
    applies: (path) => inSrc(path) && path !== 'src/store/keys.ts',
    view: (text) => withoutComments(text).replaceAll("'muster:test:clock'", ''),
    match: /['"`]muster:[a-z{$]/,
    bad: ["get('muster:pools')", 'get(`muster:{$' + '{pool}}:meta`)'].map((text) => ({ path: 'src/jobs/a.ts', text })),
    good: [{ path: 'src/cli/a.ts', text: "say('muster: ready')" }],
  }),
  pattern({
    name: "scripts ask for the time through the shared fragment, and build keys from the pool's prefix",
    remedy: 'use NOW, US, P and the key functions of lua/lib/base.lua',
    applies: (path) => path.endsWith('.lua'),
    view: (text) => text.replace(/--.*/g, ''),
    match: /['"]TIME['"]|\bos\.|math\.random|muster:/,
    bad: ["call('TIME')", "call('GET', 'muster:pools')"].map((text) => ({ path: 'src/store/lua/a.lua', text })),
  }),
  {
    name: 'a script begins with its contract',
    remedy: "begin with '-- name: what it does', '-- @args …' and '-- @returns …'",
    applies: (path) => /^src\/store\/lua\/[a-z_]+\.lua$/.test(path),
    broken: ({ path, text }) => {
      const name = path.replace(/.*\/|\.lua$/g, '');
      const wanted: [string, RegExp][] = [
        ['its name', new RegExp(`^-- ${name}: \\S`)],
        ['@args', /^-- @args( |$)/m],
        ['@returns', /^-- @returns \S/m],
      ];
      return wanted.filter(([, shape]) => !shape.test(text)).map(([what]) => `its header lacks ${what}`);
    },
    bad: [{ path: 'src/store/lua/a.lua', text: '-- b: does it\n-- @args x\n-- @returns y' }],
    good: [{ path: 'src/store/lua/a.lua', text: '-- a: does it\n-- @args x\n-- @returns y' }],
  },
  {
    name: `tests do not sleep for ${SLEEP_MAX_MS} ms or more`,
    remedy: 'wait for the condition: until() of test/helpers/until.ts',
    applies: inTests,
    broken: longSleeps,
    bad: ['await sleep(100);', 'await new Promise((r) => setTimeout(r, 1_500));', 'await setTimeout(500, undefined);'].map((text) => ({
      path: 'test/unit/a.test.ts',
      text,
    })),
    good: [{ path: 'test/unit/a.test.ts', text: 'await pause(99); setTimeout(() => reject(new Error()), 5000);' }],
  },
  pattern({
    name: 'no test is skipped, alone or still to be written',
    remedy: 'write it, run it, or remove it',
    applies: inTests,
    match: /\b(test|it|describe|suite)\.(skip|only|todo|fails)\b/,
    bad: [{ path: 'test/unit/a.test.ts', text: "test.skip('x', () => {});" }],
  }),
  {
    name: 'nothing reads files at run time but the command line, the embedded Redis, and who reads certificates and secrets',
    remedy: 'build it into a committed module, or take it as an argument',
    applies: (path) =>
      inSrc(path) &&
      !inCli(path) &&
      !['src/lifecycle/embedded-redis.ts', 'src/lifecycle/redis-access.ts', 'src/lifecycle/watched-files.ts'].includes(path),
    broken: ({ text }) => importsOf(text).filter((name) => /^node:fs(\/|$)/.test(name)),
    bad: [{ path: 'src/store/a.ts', text: "import { readFileSync } from 'node:fs';" }],
  },
];
