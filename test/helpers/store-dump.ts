import type { Redis } from 'ioredis';

/** All that stands in a pool, as `key.field` → text. Key names are without the pool's prefix, times as `t+ms`, fences as `F<n>`. */
export type Dump = Map<string, string>;

/** Fences by their order: F1 is the oldest that this pool's dumps have met. */
export class Labels {
  readonly #known = new Map<string, string>();

  /** Names the fences that are new, oldest first. */
  learn(fences: Iterable<string>): void {
    const fresh = [...new Set(fences)].filter((fence) => !this.#known.has(fence));
    for (const fence of fresh.sort()) this.#known.set(fence, `F${this.#known.size + 1}`);
  }

  fence(fence: string): string {
    this.learn([fence]);
    return this.#known.get(fence) ?? fence;
  }
}

const FENCE = /\b1[789]\d{14}\b/g;
const TIME = /\b1[789]\d{11}\b/g;
/** How late it was in a pool that no tick has looked at for a while: most pools of tests. */
const UNTICKED = 'meta.clock';
const EVENT_FIELDS_HIDDEN = new Set(['kind', 'subject', 'at', 'by']);

/** Reads every key of a pool by SCAN and TYPE. Keys with a TTL have a line `ttl key` too, in seconds, rounded up. */
export async function dump(redis: Redis, pool: string, epochMs: number, labels: Labels): Promise<Dump> {
  const prefix = `muster:{${pool}}:`;
  const raw: Dump = new Map();
  for (const key of await scanKeys(redis, prefix)) {
    await readKey(redis, key, key.slice(prefix.length), raw);
    const ttlMs = await redis.pttl(key);
    if (ttlMs > 0) raw.set(`ttl ${key.slice(prefix.length)}`, `${Math.ceil(ttlMs / 1_000)} s`);
  }
  const text = [...raw].flat().join(' ');
  labels.learn(text.match(FENCE) ?? []);
  const name = (value: string) => value.replace(FENCE, (fence) => labels.fence(fence)).replace(TIME, (ms) => relative(Number(ms) - epochMs));
  return new Map([...raw].map(([path, value]) => [name(path), name(value)]));
}

const relative = (ms: number) => (ms < 0 ? `t${ms}` : `t+${ms}`);

export async function scanKeys(redis: Redis, prefix: string): Promise<string[]> {
  const found = new Set<string>();
  let cursor = '0';
  do {
    const [next, page] = await redis.scan(cursor, 'MATCH', `${prefix.replace(/[[\]?*\\]/g, '\\$&')}*`, 'COUNT', 1_000);
    for (const key of page) found.add(key);
    cursor = next;
  } while (cursor !== '0');
  return [...found].sort();
}

async function readKey(redis: Redis, key: string, short: string, into: Dump): Promise<void> {
  const type = await redis.type(key);
  if (type === 'string') into.set(short, failureText(short, (await redis.get(key)) ?? ''));
  else if (type === 'list') into.set(short, (await redis.lrange(key, 0, -1)).join(' '));
  else if (type === 'hash') {
    // What a digest covers is tested where it is made.
    for (const [field, value] of Object.entries(await redis.hgetall(key)))
      if (`${short}.${field}` !== UNTICKED) into.set(`${short}.${field}`, field === 'digest' ? '#' : value);
  } else if (type === 'zset') {
    for (const member of await redis.zrange(key, '0', '-1')) into.set(`${short}.${member}`, (await redis.zscore(key, member)) ?? '');
  } else if (type === 'stream') {
    into.set(short, (await redis.xrange(key, '-', '+')).map(([, flat]) => eventText(flat)).join(' | '));
  } else if (type !== 'none') throw new Error(`${key} is a ${type}`);
}

/** The JSON of a failure in one line: its fields come in no certain order. */
function failureText(key: string, value: string): string {
  if (!key.endsWith(':error')) return value;
  const { code, reason, message, retryable } = JSON.parse(value) as { code: number; reason: string; message: string; retryable: boolean };
  return `${code} ${reason} ${retryable ? 'retryable' : 'final'}: ${message}`;
}

function eventText(flat: string[]): string {
  const fields = new Map<string, string>();
  for (let i = 0; i < flat.length; i += 2) fields.set(flat[i] ?? '', flat[i + 1] ?? '');
  const rest = [...fields].filter(([field]) => !EVENT_FIELDS_HIDDEN.has(field)).map(([field, value]) => `${field}=${value}`);
  return [fields.get('kind'), fields.get('subject'), ...rest].filter((word) => word !== '').join(' ');
}

/** What differs: `'before → after'`, `'+ new'`, `'- gone'`. Of the events, those that are new. */
export function changes(before: Dump, after: Dump): Record<string, string> {
  const diff: Record<string, string> = {};
  for (const path of [...new Set([...before.keys(), ...after.keys()])].sort()) {
    const [was, is] = [before.get(path), after.get(path)];
    if (was === is || (path.startsWith('ttl ') && nearly(was, is))) continue;
    if (was === undefined) diff[path] = `+ ${is}`;
    else if (is === undefined) diff[path] = `- ${was}`;
    else if (path === 'events' && is.startsWith(`${was} | `)) diff[path] = `+ ${is.slice(was.length + 3)}`;
    else diff[path] = `${was} → ${is}`;
  }
  return diff;
}

/** TTLs run by Redis' own time while a test goes on. */
function nearly(was: string | undefined, is: string | undefined): boolean {
  return was !== undefined && is !== undefined && Math.abs(Number.parseInt(was, 10) - Number.parseInt(is, 10)) <= 10;
}
