/**
 * Lets the generated code keep map entries with the key `__proto__`. What ts-proto generates assigns every entry, and assigning to
 * `__proto__` sets an object's prototype or does nothing: the metadata or label of that name would vanish without a word.
 * Run after `buf generate`; running it twice changes nothing.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const GENERATED = fileURLToPath(new URL('../src/grpc/generated/', import.meta.url));

const define = (map: string, value: string) =>
  `globalThis.Object.defineProperty(${map}, "__proto__", { value: ${value}, writable: true, enumerable: true, configurable: true })`;

let entries = 0;
for (const file of readdirSync(GENERATED, { recursive: true, encoding: 'utf8' })) {
  if (!file.endsWith('.ts')) continue;
  const path = join(GENERATED, file);
  const before = readFileSync(path, 'utf8');
  const after = before
    .replace(/^( +)(message\.\w+)\[(entry\d+)\.key\] = \3\.value;$/gm, (line, indent: string, map: string, entry: string) => {
      entries++;
      return `${indent}if (${entry}.key === "__proto__") ${define(map, `${entry}.value`)};\n${indent}else ${line.trim()}`;
    })
    .replace(/^( +)acc\[key\] = globalThis\.String\(value\);$/gm, (line, indent: string) => {
      entries++;
      return `${indent}if (key === "__proto__") ${define('acc', 'globalThis.String(value)')};\n${indent}else ${line.trim()}`;
    });
  if (after !== before) writeFileSync(path, after);
}
// A newer ts-proto may write this differently: then the build must fail, and not lose entries.
const done = readdirSync(GENERATED, { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.ts'))
  .map((file) => readFileSync(join(GENERATED, file), 'utf8'))
  .join('\n');
const maps = done.match(/^ {2}\w+: \{ \[key: string\]: string \};$/gm)?.length ?? 0;
const guarded = done.match(/if \(entry\d+\.key === "__proto__"\)/g)?.length ?? 0;
if (guarded !== maps) throw new Error(`${maps} map fields are generated, and ${guarded} of them are guarded: adapt scripts/map-entries.ts`);
process.stderr.write(`map entries: ${entries} assignments guarded, ${maps} map fields\n`);
