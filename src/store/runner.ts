import { createHash } from 'node:crypto';
import type { Redis } from 'ioredis';
import { MusterError, redisFull, saysFull, toError, unavailable } from '../domain/errors.js';
import { LEGACY_METHOD } from '../domain/names.js';
import { keys } from './keys.js';
import { scripts } from './scripts.generated.js';

export type ScriptName = keyof typeof scripts;
export type Arg = string | number | Buffer;
type Args<N extends ScriptName> = Record<(typeof scripts)[N]['args'][number], Arg>;
type Each<N extends ScriptName> = Record<(typeof scripts)[N]['each'][number], Arg>;
/** What comes back: Buffers, numbers, null, and lists of them. */
export type Reply = Buffer | number | null | Reply[];

/** The numbers that the scripts know by name. All times in ms. */
export interface ScriptLimits {
  DELIVERY_MS: number;
  LEASE_MS: number;
  HOME_TTL_MS: number;
  TICK_STALE_MS: number;
  OUTAGE_GRACE_MS: number;
  REATTACH_GRACE_MS: number;
  QUARANTINE_MAX_MS: number;
  HANDOVER_BACKOFF_MS: number;
  BURIED_RETENTION_MS: number;
  FORGET_MS: number;
  MAX_HANDOVERS: number;
  EVENTS_KEPT: number;
  /** Pairs and discarded entries that one call handles. */
  MATCH_BOUND: number;
  /** Up to that length a list loses an entry at once; beyond it keeps a tombstone. */
  EXACT_LIST: number;
}

const CLOCK = `local function now_us() local t = redis.call('TIME') return t[1] * 1000000 + t[2] end`;
/** The tests' clock: µs under a key, which they set. The only difference between their scripts and these. */
const TEST_CLOCK = `local function now_us() return tonumber(redis.call('GET', 'muster:test:clock')) end`;

export interface RunnerOptions {
  limits: ScriptLimits;
  /** This replica's id: ARGV[1] of every script. */
  home: string;
  testClock?: boolean;
  /** Changes a composed script before it is used. For tests alone: that they go red when a script is wrong. */
  mutate?: (source: string) => string;
}

/**
 * Runs the scripts. Knows their sources by SHA, loads them when a connection is new, and again where Redis has forgotten them.
 * A reply that does not come leaves the outcome unknown: every script may be run again with the same arguments.
 */
export class ScriptRunner {
  readonly #redis: Redis;
  readonly #home: string;
  readonly #mutate: (source: string) => string;
  readonly #sources = new Map<string, { sha: string; source: string }>();
  /** Highest fence seen, a pool: a Redis that lost its newest writes must not issue them again. 2^53 µs is the year 2255. */
  readonly #seen = new Map<string, number>();

  constructor(redis: Redis, options: RunnerOptions) {
    this.#redis = redis;
    this.#home = options.home;
    this.#mutate = options.mutate ?? ((source) => source);
    const limits = Object.entries(options.limits).map(([name, value]) => `local ${name} = ${value}`);
    const preamble = [...limits, `local LEGACY_METHOD = '${LEGACY_METHOD}'`, options.testClock ? TEST_CLOCK : CLOCK].join('\n');
    for (const [name, script] of Object.entries(scripts)) {
      this.#compose(name, shebang(script), preamble, script.source);
    }
    // A full Redis refuses a worker it does not know, and must take one again that it knows.
    this.#compose('register', '#!lua', preamble, scripts.register.source);
    this.#compose('register again', '#!lua flags=allow-oom', preamble, scripts.register.source);
  }

  #compose(name: string, shebang: string, preamble: string, source: string): void {
    const text = this.#mutate(`${shebang}\n${preamble}\n${source}`);
    this.#sources.set(name, { sha: createHash('sha1').update(text).digest('hex'), source: text });
  }

  /** Loads all scripts, so that calls in flight need no second round. */
  async load(): Promise<void> {
    const pipeline = this.#redis.pipeline();
    for (const { source } of this.#sources.values()) pipeline.script('LOAD', source);
    const replies = await pipeline.exec();
    for (const [error] of replies ?? []) if (error) throw error;
  }

  saw(pool: string, fence: number): void {
    if (fence > (this.#seen.get(pool) ?? 0)) this.#seen.set(pool, fence);
  }

  /**
   * Runs one script on one pool. Rejects with MusterError: `unavailable` (REDIS_AWAY: it was not sent; REDIS_UNKNOWN: it may have run),
   * `resource_exhausted` (REDIS_FULL), `internal` for a bug.
   */
  async run<N extends ScriptName>(name: N, pool: string, args: Args<N>, items: readonly Each<N>[] = [], variant: string = name): Promise<Reply> {
    const script = scripts[name];
    const argv: Arg[] = [this.#home, this.#seen.get(pool) ?? 0];
    for (const field of script.args) argv.push(args[field as keyof Args<N>]);
    for (const item of items) for (const field of script.each) argv.push(item[field as keyof Each<N>]);
    const source = this.#sources.get(variant);
    if (!source) throw new MusterError('internal', 'NO_SCRIPT', `no script ${variant}`);
    try {
      return await this.#evaluate(source, keys.meta(pool), argv);
    } catch (error) {
      throw redisError(toError(error), name);
    }
  }

  async #evaluate(script: { sha: string; source: string }, key: string, argv: Arg[]): Promise<Reply> {
    try {
      return (await this.#redis.callBuffer('EVALSHA', [script.sha, 1, key, ...argv])) as Reply;
    } catch (error) {
      // NOSCRIPT says that nothing ran: SCRIPT FLUSH, or a Redis that started anew.
      if (!toError(error).message.startsWith('NOSCRIPT')) throw error;
      return (await this.#redis.callBuffer('EVAL', [script.source, 1, key, ...argv])) as Reply;
    }
  }
}

function shebang({ denyOom, readOnly }: { denyOom: boolean; readOnly: boolean }): string {
  if (readOnly) return '#!lua flags=no-writes,allow-oom';
  return denyOom ? '#!lua' : '#!lua flags=allow-oom';
}

/** Redis and ioredis errors, in our words. */
export function redisError(error: Error, what: string): MusterError {
  if (error instanceof MusterError) return error;
  const { message } = error;
  // A MULTI of which Redis refused a part: that part says why.
  const [refused] = (error as { previousErrors?: Error[] }).previousErrors ?? [];
  if (message.startsWith('EXECABORT') && refused) return redisError(refused, what);
  if (message.includes('enableOfflineQueue') || message.includes("Stream isn't writeable"))
    return unavailable('REDIS_AWAY', 'Redis is not reachable: try again', error);
  if (saysFull(error)) return redisFull(error);
  if (error.name !== 'ReplyError' || /^(LOADING|READONLY|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|BUSY|NOREPLICAS|UNKILLABLE)/.test(message)) {
    return unavailable('REDIS_UNKNOWN', `Redis did not answer ${what} (${message}): it may have happened; the same call again is safe`, error);
  }
  return new MusterError('internal', 'REDIS_ERROR', `Redis refused ${what}: ${message}`, { cause: error });
}
