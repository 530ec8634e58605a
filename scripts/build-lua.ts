/**
 * Builds `src/store/scripts.generated.ts` from `src/store/lua/*.lua`.
 *
 * Each script's header is its contract and the one source of its arguments: `@args` names the fixed ones (after the caller's id and the
 * highest fence seen, which all have), `@each` the fields of one item of a batch, `@use` the library parts, `@flags deny-oom` that a full
 * Redis refuses it, `@flags read-only` that Redis lets it write nothing. Out of them come the Lua locals, the `items()` iterator, and the types of the TypeScript caller.
 *
 * `npm run lua` writes; `npm run lua -- --check` exits 1 when the committed module is not current.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';

const LUA = new URL('../src/store/lua/', import.meta.url);
const OUT = new URL('../src/store/scripts.generated.ts', import.meta.url);
const FIRST_ARG = 3;
const FLAGS = ['deny-oom', 'read-only'];

interface Header {
  args: string[];
  each: string[];
  use: string[];
  denyOom: boolean;
  readOnly: boolean;
}

function words(line: string | undefined): string[] {
  return (line ?? '').split(/\s+/).filter((word) => word !== '' && word !== '-');
}

function readHeader(name: string, source: string): Header {
  const tag = (key: string) => source.match(new RegExp(`^-- @${key} (.*)$`, 'm'))?.[1];
  for (const key of ['args', 'returns']) {
    if (tag(key) === undefined) throw new Error(`${name}.lua: its header has no @${key}`);
  }
  if (!source.startsWith(`-- ${name}: `)) throw new Error(`${name}.lua: its header does not begin with its name`);
  const flags = words(tag('flags'));
  for (const flag of flags) if (!FLAGS.includes(flag)) throw new Error(`${name}.lua: its header has the flag ${flag}, which is none`);
  const [denyOom, readOnly] = FLAGS.map((flag) => flags.includes(flag));
  return { args: words(tag('args')), each: words(tag('each')), use: words(tag('use')), denyOom: denyOom === true, readOnly: readOnly === true };
}

/** Comments cost bytes on each SCRIPT LOAD and nothing else, but a script read back with `SCRIPT` tools should be short: code only. */
function strip(source: string): string {
  return source
    .split('\n')
    .filter((line) => !/^\s*--/.test(line) && line.trim() !== '')
    .join('\n');
}

/** The script after its library parts: its arguments as locals, `items()`, and its body. */
function compose(header: Header, body: string): string {
  const parts: string[] = [];
  if (header.args.length > 0) {
    parts.push(`local ${header.args.join(', ')} = ${header.args.map((_, i) => `ARGV[${FIRST_ARG + i}]`).join(', ')}`);
  }
  if (header.each.length > 0) {
    const size = header.each.length;
    const before = FIRST_ARG + header.args.length - size;
    parts.push(
      `local function items() local i, n = ${before}, #ARGV return function() i = i + ${size} if i <= n then return unpack(ARGV, i, i + ${size - 1}) end end end`,
    );
  }
  parts.push(strip(body));
  return parts.join('\n');
}

function quote(text: string): string {
  if (/`|\$\{/.test(text)) throw new Error('a Lua source with a backtick or ${ would break out of String.raw');
  return `String.raw\`${text}\``;
}

function build(): string {
  const read = (path: string) => readFileSync(new URL(path, LUA), 'utf8');
  const names = readdirSync(LUA)
    .filter((file) => file.endsWith('.lua'))
    .map((file) => file.slice(0, -4))
    .sort();
  const libs = readdirSync(new URL('lib/', LUA))
    .map((file) => file.slice(0, -4))
    .sort();
  const parts = libs.map((name) => `const ${name} = ${quote(strip(read(`lib/${name}.lua`)))};`);
  const entries = names.map((name) => {
    const source = read(`${name}.lua`);
    const header = readHeader(name, source);
    const list = (items: string[]) => `[${items.map((item) => `'${item}'`).join(', ')}]`;
    return `  ${name}: {
    args: ${list(header.args)},
    each: ${list(header.each)},
    denyOom: ${header.denyOom},
    readOnly: ${header.readOnly},
    source: [${['base', ...header.use].join(', ')}, ${quote(compose(header, source))}].join('\\n'),
  },`;
  });
  return `// Built from src/store/lua by scripts/build-lua.ts: \`npm run lua\`. Not written by hand.\n${parts.join('\n')}\nexport const scripts = {\n${entries.join('\n')}\n} as const;\n`;
}

const built = build();
if (process.argv.includes('--check')) {
  if (readFileSync(OUT, 'utf8') !== built) {
    process.stderr.write('src/store/scripts.generated.ts is not current: run `npm run lua` and commit it.\n');
    process.exit(1);
  }
} else {
  writeFileSync(OUT, built);
}
