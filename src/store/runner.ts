import { createHash } from 'node:crypto';
import type { Redis } from 'ioredis';
import type { Clock } from '../domain/clock.js';
import { MusterError, toError, unavailable } from '../domain/errors.js';
import { LEGACY_METHOD } from '../domain/names.js';
import { type Observer, UNOBSERVED } from '../domain/observer.js';
import { redisReplyError } from '../domain/redis-errors.js';
import { redisRefusal } from '../domain/redis-refusal.js';
import { keys } from './keys.js';
import { type Connection, isCluster, mastersOf } from './nodes.js';
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
  SILENT_MS: number;
  DEAD_KEPT: number;
  POOL_IDLE_MS: number;
  MAX_HANDOVERS: number;
  EVENTS_KEPT: number;
  /** Pairs and discarded entries that one call handles. */
  MATCH_BOUND: number;
  /** With so many bytes of jobs in it a reply is full. */
  REPLY_BYTES: number;
  /** Up to that length a list loses an entry at once; beyond it keeps a tombstone. */
  EXACT_LIST: number;
}

/** Pools whose highest fence a replica remembers each by itself: as many as there may be, and some that are gone. */
const SEEN_POOLS = 4_096;

const CLOCK = `local function now_us() local t = redis.call('TIME') return t[1] * 1000000 + t[2] end`;
/** The tests' clock: µs under a key, which they set. The only difference between their scripts and these. */
const TEST_CLOCK = `local function now_us() return tonumber(redis.call('GET', 'muster:test:clock')) end`;

export interface RunnerOptions {
  limits: ScriptLimits;
  /** This replica's id: ARGV[1] of every script. */
  home: string;
  /** Whom Redis takes us for, as errors tell it. */
  user: string;
  clock: Clock;
  /** Default: nobody. */
  observer?: Observer;
  /** A script found that the pool does not exist (any more). */
  onNoPool?: (pool: string) => void;
  testClock?: boolean;
  /** Changes a composed script before it is used. For tests alone: that they go red when a script is wrong. */
  mutate?: (source: string) => string;
}

/**
 * Runs the scripts. Knows their sources by SHA, loads them when a connection is new, and again where Redis has forgotten them.
 * A reply that does not come leaves the outcome unknown: every script may be run again with the same arguments.
 */
export class ScriptRunner {
  readonly observer: Observer;
  readonly #redis: Connection;
  readonly #home: string;
  readonly #user: string;
  readonly #clock: Clock;
  readonly #mutate: (source: string) => string;
  readonly #onNoPool: (pool: string) => void;
  readonly #sources = new Map<string, { sha: string; source: string }>();
  /** Highest fence seen, a pool: a Redis that lost its newest writes must not issue them again. 2^53 µs is the year 2255. */
  readonly #seen = new Map<string, number>();
  /** The highest of those pools that `seen` has no room for. */
  #seenOfOthers = 0;

  constructor(redis: Connection, options: RunnerOptions) {
    this.#redis = redis;
    this.observer = options.observer ?? UNOBSERVED;
    this.#home = options.home;
    this.#user = options.user;
    this.#clock = options.clock;
    this.#onNoPool = options.onNoPool ?? (() => undefined);
    this.#mutate = options.mutate ?? ((source) => source);
    const limits = Object.entries(options.limits).map(([name, value]) => `local ${name} = ${value}`);
    // On a Cluster every node would pass on what is published, and only the slot's own node what is published to it.
    const names = [`local LEGACY_METHOD = '${LEGACY_METHOD}'`, `local PUBLISH = '${isCluster(redis) ? 'SPUBLISH' : 'PUBLISH'}'`];
    const preamble = [...limits, ...names, options.testClock ? TEST_CLOCK : CLOCK].join('\n');
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

  /** Loads all scripts, on each master of a Cluster, so that calls in flight need no second round. Rejects with MusterError. */
  async load(): Promise<void> {
    const load = async (node: Redis) => {
      const pipeline = node.pipeline();
      for (const { source } of this.#sources.values()) pipeline.script('LOAD', source);
      for (const [error] of (await pipeline.exec()) ?? []) if (error) throw error;
    };
    const loaded = await Promise.allSettled(mastersOf(this.#redis).map(load));
    const failures = loaded.flatMap((one) => (one.status === 'rejected' ? [redisError(toError(one.reason), 'the scripts', this.#user)] : []));
    // A node that is away gets each script when it is first needed there.
    const [failure] = failures.filter(({ code }) => code !== 'unavailable' || failures.length === loaded.length);
    if (failure) throw failure;
  }

  saw(pool: string, fence: number): void {
    if (fence > (this.#seen.get(pool) ?? 0)) this.#seen.set(pool, fence);
    if (this.#seen.size <= SEEN_POOLS) return;
    const [oldest = '', highest = 0] = [...this.#seen].at(0) ?? [];
    this.#seen.delete(oldest);
    this.#seenOfOthers = Math.max(this.#seenOfOthers, highest);
  }

  /**
   * Runs one script on one pool. Rejects with MusterError: `unavailable` (REDIS_AWAY: it was not sent; REDIS_UNKNOWN: it may have run), what the table of
   * domain/redis-errors.ts says (it did not run), or `internal` for a bug.
   */
  async run<N extends ScriptName>(name: N, pool: string, args: Args<N>, items: readonly Each<N>[] = [], variant: string = name): Promise<Reply> {
    const script = scripts[name];
    const argv: Arg[] = [this.#home, this.#seen.get(pool) ?? this.#seenOfOthers];
    for (const field of script.args) argv.push(args[field as keyof Args<N>]);
    for (const item of items) for (const field of script.each) argv.push(item[field as keyof Each<N>]);
    const source = this.#sources.get(variant);
    if (!source) throw new MusterError('internal', 'NO_SCRIPT', `no script ${variant}`);
    const before = this.#clock.monotonic();
    try {
      return await this.#evaluate(source, pool, argv);
    } catch (error) {
      const failure = redisError(toError(error), name, this.#user);
      if (failure.reason === 'NO_POOL') this.#onNoPool(pool);
      throw failure;
    } finally {
      this.observer.redis('script', name, this.#clock.monotonic() - before);
    }
  }

  async #evaluate(script: { sha: string; source: string }, pool: string, argv: Arg[]): Promise<Reply> {
    // A script names but one of the keys that it uses: the others are found on its way. While a Cluster moves the slot, half of them are
    // elsewhere, and Redis would fail it in its middle, or let it take for absent what has not arrived. Two keys of which one is never there
    // it refuses as a whole for as long as that lasts (TRYAGAIN).
    const named = isCluster(this.#redis) ? [2, keys.meta(pool), keys.moving(pool)] : [1, keys.meta(pool)];
    try {
      return (await this.#redis.callBuffer('EVALSHA', [script.sha, ...named, ...argv])) as Reply;
    } catch (error) {
      // NOSCRIPT says that nothing ran: SCRIPT FLUSH, or a Redis that started anew.
      if (!toError(error).message.startsWith('NOSCRIPT')) throw error;
      return (await this.#redis.callBuffer('EVAL', [script.source, ...named, ...argv])) as Reply;
    }
  }
}

function shebang({ denyOom, readOnly }: { denyOom: boolean; readOnly: boolean }): string {
  if (readOnly) return '#!lua flags=no-writes,allow-oom';
  return denyOom ? '#!lua' : '#!lua flags=allow-oom';
}

/** Redis and ioredis errors, in our words: by the table of domain/redis-errors.ts, and no answer is an unknown outcome. `user`: whom Redis takes us for. */
export function redisError(error: Error, what: string, user: string): MusterError {
  if (error instanceof MusterError) return error;
  const { message } = error;
  // A MULTI of which Redis refused a part: that part says why.
  const [refused] = (error as { previousErrors?: Error[] }).previousErrors ?? [];
  if (message.startsWith('EXECABORT') && refused) return redisError(refused, what, user);
  if (message.includes('enableOfflineQueue') || message.includes("Stream isn't writeable"))
    return unavailable('REDIS_AWAY', 'Redis is not reachable: try again', error);
  if (message.startsWith('NOPOOL'))
    return unavailable('NO_POOL', `the pool was deleted, or Redis lost its data: ${what} did nothing, try again`, error);
  const known = redisRefusal(error, user) ?? redisReplyError(error, what);
  if (known) return known;
  if (error.name !== 'ReplyError') {
    return unavailable('REDIS_UNKNOWN', `Redis did not answer ${what} (${message}): it may have happened; the same call again is safe`, error);
  }
  return new MusterError('internal', 'REDIS_ERROR', `Redis refused ${what}: ${message}`, { cause: error });
}
