import { Redis } from 'ioredis';
import { afterAll, beforeAll } from 'vitest';
import { systemClock, systemRandom } from '../../src/domain/clock.js';
import type { Assignment, Failure, JobSpec, NewJob, Outcome } from '../../src/domain/job.js';
import type { WorkerInfo, WorkerRef } from '../../src/domain/worker.js';
import type { EmbeddedRedis, EmbeddedRedisOptions } from '../../src/lifecycle/embedded-redis.js';
import type { Hint } from '../../src/store/inbox.js';
import { keys } from '../../src/store/keys.js';
import type { Matched } from '../../src/store/parse.js';
import type { ScriptLimits } from '../../src/store/runner.js';
import type { FinishItem, Submitted, TickLimits } from '../../src/store/scripts/jobs.js';
import { Store, type StoreOptions } from '../../src/store/store.js';
import { ownRedis, uniquePool } from './redis.js';
import { digestOf } from './spec-digest.js';
import { changes, type Dump, dump, Labels } from './store-dump.js';

/** The moment at which the clock of every pool begins, ms since 1970: 2027. */
export const T0 = 1_800_000_000_000;
const TEST_CLOCK = 'muster:test:clock';

/** The defaults of `config.ts`. */
export const LIMITS: ScriptLimits = {
  DELIVERY_MS: 5_000,
  LEASE_MS: 30_000,
  HOME_TTL_MS: 6_000,
  TICK_STALE_MS: 5_000,
  OUTAGE_GRACE_MS: 15_000,
  REATTACH_GRACE_MS: 15_000,
  QUARANTINE_MAX_MS: 60_000,
  HANDOVER_BACKOFF_MS: 100,
  BURIED_RETENTION_MS: 604_800_000,
  FORGET_MS: 3_600_000,
  SILENT_MS: 60_000,
  DEAD_KEPT: 1_000,
  POOL_IDLE_MS: 86_400_000,
  MAX_HANDOVERS: 5,
  EVENTS_KEPT: 1_000,
  MATCH_BOUND: 64,
  REPLY_BYTES: 262_144,
  EXACT_LIST: 4_096,
};

export interface FixtureOptions extends EmbeddedRedisOptions {
  limits?: Partial<ScriptLimits>;
  /** Scripts read the tests' clock (default), or Redis'. */
  testClock?: boolean;
}

/** A lease as its holder knows it: enough to name it to every script. */
export interface Leased extends WorkerRef {
  worker: string;
  jobId: string;
  fence: string;
}

export const failure = (fields: Partial<Failure> = {}): { ok: false; failure: Failure } => ({
  ok: false,
  failure: { code: 2, message: 'no', reason: 'test', retryable: true, details: Buffer.alloc(0), ...fields },
});
export const success = (output = 'done'): Outcome => ({ ok: true, output: Buffer.from(output) });

/**
 * A Redis for one test file with two replicas, `r1` and `r2`, whose scripts read one clock that the tests set. Call it at the top of the
 * file; each test takes a pool of its own, and so the clock back at T0.
 */
export class StoreFixture {
  redis!: EmbeddedRedis;
  raw!: Redis;
  r1!: Store;
  r2!: Store;
  readonly hints = new Map<string, Hint[]>();
  readonly #stores: Store[] = [];

  constructor(readonly options: FixtureOptions = {}) {
    beforeAll(() => this.#start());
    afterAll(() => this.#stop());
  }

  async #start(): Promise<void> {
    this.redis = await ownRedis(this.options);
    this.raw = new Redis(this.redis.url);
    this.raw.on('error', () => undefined);
    await this.setClockMs(T0);
    this.r1 = await this.store('r1');
    this.r2 = await this.store('r2');
  }

  async #stop(): Promise<void> {
    await Promise.all(this.#stores.map((store) => store.stop()));
    this.raw?.disconnect();
  }

  /** One more replica, stopped with the file. */
  async store(home: string, options: Partial<StoreOptions> = {}): Promise<Store> {
    const store = this.unstarted(home, options);
    const hints: Hint[] = [];
    this.hints.set(home, hints);
    await store.start({ hint: (hint) => hints.push(hint), resubscribed: () => undefined, error: () => undefined }, AbortSignal.timeout(10_000));
    return store;
  }

  unstarted(home: string, options: Partial<StoreOptions> = {}): Store {
    const store = new Store({
      url: this.redis.url,
      timeoutMs: 5_000,
      home,
      limits: { ...LIMITS, ...this.options.limits },
      maxPools: 1_000,
      clock: systemClock,
      random: systemRandom,
      onError: () => undefined,
      testClock: this.options.testClock ?? true,
      ...options,
    });
    this.#stores.push(store);
    return store;
  }

  async setClockMs(ms: number): Promise<void> {
    await this.raw.set(TEST_CLOCK, String(ms * 1_000));
  }

  async pool(name = uniquePool()): Promise<TestPool> {
    await this.setClockMs(T0);
    await Promise.all([this.r1.enter(name), this.r2.enter(name)]);
    return new TestPool(this, name);
  }
}

/** One pool of a test: seeds it through the public wrappers, moves its clock, and reads all that stands in it. */
export class TestPool {
  readonly labels = new Labels();

  constructor(
    readonly fixture: StoreFixture,
    readonly name: string,
  ) {}

  get r1(): Store {
    return this.fixture.r1;
  }

  get r2(): Store {
    return this.fixture.r2;
  }

  get raw(): Redis {
    return this.fixture.raw;
  }

  /** Sets the clock to `ms` after T0. */
  async at(ms: number): Promise<void> {
    await this.fixture.setClockMs(T0 + ms);
  }

  dump(): Promise<Dump> {
    return dump(this.raw, this.name, T0, this.labels);
  }

  /** Runs `act`; answers its value and every change of the pool's keys: `field: 'before → after'`, `'+ new'`, `'- gone'`. */
  async during<T>(act: () => Promise<T>): Promise<{ value: T; diff: Record<string, string> }> {
    const before = await this.dump();
    const value = await act();
    return { value, diff: changes(before, await this.dump()) };
  }

  async diff(act: () => Promise<unknown>): Promise<Record<string, string>> {
    return (await this.during(act)).diff;
  }

  info(id = 'w1', fields: Partial<WorkerInfo> = {}): WorkerInfo {
    const address = { ip: '10.0.0.1', port: Number(id.replace(/\D/g, '')) };
    const boot = `${id}-b1`;
    return {
      pool: this.name,
      id,
      address,
      contract: 'RUNNER',
      region: '',
      slots: 1,
      labels: {},
      kinds: [],
      version: '',
      boot,
      bootDerived: false,
      ...fields,
    };
  }

  /** Registers a worker; its home is `by`. */
  async worker(id = 'w1', fields: Partial<WorkerInfo> = {}, by: Store = this.r1): Promise<WorkerRef> {
    const info = this.info(id, fields);
    const { reply } = await by.workers.register(info, false);
    if (reply.kind !== 'ok') throw new Error(`seeding ${id}: ${JSON.stringify(reply)}`);
    return { pool: this.name, id, boot: info.boot, link: reply.link };
  }

  spec(id = 'j1', fields: Partial<JobSpec> = {}): NewJob {
    const retry = { maxAttempts: 3, initialBackoffMs: 1_000, maxBackoffMs: 60_000, multiplier: 2, fatalCodes: [] };
    const spec = {
      ...{ pool: this.name, id, kind: 'k', method: '', payload: Buffer.alloc(0), metadata: {}, priority: 0, notBefore: 0, queueTimeoutMs: 0 },
      ...{ runTimeoutMs: 300_000, totalTimeoutMs: 0, retry, retentionMs: 3_600_000 },
      ...fields,
    };
    return { ...spec, digest: digestOf(spec) };
  }

  /** One script call; `reply` is a status a job. */
  async submit(specs: NewJob[], { by = this.r1, wait = false, max = 100 } = {}): Promise<Matched<Submitted[]> & { now: number }> {
    const jobs = specs.map((spec) => ({ spec, wait }));
    const { reply, ...rest } = await by.jobs.submit(this.name, jobs, max);
    return { ...rest, reply: reply.statuses, now: reply.now };
  }

  async job(id = 'j1', fields: Partial<JobSpec> = {}): Promise<Matched<unknown>> {
    return this.submit([this.spec(id, fields)]);
  }

  /** A worker that holds a lease of one job, delivered unless said otherwise. */
  async leased(jobId = 'j1', worker = 'w1', { job = {}, info = {}, delivered = true, by = this.r1 }: LeasedOptions = {}): Promise<Leased> {
    const ref = await this.worker(worker, info, by);
    await this.job(jobId, job);
    return this.lease(ref, jobId, delivered, by);
  }

  /** The lease under which a worker runs a job now. */
  async lease(ref: WorkerRef, jobId: string, delivered = true, by: Store = this.r1): Promise<Leased> {
    const fence = await this.raw.hget(keys.held(this.name, ref.id), jobId);
    if (fence === null) throw new Error(`${ref.id} does not hold ${jobId}`);
    this.labels.learn([fence]);
    const lease = { ...ref, worker: ref.id, jobId, fence };
    if (delivered) await this.deliver(lease, by);
    return lease;
  }

  async deliver(lease: Leased, by: Store = this.r1): Promise<void> {
    const { reply } = await by.workers.beat(this.name, [{ worker: lease.worker, link: lease.link, lease }], false);
    if (reply[0] !== 'ok') throw new Error(`delivering ${lease.jobId}: ${reply[0]}`);
  }

  result(lease: Leased, outcome: Outcome = success(), fields: Partial<FinishItem> = {}): FinishItem {
    const { worker, boot, link, jobId, fence } = lease;
    return { pool: this.name, worker, boot, link, jobId, fence, outcome, ...fields };
  }

  finish(leases: FinishItem[], { by = this.r1, claims = true } = {}) {
    return by.jobs.finish(this.name, leases, claims);
  }

  tick(limits: Partial<TickLimits> = {}, by: Store = this.r1) {
    return by.jobs.tick(this.name, { limit: 100, finishedKept: 100, buriedKept: 100, ...limits });
  }

  /** Ticks every 5 s up to `ms` after T0, so that no gap counts as an outage; homes r1 and r2 beat along. */
  async pass(fromMs: number, toMs: number): Promise<void> {
    for (let ms = fromMs; ms <= toMs; ms = ms < toMs ? Math.min(ms + 5_000, toMs) : ms + 1) {
      await this.at(ms);
      await this.r1.workers.beat(this.name, [], false);
      await this.r2.workers.beat(this.name, [], false);
      await this.tick();
    }
  }

  /** Assignments in short: `job fence worker link`. */
  given(assignments: Assignment[]): string[] {
    return assignments.map(({ jobId, fence, worker, link }) => `${jobId} ${this.labels.fence(fence)} ${worker} ${link}`);
  }

  /** The hints of this pool that a replica has heard, in order. */
  hints(home: 'r1' | 'r2'): string[] {
    const all = this.fixture.hints.get(home) ?? [];
    return all.flatMap((hint) => {
      if (hint.kind === 'sweep' || hint.pool !== this.name) return [];
      return hint.kind === 'done' ? [`done ${hint.jobId}`] : [`${hint.kind} ${hint.jobId} ${this.labels.fence(hint.fence)} ${hint.worker}`];
    });
  }

  async state(id = 'j1'): Promise<string> {
    return (await this.raw.hget(keys.job(this.name, id), 'state')) ?? '';
  }

  async workerState(id = 'w1'): Promise<string> {
    return (await this.raw.hget(keys.worker(this.name, id), 'state')) ?? '';
  }

  free(): Promise<string[]> {
    return this.raw.lrange(keys.free(this.name), 0, -1);
  }

  waiting(priority = 0): Promise<string[]> {
    return this.raw.lrange(keys.waiting(this.name, priority), 0, -1);
  }
}

interface LeasedOptions {
  job?: Partial<JobSpec>;
  info?: Partial<WorkerInfo>;
  delivered?: boolean;
  by?: Store;
}
