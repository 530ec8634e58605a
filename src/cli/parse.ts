import { usage } from './exit.js';

const UNITS: Record<string, number> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const DURATION = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/;
/** A year: what the server takes at the most. */
const DURATION_MAX_MS = 31_536_000_000;

/** `500ms`, `30s`, `5m`, `1.5h`, `7d` in ms. */
export function parseDuration(name: string): (text: string) => number {
  return (text) => {
    const [, number, unit = ''] = DURATION.exec(text) ?? [];
    const ms = Number(number) * (UNITS[unit] ?? Number.NaN);
    if (!(ms <= DURATION_MAX_MS)) throw usage(`${name}: ${JSON.stringify(text)} is no time; write 500ms, 30s, 5m, 2h or 7d (a year at the most)`);
    return ms;
  };
}

export function parseCount(name: string, min: number, max: number): (text: string) => number {
  return (text) => {
    const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
    if (!(value >= min && value <= max)) throw usage(`${name}: ${JSON.stringify(text)} is no whole number from ${min} to ${max}`);
    return value;
  };
}

/** For an option that may stand several times: `k=v` into a record. */
export function parsePair(name: string): (text: string, before: Record<string, string> | undefined) => Record<string, string> {
  return (text, before = {}) => {
    const at = text.indexOf('=');
    if (at <= 0) throw usage(`${name}: ${JSON.stringify(text)} is no pair; write key=value`);
    return { ...before, [text.slice(0, at)]: text.slice(at + 1) };
  };
}

/** One of a few words; a wrong one is answered with the nearest. */
export function parseWord<Word extends string>(name: string, words: readonly Word[]): (text: string) => Word {
  return (text) => {
    const found = words.find((word) => word === text.toLowerCase());
    if (found === undefined) throw usage(`${name}: ${JSON.stringify(text)} is none of ${words.join(', ')}${didYouMean(text, words)}`);
    return found;
  };
}

/** ` (did you mean …?)`, or '' when nothing is near. */
export function didYouMean(text: string, words: readonly string[]): string {
  const distances = words.map((word) => ({ word, far: distance(text.toLowerCase(), word) })).sort((a, b) => a.far - b.far);
  const best = distances[0];
  return best !== undefined && best.far <= Math.max(2, Math.ceil(best.word.length * 0.4)) ? ` (did you mean ${best.word}?)` : '';
}

/** Levenshtein's; words here are short. */
function distance(a: string, b: string): number {
  if (a.length > 64) return a.length;
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(change, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
