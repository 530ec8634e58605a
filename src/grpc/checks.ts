import { invalid } from '../domain/errors.js';

/** Cut at a character's border, so that it is at most `maxBytes` long in UTF-8. */
export function cutUtf8(text: string, maxBytes: number): string {
  if (text.length * 3 <= maxBytes) return text;
  const bytes = Buffer.from(text);
  if (bytes.length <= maxBytes) return text;
  let end = maxBytes;
  while (end > 0 && ((bytes[end] ?? 0) & 0xc0) === 0x80) end -= 1;
  return bytes.toString('utf8', 0, end);
}

/** Free text of at most `maxBytes` in UTF-8. It ends up in terminals and logs, so it holds no control characters. */
export function checkText(text: string, field: string, maxBytes: number): string {
  if (Buffer.byteLength(text) > maxBytes) throw invalid(field, `must be at most ${maxBytes} bytes`);
  if (/\p{Cc}/u.test(text)) throw invalid(field, 'must not hold control characters');
  return text;
}

/** The entries of a map, refused when there are more than `max`. */
export function checkEntries(map: Record<string, string>, field: string, max: number): [string, string][] {
  const entries = Object.entries(map);
  if (entries.length > max) throw invalid(field, `must have at most ${max} entries`);
  return entries;
}

/** How the field of one map entry is written in an error. The key is the caller's, so it is cut. */
export function entryField(field: string, key: string): string {
  return `${field}[${JSON.stringify(cutUtf8(key, 63))}]`;
}

export function checkInteger(value: number, field: string, min: number, max: number): number {
  if (!Number.isInteger(value) || value < min || value > max) throw invalid(field, `must be ${min} to ${max}`);
  return value;
}
