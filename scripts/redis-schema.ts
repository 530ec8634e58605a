/**
 * Writes docs/redis-schema.md out of `src/store/keys.ts`: every name that Muster has in Redis. The comment of each builder is its entry:
 * `TYPE: sentence.`, or `TYPE + TTL: sentence.`
 *
 * `npm run redis-schema` writes; `tsx scripts/redis-schema.ts --check` exits 1 when the page is not current.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { keys } from '../src/store/keys.js';

const SOURCE = new URL('../src/store/keys.ts', import.meta.url);
const PAGE = new URL('../docs/redis-schema.md', import.meta.url);

/** What a name stands for: one of Redis' types, or what is no key. */
const TYPES = ['STRING', 'HASH', 'LIST', 'SET', 'ZSET', 'STREAM'] as const;
const OTHERS = ['CHANNEL', 'PREFIX', 'PATTERN', 'ABSENT'] as const;

export interface SchemaEntry {
  /** Of the builder in `keys`. */
  builder: keyof typeof keys;
  /** As it stands in Redis, with `{P}` for the pool and `<…>` for what else differs. */
  name: string;
  type: (typeof TYPES)[number] | (typeof OTHERS)[number];
  expires: boolean;
  about: string;
}

/** The pool's name in this page: no pool that there could be. */
const POOL = 'P';
const ENTRY = /^ {2}\/\*\* ([A-Z]+)( \+ TTL)?: (.+) \*\/\n {2}(\w+): (?:\(([^)]*)\) => )?/gm;

/** Every entry, in the order of the module. Throws Error for a builder without a comment of the form. */
export function readSchema(source = readFileSync(SOURCE, 'utf8')): SchemaEntry[] {
  const entries = [...source.matchAll(ENTRY)].map(([, type = '', ttl, about = '', builder = '', params]): SchemaEntry => {
    if (!isType(type)) throw new Error(`keys.${builder}: ${type} is none of ${[...TYPES, ...OTHERS].join(', ')}`);
    const name = keys[builder as keyof typeof keys];
    const args = (params ?? '').split(', ').map((param) => param.split(':')[0] ?? '');
    const built = typeof name === 'string' ? name : build(name, args);
    return { builder: builder as keyof typeof keys, name: built, type, expires: ttl !== undefined, about };
  });
  const missing = Object.keys(keys).filter((name) => !entries.some(({ builder }) => builder === name));
  if (missing.length > 0) throw new Error(`keys.${missing.join(', keys.')}: the comment must be /** TYPE: sentence. */`);
  return entries;
}

function isType(type: string): type is SchemaEntry['type'] {
  return ([...TYPES, ...OTHERS] as string[]).includes(type);
}

function build(builder: unknown, params: string[]): string {
  return (builder as (...args: string[]) => string)(...params.map((param) => (param === 'name' ? POOL : `<${param}>`)));
}

/** Finds whose key it is that stands in Redis; undefined: nobody's. `a:payload` is the payload of job `a`, and of no job of that name. */
export function findEntry(entries: readonly SchemaEntry[], key: string): SchemaEntry | undefined {
  const isKey = (entry: SchemaEntry) => entry.type !== 'CHANNEL' && entry.type !== 'PATTERN' && entry.type !== 'ABSENT';
  const fits = entries.filter((entry) => isKey(entry) && shapeOf(entry).test(key));
  return fits.toSorted((a, b) => b.name.length - a.name.length)[0];
}

function shapeOf({ name, type }: SchemaEntry): RegExp {
  const escaped = name.replace(/[{}.*+?^$|()[\]\\]/g, '\\$&');
  const filled = escaped.replace(`\\{${POOL}\\}`, '\\{[a-z0-9-]+\\}').replace('<priority>', '[0-3]').replace(/<\w+>/g, '[A-Za-z0-9._:-]+');
  return new RegExp(type === 'PREFIX' ? `^${filled}:` : `^${filled}$`);
}

export function renderSchema(entries: readonly SchemaEntry[]): string {
  const row = ({ name, type, expires, about }: SchemaEntry) => {
    const shown = type === 'PREFIX' ? `${name}:*` : name;
    const what = (TYPES as readonly string[]).includes(type) ? type : type.toLowerCase();
    return `| \`${shown}\` | ${what}${expires ? ' + TTL' : ''} | ${about} |`;
  };
  const table = (part: SchemaEntry[]) => ['| name | type | holds |', '| --- | --- | --- |', ...part.map(row)].join('\n');
  const ofPools = entries.filter(({ name }) => name.includes(`{${POOL}}`));
  return `# What stands in Redis

Written by \`scripts/redis-schema.ts\` from the comments of \`src/store/keys.ts\`, where all names are built: change it there, and run \`npm run redis-schema\`.

The names are for people: look with \`redis-cli\`, and write only through replicas. Each transition is one script, and nothing else keeps the
names consistent. [redis.md](redis.md) says how to run the Redis, [architecture.md](architecture.md#redis) what keeps this together.

## Of the whole fleet

${table(entries.filter((entry) => !ofPools.includes(entry)))}

## Of one pool

\`P\` is the pool's name. It is the hash tag of all its names, so on a Cluster a pool stands in one slot.

${table(ofPools)}
`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const page = renderSchema(readSchema());
  if (!process.argv.includes('--check')) writeFileSync(PAGE, page);
  else if (readFileSync(PAGE, 'utf8') !== page) {
    process.stderr.write('docs/redis-schema.md is not current: run `npm run redis-schema` and commit it.\n');
    process.exit(1);
  }
}
