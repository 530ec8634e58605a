import { keys, ownerOf } from './keys.js';
import { type Connection, mastersOf } from './nodes.js';
import type { AuditScript, Broken, Doubt, Subject, Unsure } from './scripts/audit.js';

/** One broken promise of docs/architecture.md. */
export interface Finding extends Broken {
  pool: string;
}

export interface AuditOptions {
  redis: Connection;
  script: AuditScript;
  /** Time between the two looks at what is wrong only if it lasts. */
  wait: () => Promise<void>;
}

/** Subjects that one script call looks at. */
const PAGE = 200;
/** So many entries of the indexes are looked at in one call, and are of one moment; more are looked at page by page. */
const LIVE_MAX = 1_000;
/** With a search through a long list for each of them. */
const DEEP_PAGE = 10;
/** Ids that one call reads out of a list, a set or the key space. */
const SCAN_PAGE = 1_000;
/** So many ids of long lists are remembered before the lists are read through for them: some 10 MB. A million waiting jobs take ten readings. */
const UNSURE_MAX = 100_000;
/** A pool that is broken through and through is not listed to its end. */
const FINDINGS_MAX = 1_000;

/**
 * Looks for broken invariants in one pool, or (undefined) in all, while they work. Writes nothing. What is found is broken: subjects are
 * looked at by a script, which sees one moment, and what may be under way is looked at twice. What moves while it is looked for may be
 * missed once. Rejects with MusterError as scripts do, or as ioredis does.
 */
export async function auditPools(options: AuditOptions, pool?: string): Promise<Finding[]> {
  const { redis, wait } = options;
  const names = pool === undefined ? await redis.smembers(keys.pools) : [pool];
  const audits = new Map(names.map((name) => [name, new PoolAudit(options, name)]));
  for (const audit of audits.values()) await audit.indexes();
  for await (const key of hashes(redis, keys.ofPool(pool ?? '*'))) {
    const owner = ownerOf(key);
    if (owner === undefined) continue;
    let audit = audits.get(owner.pool);
    if (!audit) {
      audit = new PoolAudit(options, owner.pool);
      audits.set(owner.pool, audit);
      await audit.unlisted();
    }
    await audit.hash(owner.what, owner.id);
  }
  for (const audit of audits.values()) await audit.end();
  if ([...audits.values()].some((audit) => audit.doubtful)) {
    await wait();
    for (const audit of audits.values()) await audit.again();
  }
  return [...audits.values()].flatMap((audit) => audit.findings);
}

/**
 * The same for what is under way in one pool, and for these jobs: cheap, and of one moment in a pool that is not large. A live job that no
 * index names is found only when it is asked for.
 */
export async function auditLive(options: AuditOptions, pool: string, jobs: readonly string[]): Promise<Finding[]> {
  const audit = new PoolAudit(options, pool);
  await audit.indexes();
  for (const id of jobs) await audit.hash('job', id);
  await audit.end();
  if (audit.doubtful) {
    await options.wait();
    await audit.again();
  }
  return audit.findings;
}

async function* hashes(redis: Connection, match: string): AsyncGenerator<string> {
  for (const node of mastersOf(redis)) {
    let cursor = '0';
    do {
      const [next, page] = await node.scan(cursor, 'MATCH', match, 'COUNT', SCAN_PAGE, 'TYPE', 'hash');
      yield* page;
      cursor = next;
    } while (cursor !== '0');
  }
}

/** One pool's part: gathers subjects into pages, and what was found. */
class PoolAudit {
  readonly #redis: Connection;
  readonly #script: AuditScript;
  readonly #pool: string;
  readonly #page: Subject[] = [];
  readonly #found = new Map<string, Finding>();
  readonly #unsure = { worker: new Map<string, Unsure>(), job: new Map<string, Unsure>() };
  readonly #doubts: Doubt[] = [];

  constructor({ redis, script }: AuditOptions, pool: string) {
    this.#redis = redis;
    this.#script = script;
    this.#pool = pool;
  }

  get findings(): Finding[] {
    return [...this.#found.values()];
  }

  get doubtful(): boolean {
    return this.#doubts.length > 0;
  }

  /** What the indexes name. Their members may have no hash, and then nothing else would lead to them. */
  async indexes(): Promise<void> {
    await this.#ask({ what: 'live', id: String(LIVE_MAX) });
  }

  async unlisted(): Promise<void> {
    if ((await this.#redis.sismember(keys.pools, this.#pool)) === 1) return;
    this.#add({ invariant: 'L1', subject: 'pool', what: 'has keys and is not on the list of pools: nobody ticks it' });
  }

  async hash(what: 'worker' | 'job' | 'held', id: string): Promise<void> {
    if (what !== 'held') return this.#ask({ what, id });
    for await (const other of this.#fields(keys.held(this.#pool, id))) await this.#ask({ what, id, other });
  }

  /** The last page, and whatever stands in no list that could be searched at once. */
  async end(): Promise<void> {
    await this.#ask({ what: 'pool', id: '' });
    await this.#look();
    await this.#resolve();
  }

  /** The second look at what was doubtful at the first: it is the pool alone. */
  async again(): Promise<void> {
    const { doubts } = await this.#script.look(this.#pool, [{ what: 'pool', id: '' }], false);
    for (const { subject, mark, since } of this.#doubts.splice(0)) {
      const still = doubts.find((doubt) => doubt.subject === subject && doubt.mark === mark && doubt.since > since);
      if (still) this.#add(still);
    }
  }

  #add({ invariant, subject, what }: Broken): void {
    const key = `${invariant} ${subject} ${what}`;
    if (this.#found.size < FINDINGS_MAX) this.#found.set(key, { pool: this.#pool, invariant, subject, what });
  }

  async #ask(subject: Subject): Promise<void> {
    this.#page.push(subject);
    if (this.#page.length >= PAGE) await this.#look();
  }

  async #look(): Promise<void> {
    const { findings, unsure, doubts } = await this.#script.look(this.#pool, this.#page.splice(0), false);
    for (const finding of findings) this.#add(finding);
    for (const one of unsure) if (one.what !== 'live') this.#unsure[one.what].set(one.id, one);
    this.#doubts.push(...doubts);
    if (unsure.some(({ what }) => what === 'live')) await this.#pages();
    if (this.#unsure.worker.size + this.#unsure.job.size > UNSURE_MAX) await this.#resolve();
  }

  /** The same as `live`, for indexes that are too long for one call. */
  async #pages(): Promise<void> {
    for await (const id of this.#list(keys.free(this.#pool))) await this.#ask({ what: 'worker', id });
    for await (const id of this.#members(keys.workers(this.#pool))) await this.#ask({ what: 'worker', id });
    for (const index of [keys.leases(this.#pool), keys.later(this.#pool)]) {
      for await (const id of this.#members(index)) if (!id.startsWith('!')) await this.#ask({ what: 'job', id });
    }
  }

  /** Reads the long lists through. Who stands there as often as it should is well; the few others are searched for, each in one moment. */
  async #resolve(): Promise<void> {
    const { worker, job } = this.#unsure;
    if (worker.size > 0) {
      const times = new Map<string, number>();
      for await (const id of this.#list(keys.free(this.#pool))) if (worker.has(id)) times.set(id, (times.get(id) ?? 0) + 1);
      for (const { id, listed } of [...worker.values()]) if ((times.get(id) ?? 0) === (listed ? 1 : 0)) worker.delete(id);
    }
    if (job.size > 0) {
      for (const priority of [3, 2, 1, 0]) for await (const id of this.#list(keys.waiting(this.#pool, priority))) job.delete(id);
    }
    const left = [...worker.values(), ...job.values()];
    worker.clear();
    job.clear();
    while (left.length > 0) {
      const subjects = left.splice(0, DEEP_PAGE).map(({ what, id }) => ({ what, id }));
      for (const finding of (await this.#script.look(this.#pool, subjects, true)).findings) this.#add(finding);
    }
  }

  async *#list(key: string): AsyncGenerator<string> {
    for (let at = 0; ; at += SCAN_PAGE) {
      const page = await this.#redis.lrange(key, at, at + SCAN_PAGE - 1);
      yield* page;
      if (page.length < SCAN_PAGE) return;
    }
  }

  async *#members(key: string): AsyncGenerator<string> {
    yield* pairs((cursor) => this.#redis.zscan(key, cursor, 'COUNT', SCAN_PAGE));
  }

  async *#fields(key: string): AsyncGenerator<string> {
    yield* pairs((cursor) => this.#redis.hscan(key, cursor, 'COUNT', SCAN_PAGE));
  }
}

/** The first of each pair of a set or hash that is scanned. */
async function* pairs(scan: (cursor: string) => Promise<[string, string[]]>): AsyncGenerator<string> {
  let cursor = '0';
  do {
    const [next, page] = await scan(cursor);
    for (let i = 0; i < page.length; i += 2) yield page[i] ?? '';
    cursor = next;
  } while (cursor !== '0');
}
