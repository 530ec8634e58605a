import { isDeepStrictEqual } from 'node:util';
import { Redis } from 'ioredis';
import { systemClock } from '../../src/domain/clock.js';
import { Inspection } from '../../src/store/inspection.js';
import { type PoolState, readState } from '../helpers/state.js';
import { openStore, scriptLimits } from '../helpers/store.js';
import { type Call, type Contract, HOMES, type LeaseArg, NAMES, WHOLE } from './calls.js';
import { type Driven, drive, type Pool } from './drive.js';
import { type Intent, resolve, type Sequence } from './intents.js';
import { Broken, checkAccepted, checkGiven, checkMine, checkStale, checkState, checkTick, Ledger } from './invariants.js';
import { lostBy, Model } from './model.js';
import { snapshot } from './model-snapshot.js';
import { step } from './model-tick.js';

/** 2023-11-14T22:13:20Z in µs. */
export const START_US = 1_700_000_000_000_000;
/** Each test process has its own Redis, whose clock is one key; pools are new for each sequence. */
const LIMITS = {
  plain: {},
  tombstones: { EXACT_LIST: 1 },
  /** The model knows no bound: there the invariants alone are checked. */
  bounded: { EXACT_LIST: 1, MATCH_BOUND: 3 },
} as const;
type Profile = keyof typeof LIMITS;

/** What may be repeated at once without a change: all but what counts or does a part only, and a job refused for want of room. */
function mayRepeat(call: Call, { reply }: Driven): boolean {
  if (call.do === 'tick') return call.limit >= WHOLE.limit;
  if (call.do === 'submit') return !JSON.stringify(reply).includes('full');
  return call.do !== 'suspect' && call.do !== 'purge';
}

export class Failed extends Error {
  override readonly name = 'Failed';
  constructor(
    readonly trace: readonly Call[],
    cause: unknown,
  ) {
    const why = cause instanceof Error ? cause.message : String(cause);
    super(`${why}\nafter\n${trace.map((call) => `  ${JSON.stringify(call)},`).join('\n')}`, { cause });
  }
}

/** Runs sequences of calls on real scripts and on the model. */
export class Harness {
  readonly #pools = new Map<Profile, Pool>();
  readonly #redis: Redis;
  readonly #audits = new Map<Profile, Inspection>();
  #next = 0;

  private constructor(redis: Redis) {
    this.#redis = redis;
  }

  /** `url`: a Redis of its own. Connections end with the file. */
  static async open(url: string, profiles: readonly Profile[], mutate?: (source: string) => string): Promise<Harness> {
    const redis = new Redis(url);
    const harness = new Harness(redis);
    // What an earlier harness left there goes: pools are numbered from 1.
    await redis.flushall();
    await redis.set('muster:test:clock', START_US);
    for (const profile of profiles) {
      const open = HOMES.map(async (home) => [home, await openStore({ url, home, testClock: true, limits: LIMITS[profile], mutate })] as const);
      harness.#pools.set(profile, { name: '', redis, stores: new Map(await Promise.all(open)) });
      const limits = { ...scriptLimits, ...LIMITS[profile] };
      const audit = new Inspection({ url, timeoutMs: 5_000, limits, clock: systemClock, lookAgainMs: 0, testClock: true, onError: () => undefined });
      await audit.start(AbortSignal.timeout(10_000));
      harness.#audits.set(profile, audit);
    }
    return harness;
  }

  close(): void {
    for (const audit of this.#audits.values()) audit.stop();
    this.#redis.disconnect();
  }

  async #run(profile: Profile): Promise<Run> {
    const pool = this.#pools.get(profile);
    const audit = this.#audits.get(profile);
    if (!pool || !audit) throw new Error(`the harness was opened without ${profile}`);
    if (this.#next++ % 50 === 49) await this.#redis.flushall();
    const run = new Run({ ...pool, name: `p${this.#next}` }, profile, audit);
    await run.call({ do: 'clock', us: START_US }, false);
    for (const store of pool.stores.values()) await store.enter(`p${this.#next}`);
    return run;
  }

  /** Rejects with Failed, which has the calls so far. */
  async sequence({ profile, contract, intents }: Sequence): Promise<Call[]> {
    const run = await this.#run(profile);
    for (const intent of intents) await run.intent(intent, contract);
    await run.end();
    return run.trace;
  }

  /** The calls of a regression, each checked as in a sequence: what the last one answered, and the state after it. */
  async replay(calls: readonly Call[], profile: Profile = 'plain'): Promise<{ last: Driven; state: PoolState }> {
    const run = await this.#run(profile);
    let last: Driven = { reply: null, assignments: [], more: false };
    for (const call of calls) last = await run.call(call, false);
    const state = await run.state();
    await run.end();
    return { last, state };
  }
}

/** One sequence in a pool of its own. */
class Run {
  readonly trace: Call[] = [];
  readonly #pool: Pool;
  readonly #model: Model | undefined;
  readonly #audit: Inspection;
  readonly #ledger = new Ledger();
  readonly #past: (LeaseArg & { boot: string; link: string })[] = [];
  #state: PoolState | undefined;
  #us = START_US;

  constructor(pool: Pool, profile: Profile, audit: Inspection) {
    this.#pool = pool;
    this.#audit = audit;
    if (profile !== 'bounded') this.#model = new Model(profile === 'plain' ? 4096 : 1);
  }

  async intent(intent: Intent, contract: Contract): Promise<void> {
    const state = await this.state();
    const calls = resolve(intent, { state, us: this.#us, contract, past: this.#past, trace: this.trace });
    for (const [i, call] of calls.entries()) await this.call(call, intent.again && i === calls.length - 1);
  }

  async call(call: Call, again: boolean): Promise<Driven> {
    this.trace.push(call);
    try {
      return await this.#checked(call, again);
    } catch (error) {
      throw error instanceof Failed ? error : new Failed(this.trace, error);
    }
  }

  /** Whatever was lost on the way: each home asks for it. And what the product looks for itself is well too. */
  async end(): Promise<void> {
    for (const home of HOMES) await this.call({ do: 'mine', home }, false);
    const found = await this.#audit.audit(this.#pool.name);
    if (found.length > 0) throw new Failed(this.trace, new Broken(`the audit found ${JSON.stringify(found)}`));
  }

  async state(): Promise<PoolState> {
    this.#state ??= await readState(this.#pool.redis, this.#pool.name, NAMES);
    return this.#state;
  }

  async #checked(call: Call, again: boolean): Promise<Driven> {
    const before = await this.state();
    if (call.do === 'clock') this.#us = call.us;
    const answered = await drive(this.#pool, call);
    this.#compare(call, answered);
    if (call.do === 'clock') return answered;
    const after = await this.#settled(call, answered);
    this.#check(before, call, after, answered);
    if (again && call.do !== 'expire') await this.#twice(call, answered, after);
    return answered;
  }

  /** Property 2: the same call once more changes nothing. A tick may have put something back that was due before: the next one ends it. */
  async #twice(call: Call, first: Driven, once: PoolState): Promise<void> {
    const before = call.do === 'tick' ? await this.#repeat(call, once) : once;
    const twice = await this.#repeat(call, before);
    if (mayRepeat(call, first) && !isDeepStrictEqual(twice, before)) {
      throw new Broken(`property 2: the call twice is not the call once: ${difference(twice, before)}`);
    }
  }

  async #repeat(call: Call, before: PoolState): Promise<PoolState> {
    const answered = await drive(this.#pool, call);
    this.#compare(call, answered);
    const after = await this.#settled(call, answered);
    this.#ledger.record(before, call, after);
    return after;
  }

  /** The state after the call, and after the `match`es that it asked for. */
  async #settled(call: Call, answered: Driven): Promise<PoolState> {
    for (let more = answered.more; more && 'home' in call; ) more = (await drive(this.#pool, { do: 'match', home: call.home })).more;
    this.#state = undefined;
    const state = await this.state();
    if (this.#model) {
      // When a script notes the time on behalf of a tick that does not come is not modeled; that the clock never runs back is checked.
      const { behind, clock } = this.#model;
      if (state.clock !== clock) {
        this.#model.clock = state.clock;
        this.#model.shift = behind;
      }
      const expected = snapshot(this.#model);
      if (!isDeepStrictEqual(state, expected)) throw new Broken(`not the state of the model: ${difference(state, expected)}`);
    }
    return state;
  }

  #compare(call: Call, { reply, assignments }: Driven): void {
    if (!this.#model) return;
    const expected = step(this.#model, call);
    if (!isDeepStrictEqual({ reply, assignments }, expected)) {
      throw new Broken(`the answer to ${call.do} is ${JSON.stringify({ reply, assignments })}, the model says ${JSON.stringify(expected)}`);
    }
  }

  #check(before: PoolState, call: Call, after: PoolState, answered: Driven): void {
    const raw = Math.floor(this.#us / 1000);
    const now = raw + lostBy(raw, after);
    checkState(after, now);
    this.#ledger.record(before, call, after);
    checkStale(before, call, after);
    checkTick(before, call, after, now);
    if ('home' in call) checkGiven(after, call.home, answered.assignments);
    if (call.do === 'accept') checkAccepted(after, call, answered.reply as unknown[]);
    if (call.do === 'mine') checkMine(after, call.home, answered.assignments, now);
    for (const [worker, jobs] of Object.entries(after.held)) {
      for (const [job, fence] of Object.entries(jobs)) {
        const { boot = '', link = '' } = after.workers[worker] ?? {};
        if (!fence.startsWith('!') && !this.#past.some((one) => one.fence === fence)) this.#past.unshift({ worker, job, fence, boot, link });
      }
    }
  }
}

/** Where two states differ, by their parts. */
function difference(is: PoolState, expected: PoolState): string {
  const parts = (Object.keys(is) as (keyof PoolState)[]).filter((part) => !isDeepStrictEqual(is[part], expected[part]));
  return parts.map((part) => `${part} is ${JSON.stringify(is[part])}\n  and should be ${JSON.stringify(expected[part])}`).join('\n');
}
