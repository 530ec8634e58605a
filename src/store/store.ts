import type { Clock, Random } from '../domain/clock.js';
import type { Persistence } from '../domain/durability.js';
import { MusterError, toError } from '../domain/errors.js';
import { ANYBODY, NOBODY } from '../domain/identity.js';
import { type Observer, UNOBSERVED } from '../domain/observer.js';
import { type LossWindow, ReplicationHistory, replicationState } from '../domain/redis-failover.js';
import { redisRefusal } from '../domain/redis-refusal.js';
import { redisUser } from '../domain/redis-url.js';
import { Inbox, type InboxEvents } from './inbox.js';
import { keys } from './keys.js';
import { Locks } from './lock.js';
import { answers, type Connection, isCluster, nodeOf, publish, serverOf } from './nodes.js';
import { text } from './parse.js';
import * as fleet from './read-fleet.js';
import * as jobs from './read-jobs.js';
import { type ConnectOptions, commandConnection, connectOrWait, subscriberPorts } from './redis.js';
import * as replicas from './replicas.js';
import { redisError, type ScriptLimits, ScriptRunner } from './runner.js';
import { checkSchema, checkServer, SCHEMA } from './schema.js';
import { JobScripts } from './scripts/jobs.js';
import { WorkerScripts } from './scripts/workers.js';
import { info, readPersistence } from './survey.js';

export interface StoreOptions extends Omit<ConnectOptions, 'onError' | 'onMaster'> {
  /** This replica's id. */
  home: string;
  limits: ScriptLimits;
  maxPools: number;
  /** Pools that one identity may have made; 0 (default): any number. */
  poolsEach?: number;
  clock: Clock;
  random: Random;
  onError: (error: Error) => void;
  /** Another server is the master now, which lacks what the one before acknowledged in that time. */
  onLoss?: (loss: LossWindow) => void;
  /** In one line, what a start waits for. Called again and again while it lasts. */
  onWait?: (why: string) => void;
  /** Default: nobody. */
  observer?: Observer;
  testClock?: boolean;
  /** Changes a composed script before it is used. For tests alone. */
  mutate?: (source: string) => string;
}

/** A pool once named is not named again for so long; after a loss of data it must be. */
const POOL_KNOWN_MS = 10_000;
const POOL_UNUSED_MS = 600_000;
/** While the server of the list of pools is away it is asked so often. */
const LIST_AGAIN_MS = 500;

export function noSuchPool(pool: string): MusterError {
  const remedy = 'its first job or worker makes it, and ListPools has those that there are';
  return new MusterError('not_found', 'NO_SUCH_POOL', `pool: there is no pool ${pool}: ${remedy}`, { field: 'pool' });
}

/** Everything that Muster keeps in Redis, and the only way to it. */
export class Store {
  readonly jobs: JobScripts;
  readonly workers: WorkerScripts;
  readonly locks: Locks;
  readonly #redis: Connection;
  readonly #user: string;
  readonly #runner: ScriptRunner;
  readonly #options: StoreOptions;
  readonly #known = new Map<string, number>();
  readonly #history = new ReplicationHistory();
  /** Of the server behind the connection for commands. '': there is none, or it does not say. */
  #runId = '';
  #lastRunId = '';
  readonly #enlisting = new Set<string>();
  readonly #stop = new AbortController();
  /** The list of pools as it was last read; and the reading that goes on while its server is away. */
  #listed: string[] | undefined;
  #listing: Promise<void> | undefined;
  #inbox: Inbox | undefined;
  #tellsVersion = true;
  #started = false;

  constructor(options: StoreOptions) {
    this.#options = options;
    this.#user = redisUser(options.url);
    this.#redis = commandConnection({
      ...options,
      onMaster: (info) => this.#connected(info),
      // Until then `onWait` says what is wrong, in words of its own.
      onError: (error) => this.#started && options.onError(error),
    });
    this.#runner = new ScriptRunner(this.#redis, { ...options, user: this.#user, onNoPool: (pool) => this.#known.delete(pool) });
    this.jobs = new JobScripts(this.#runner);
    this.workers = new WorkerScripts(this.#runner);
    this.locks = new Locks(this.#redis, this.#user, options.clock, options.random);
    this.#redis.on('close', () => {
      if (this.#runId !== '') this.#history.ended(options.clock.now());
      this.#runId = '';
    });
    // A connection that is new may have a Redis behind it that knows no scripts and no pools.
    this.#redis.on('ready', () => {
      this.#known.clear();
      this.#runner.load().catch((error: unknown) => options.onError(toError(error)));
    });
  }

  get home(): string {
    return this.#options.home;
  }

  /** false: Redis refuses INFO, to whoever asks as we do. Known when started. */
  get tellsVersion(): boolean {
    return this.#tellsVersion;
  }

  /** Waits for Redis, checks that it is one that we can use, and begins to listen. Rejects when it is not, or when `signal` aborts. */
  async start(events: InboxEvents, signal: AbortSignal): Promise<void> {
    await connectOrWait(this.#redis, signal, this.#options, this.#options.onWait);
    this.#started = true;
    this.#tellsVersion = await this.#read('its version', checkServer(this.#redis));
    await this.#read('the schema', checkSchema(this.#redis));
    await this.#runner.load();
    const error = (thrown: Error) => events.error(redisRefusal(thrown, this.#user) ?? thrown);
    this.#inbox = new Inbox(subscriberPorts(this.#redis, this.#options), this.home, this.#options.clock, { ...events, error });
    await this.#read('listening', this.#inbox.start()).catch((thrown: unknown) => {
      // The channel of sweeps is away: it is tried again, and links are looked at without it.
      if (!(thrown instanceof MusterError && thrown.code === 'unavailable')) throw thrown;
      error(thrown);
    });
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#inbox?.stop();
    this.#redis.disconnect();
  }

  /** ms that Redis took to answer. Rejects with MusterError when it does not. */
  async ping(): Promise<number> {
    const before = this.#options.clock.monotonic();
    await this.#read('ping', answers(this.#redis));
    return this.#options.clock.monotonic() - before;
  }

  /** Messages for this replica are published and do not arrive: it must not be given calls. */
  get deaf(): boolean {
    return this.#inbox?.deaf ?? false;
  }

  /**
   * Does a cheap write: says that this replica lives, for `ttlMs`. Rejects with MusterError while no write can succeed. A full Redis
   * takes it, as it takes results. On a Cluster each pool has its own answer, so there Redis is only asked whether it is there.
   */
  async checkWrites(ttlMs: number): Promise<void> {
    if (isCluster(this.#redis)) await this.ping();
    else await this.#read('a write', replicas.keepReplica(this.#redis, this.home, ttlMs));
  }

  /** Remembers how far Redis' writes are, so that after a failover it can be said what may be lost. */
  async noteReplication(): Promise<void> {
    if (isCluster(this.#redis) || this.#redis.status !== 'ready') return;
    const [at, runId] = [this.#options.clock.now(), this.#runId];
    const told = await this.#read('replication', info(this.#redis, 'replication'));
    const state = replicationState(told, runId);
    if (state) this.#history.note(at, state);
    // It became a replica, and nothing has been written here since.
    else if (told.get('role') === 'slave') this.#redis.disconnect(true);
  }

  /** A connection for commands begins, to a server that says this of itself. */
  #connected(told: ReadonlyMap<string, string>): void {
    const runId = told.get('run_id') ?? '';
    const state = replicationState(told, runId);
    const loss = state && this.#history.lossOf(state);
    if (runId !== this.#lastRunId) this.#inbox?.renew();
    this.#runId = runId;
    this.#lastRunId = runId;
    if (state) this.#history.note(this.#options.clock.now(), state);
    if (loss) this.#options.onLoss?.(loss);
  }

  /** How Redis keeps what it is told. */
  persistence(): Promise<Persistence> {
    return this.#read('persistence', readPersistence(this.#redis));
  }

  /** Pools of one shard share the fate of one Redis server. '' where there is no Cluster. */
  shardOf(pool: string): string {
    return isCluster(this.#redis) ? (serverOf(this.#redis, keys.meta(pool)) ?? '') : '';
  }

  /**
   * Before anything of a pool is written: it exists, it is on the list of pools, and its hints come here. `by`: whose word makes it, if it is new.
   * Only a pool that is new to Redis needs the list at once: the list may be on another server than the pool, and that server may be away.
   * Rejects with `resource_exhausted` TOO_MANY_POOLS or QUOTA_POOLS.
   */
  async enter(pool: string, by = ANYBODY): Promise<void> {
    const now = this.#options.clock.monotonic();
    const known = this.#known.get(pool);
    if (known !== undefined) {
      if (now - known >= POOL_KNOWN_MS) this.#enlistSoon(pool);
      return;
    }
    if ((await this.#read('pools', this.#redis.exists(keys.meta(pool)))) === 1) this.#enlistSoon(pool);
    else {
      await this.#enlist(pool, by);
      await this.#runner.run('enter', pool, {});
      // Once more: a ticker that took it off the list because it did not exist looks whether it does after that (see `unlist`).
      await this.#read('pools', this.#redis.sadd(keys.pools, pool));
    }
    await this.#read('listening', this.#inbox?.listen(pool) ?? Promise.resolve());
    this.#known.set(pool, now);
  }

  /** Runs what may be the first thing of a pool, and once more if the pool was deleted, forgotten, or lost by Redis since this replica knew it. */
  async within<T>(pool: string, by: string, run: () => Promise<T>): Promise<T> {
    await this.enter(pool, by);
    try {
      return await run();
    } catch (error) {
      if (!(error instanceof MusterError && error.reason === 'NO_POOL')) throw error;
    }
    await this.enter(pool, by);
    return run();
  }

  /** A tick found that the pool does not exist. */
  async unlist(pool: string): Promise<void> {
    this.forget(pool);
    await this.#read('pools', Promise.all([this.#redis.srem(keys.pools, pool), this.#redis.hdel(keys.creators, pool)]));
    if ((await this.#read('pools', this.#redis.exists(keys.meta(pool)))) === 1) await this.#read('pools', this.#redis.sadd(keys.pools, pool));
  }

  /** This replica has nothing to do with that pool any more. */
  forget(pool: string): void {
    this.#known.delete(pool);
    this.#inbox?.forget(pool);
  }

  /** Pools that this replica listens for. */
  get heard(): string[] {
    return this.#inbox?.pools ?? [];
  }

  /** Was it entered here lately? What was not, and has nothing under way here, is not worth a subscription. */
  isKnown(pool: string): boolean {
    const known = this.#known.get(pool);
    return known !== undefined && this.#options.clock.monotonic() - known < POOL_UNUSED_MS;
  }

  /** Rejects with `not_found` NO_SUCH_POOL. For what reads, and for operators: neither makes a pool. */
  async requirePool(pool: string): Promise<void> {
    if ((await this.#read('pools', this.#redis.exists(keys.meta(pool)))) === 0) throw noSuchPool(pool);
  }

  /** A bounded part of the work: call until done. Rejects with `not_found` NO_SUCH_POOL and `failed_precondition` POOL_IN_USE. */
  async deletePool(pool: string, limit: number, who: string): Promise<boolean> {
    const { status, count } = await this.jobs.deletePool(pool, limit, who);
    if (status === 'unknown') throw noSuchPool(pool);
    if (status === 'workers' || status === 'jobs') {
      const remedy = status === 'workers' ? 'stop or evict its workers first' : 'purge what is queued and wait for, or cancel, what runs first';
      throw new MusterError(
        'failed_precondition',
        'POOL_IN_USE',
        `pool: ${pool} has ${count} ${status === 'jobs' ? 'unfinished jobs' : status}: ${remedy}`,
        {
          field: 'pool',
        },
      );
    }
    if (status === 'deleted') await this.unlist(pool);
    return status === 'deleted';
  }

  /** On the list of pools. `by`: see `enter`. */
  async #enlist(pool: string, by = ANYBODY): Promise<void> {
    const [is, count] = await this.#read('pools', Promise.all([this.#redis.sismember(keys.pools, pool), this.#redis.scard(keys.pools)]));
    if (is === 1) return;
    if (count >= this.#options.maxPools) {
      throw new MusterError(
        'resource_exhausted',
        'TOO_MANY_POOLS',
        `there are ${count} pools already: name one of them, delete one that is not used, or raise MAX_POOLS`,
      );
    }
    if (by !== ANYBODY && by !== NOBODY) await this.#read('pools', this.#own(pool, by));
    await this.#read('pools', this.#redis.sadd(keys.pools, pool));
  }

  async #own(pool: string, by: string): Promise<void> {
    const { poolsEach = 0 } = this.#options;
    const [names, creators] = await Promise.all([this.#redis.smembers(keys.pools), this.#redis.hgetall(keys.creators)]);
    const own = names.filter((name) => creators[name] === by).length;
    if (poolsEach > 0 && own >= poolsEach) {
      throw new MusterError(
        'resource_exhausted',
        'QUOTA_POOLS',
        `${by} has made ${own} pools (MUSTER_QUOTA_POOLS): name one of them, or have one deleted that is not used`,
      );
    }
    await this.#redis.hset(keys.creators, pool, by);
  }

  /** The list may have lost the pool, with Redis' data. Nobody waits for this; one try at a time. */
  #enlistSoon(pool: string): void {
    if (this.#enlisting.has(pool)) return;
    this.#enlisting.add(pool);
    this.#enlist(pool)
      .then(() => {
        // A script may have found meanwhile that the pool does not exist.
        if (this.#known.has(pool)) this.#known.set(pool, this.#options.clock.monotonic());
      })
      .catch((error: unknown) => this.#options.onError(toError(error)))
      .finally(() => this.#enlisting.delete(pool));
  }

  /** All pools. While the server of the list is away: those that this replica knows of. */
  async pools(): Promise<string[]> {
    if (this.#listed !== undefined && this.#listing !== undefined) return this.#remembered();
    const reading = this.#read('pools', this.#redis.smembers(keys.pools));
    try {
      this.#listed = await reading;
      return this.#listed;
    } catch (error) {
      if (this.#listed === undefined || !isCluster(this.#redis) || !(error instanceof MusterError && error.code === 'unavailable')) throw error;
      this.#listing ??= this.#listAgain();
      return this.#remembered();
    }
  }

  #remembered(): string[] {
    return [...new Set([...(this.#listed ?? []), ...this.#known.keys()])];
  }

  /** Asks for the list until it comes: whoever needs it meanwhile does not wait for a server that is away. */
  async #listAgain(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      await this.#options.clock.sleep(LIST_AGAIN_MS, this.#stop.signal);
      try {
        this.#listed = await this.#redis.smembers(keys.pools);
        break;
      } catch {
        // Whoever asked last was told.
      }
    }
    this.#listing = undefined;
  }

  /** Hints every replica to look at its links now. */
  async publishSweep(): Promise<void> {
    // On a Cluster the two may be on different servers: the message first.
    await this.#read('sweep', publish(this.#redis, keys.sweep, 'now'));
    const note = async () => {
      const [seconds] = await nodeOf(this.#redis, keys.swept).time();
      await this.#redis.set(keys.swept, Number(seconds) * 1_000);
    };
    await this.#read('sweep', note());
  }

  readJobs(pool: string, ids: readonly string[], options: jobs.ReadOptions) {
    return this.#read('jobs', jobs.readJobs(this.#redis, pool, ids, options));
  }

  readJobIndex(index: jobs.JobIndex, offset: number, count: number) {
    return this.#read('jobs', jobs.readIndex(this.#redis, index, offset, count));
  }

  readWorkers(pool: string, ids: readonly string[]) {
    return this.#read('workers', fleet.readWorkers(this.#redis, pool, ids));
  }

  readOwner(pool: string, id: string) {
    return this.#read('the owner', fleet.readOwner(this.#redis, pool, id));
  }

  readHeld(pool: string, workers: readonly string[]) {
    return this.#read('held', fleet.readHeld(this.#redis, pool, workers));
  }

  /** Ids of one page of the roll (or of the dead), oldest sign of life first. */
  readRoll(pool: string, which: 'workers' | 'dead', offset: number, count: number): Promise<string[]> {
    return this.#read('the roll', this.#redis.zrange(keys[which](pool), String(offset), String(offset + count - 1)));
  }

  readPools(names: readonly string[]) {
    return this.#read('pools', fleet.readPools(this.#redis, names));
  }

  readEvents(pool: string, after: string, count: number) {
    return this.#read('events', fleet.readEvents(this.#redis, pool, after, count));
  }

  /** Keeps the pool's FileDescriptorSet, and who put it. Rejects with `not_found` NO_SUCH_POOL and `resource_exhausted` REDIS_FULL. */
  async writeDescriptors(pool: string, set: Buffer, who = ''): Promise<void> {
    if (text(await this.#runner.run('describe', pool, { set, who })) === 'unknown') throw noSuchPool(pool);
  }

  /** null: none were put. */
  readDescriptors(pool: string): Promise<Buffer | null> {
    return this.#read('descriptors', this.#redis.getBuffer(keys.descriptors(pool)));
  }

  readReplicas() {
    return this.#read('replicas', replicas.readReplicas(this.#redis));
  }

  /** Says that this replica lives; and, in case that Redis lost its data, of which schema its keys are. */
  async writeReplica(record: replicas.ReplicaRecord, ttlMs: number): Promise<void> {
    try {
      await this.#read('replicas', replicas.writeReplica(this.#redis, record, ttlMs));
      // On a Cluster it may be on a server that is away: it is said again.
      this.#redis.set(keys.schema, SCHEMA, 'NX').catch(() => undefined);
    } catch (error) {
      // Redis is full, and it answers: this replica can still own workers.
      if (!(error instanceof MusterError && error.reason === 'REDIS_FULL')) throw error;
      await this.#read('replicas', replicas.keepReplica(this.#redis, record.id, ttlMs));
    }
  }

  removeReplica() {
    return this.#read('replicas', replicas.removeReplica(this.#redis, this.home));
  }

  async #read<T>(what: string, reading: Promise<T>): Promise<T> {
    const { clock, observer = UNOBSERVED } = this.#options;
    const before = clock.monotonic();
    try {
      return await reading;
    } catch (error) {
      throw redisError(toError(error), what, this.#user);
    } finally {
      observer.redis('read', what, clock.monotonic() - before);
    }
  }
}
