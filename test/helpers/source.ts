import { readdirSync, readFileSync } from 'node:fs';
import { posix } from 'node:path';

/** A file of this repository: its path from the root, with slashes, and its text. */
export interface Source {
  path: string;
  text: string;
}

export const ROOT = new URL('../../', import.meta.url);

/** Every file under a folder of the repository whose name ends like that. */
export function sourcesUnder(folder: string, ending: RegExp): Source[] {
  return readdirSync(new URL(`${folder}/`, ROOT), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && ending.test(entry.name))
    .map((entry) => {
      const inside = entry.parentPath.slice(new URL(`${folder}/`, ROOT).pathname.length);
      const path = posix.join(folder, inside, entry.name);
      return { path, text: readFileSync(new URL(path, ROOT), 'utf8') };
    })
    .sort((a, b) => (a.path < b.path ? -1 : 1));
}

/** Line comments, block comments, strings, templates, and regular expressions where an operand is due, in this order of trial. */
const TOKEN =
  /(\/\/[^\n]*|\/\*[\s\S]*?\*\/)|('(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\[\s\S]|[^`\\])*`)|((?<=(?:^|[=(,:[!&|?{};\n>]|return)\s*)\/(?![/*])(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\n[])+\/[a-z]*)/g;

const blank = (token: string) => token.replace(/[^\n]/g, ' ');

/** The text with its comments blanked out; lines and columns stay. */
export function withoutComments(text: string): string {
  return text.replace(TOKEN, (token, comment: string | undefined) => (comment === undefined ? token : blank(token)));
}

/** The text with comments, strings and regular expressions blanked out: what is left is code. */
export function codeOnly(text: string): string {
  return text.replace(TOKEN, blank);
}

/** What a module imports, by any form of import: static, `export from`, dynamic, types. */
export function importsOf(text: string): string[] {
  const found = withoutComments(text).matchAll(/(?:\bfrom\s*|\bimport\s*\(?\s*)(['"])([^'"\n]+)\1/g);
  return [...found].map((match) => match[2] ?? '');
}

/** The path from the root of what a relative import means; undefined for a package. */
export function resolveImport(from: string, specifier: string): string | undefined {
  if (!specifier.startsWith('.')) return undefined;
  return posix.join(posix.dirname(from), specifier).replace(/\.js$/, '.ts');
}

/** Each match with the line that it stands on: `line 12: …`. */
export function linesMatching(text: string, pattern: RegExp): string[] {
  return text.split('\n').flatMap((line, index) => (pattern.test(line) ? [`line ${index + 1}: ${line.trim()}`] : []));
}
