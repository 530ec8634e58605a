import { lookup } from 'node:dns/promises';
import { hostname } from 'node:os';
import type { Config } from '../config.js';
import type { Clock, Ids, Random } from '../domain/clock.js';
import { unavailable } from '../domain/errors.js';
import { failpoint } from '../domain/failpoints.js';
import { Loop } from '../domain/loop.js';
import type { Observer } from '../domain/observer.js';
import { formatAddress, parseAddress } from '../domain/worker.js';
import { HealthService, HealthState } from '../grpc/health-service.js';
import { type GrpcServer, newLegacyServer, newServer, stopServer } from '../grpc/server.js';
import { HealthSchedule } from '../health/schedule.js';
import { Sweeper } from '../health/sweeper.js';
import { Probes } from '../http/probes.js';
import type { Hint } from '../store/inbox.js';
import { keys } from '../store/keys.js';
import type { MasterWatch } from '../store/master-watch.js';
import { Store } from '../store/store.js';
import { type Core, createCore } from './core.js';
import { checkDurability } from './durability.js';
import { scriptLimits } from './limits.js';
import { errorLog, type Logger } from './log.js';
import { observation } from './observation.js';
import { logLoss, redisAccess, waitingLog, watchMasters } from './redis-access.js';
import { openSecurity, type Security } from './security.js';
import { createServices, SERVED } from './services.js';

export interface ReplicaOptions {
  config: Config;
  version: string;
  clock: Clock;
  ids: Ids;
  random: Random;
  log: (replica: string) => Logger;
}

/** created → starting → serving → stopping → stopped; only forward. */
type Mode = 'created' | 'starting' | 'serving' | 'stopping' | 'stopped';

const HEALTH_CONCURRENCY = 4;
/** After the grace, for what is left to be closed. */
const END_MS = 2_000;
/** Waits are answered so long before the grace ends, so that nobody is cut off. */
const WAITS_END_MS = 500;

/** One orchestrator process: its parts, the order in which they start, and the order in which they stop. */
export class Replica {
  readonly id: string;
  readonly log: Logger;
  readonly #options: ReplicaOptions;
  readonly #masters: MasterWatch | undefined;
  readonly #store: Store;
  readonly #core: Core;
  readonly #schedule: HealthSchedule;
  readonly #sweeper: Sweeper;
  readonly #health = new HealthState();
  readonly #healthService = new HealthService(this.#health, { maxWatchers: 1000, watchersEach: 100 });
  readonly #probes: Probes | undefined;
  readonly #loops: Loop[];
  readonly #onError: (error: unknown) => void;
  readonly #observer: Observer;
  readonly #giveUp = new AbortController();
  readonly #waitsOver = new AbortController();
  readonly #servers: GrpcServer[] = [];
  #security: Security | undefined;
  #mode: Mode = 'created';
  #grpcPort = 0;
  #startedAt = 0;
  #sentAway = new Set<string>();

  constructor(options: ReplicaOptions) {
    const { config, clock, ids, random } = options;
    this.#options = options;
    this.id = ids.replicaId(hostname());
    this.log = options.log(this.id);
    const onError = errorLog(this.log, clock);
    this.#onError = onError;
    this.#masters = watchMasters(config, clock, this.log);
    const access = { ...redisAccess(config), masters: this.#masters };
    const { observer, metrics } = observation({ ...options, log: this.log, store: () => this.#store, links: () => this.#core.links });
    this.#observer = observer;
    this.#store = new Store({
      ...access,
      timeoutMs: config.REDIS_TIMEOUT_MS,
      home: this.id,
      limits: scriptLimits(config),
      maxPools: config.MAX_POOLS,
      poolsEach: config.QUOTA_POOLS,
      clock,
      random,
      onError,
      onLoss: (loss) => logLoss(this.log, loss),
      onWait: waitingLog(this.log, clock),
      observer,
    });
    this.#schedule = new HealthSchedule({
      access,
      prefix: keys.bull,
      replica: this.id,
      clock,
      intervalMs: config.HEALTH_INTERVAL_MS,
      takeMs: config.CHECK_TAKE_MS,
      concurrency: HEALTH_CONCURRENCY,
      sweep: () => this.#store.publishSweep(),
      searchOrphans: () => this.#core.manager.searchOrphans(),
      alone: async () => (await this.#store.readReplicas()).every(({ id, draining }) => id === this.id || draining),
      check: (target) => this.#core.manager.check(target),
      onError,
    });
    const core = { config, store: this.#store, clock, random, checks: this.#schedule, observer, onError };
    this.#core = createCore({ ...core, stopping: () => this.#stopping });
    this.#sweeper = new Sweeper({ clock, intervalMs: config.HEALTH_INTERVAL_MS, checkAll: () => this.#core.manager.checkHealthForAll(), onError });
    this.#probes = metrics && new Probes({ address: config.HTTP_ADDR, ready: () => this.#ready(), metrics: () => metrics.render() });
    this.#loops = [
      new Loop({ clock, everyMs: config.CONFIRM_MS, run: () => this.#eachSecond(), onError }),
      new Loop({ clock, everyMs: config.HOME_BEAT_MS, run: () => this.#announce(), onError }),
    ];
  }

  /** Ready to be given calls. Resolves with the ports. Rejects when an address is taken, Redis is not one that we can use, or `signal` aborts. */
  async start(signal: AbortSignal): Promise<{ grpcPort: number; httpPort: number; legacyPort: number }> {
    this.#turn('starting', 'created');
    const { config, clock } = this.#options;
    this.#security = await openSecurity(config, clock, this.log, this.#observer);
    await this.#core.keys?.open();
    // Liveness answers from the beginning: waiting for Redis is not being dead.
    const httpPort = (await this.#probes?.start()) ?? 0;
    await this.#store.start(
      { hint: (hint) => this.#hint(hint), resubscribed: (pools) => this.#resubscribed(pools), error: errorLog(this.log, clock) },
      AbortSignal.any([signal, this.#giveUp.signal]),
    );
    await checkDurability(config, this.#store, this.log);
    this.#core.judgement.start();
    const services = createServices({
      config,
      core: this.#core,
      clock,
      ids: this.#options.ids,
      random: this.#options.random,
      log: this.log,
      observer: this.#observer,
      replica: this.id,
      health: this.#healthService,
      security: this.#security,
      waitsOver: this.#waitsOver.signal,
      stopping: this.#giveUp.signal,
      onError: this.#onError,
    });
    const server = newServer(this.#core.manager, services);
    this.#servers.push(server);
    this.#grpcPort = await server.listen(config.GRPC_ADDR, this.#security?.tls);
    let legacyPort = 0;
    if (config.LEGACY_ADDR !== '') {
      const legacy = newLegacyServer(this.#core.manager, services);
      this.#servers.push(legacy);
      legacyPort = await legacy.listen(config.LEGACY_ADDR);
    }
    this.#learnOwnAddresses(httpPort, legacyPort);
    this.#startedAt = clock.now();
    await this.#announce();
    for (const loop of this.#loops) loop.start();
    this.#core.ticker.start();
    this.#sweeper.start();
    this.#schedule.start(this.#store.tellsVersion);
    this.#turn('serving', 'starting');
    for (const name of SERVED) this.#health.set(name, true);
    this.log.info({ grpcPort: this.#grpcPort, httpPort, legacyPort }, 'ready');
    return { grpcPort: this.#grpcPort, httpPort, legacyPort };
  }

  /**
   * Ends in order: not ready → balancers look away → workers get new homes, calls under way end → links → Redis. Never rejects; takes
   * STOP_LEAD_MS + STOP_GRACE_MS and a moment at the most. Accepted jobs go on: their leases and results are in Redis or at their workers.
   */
  async stop(): Promise<void> {
    if (this.#mode === 'stopping' || this.#mode === 'stopped') return;
    const served = this.#mode === 'serving';
    this.#mode = 'stopping';
    this.#giveUp.abort(new Error('stopping'));
    const { config, clock } = this.#options;
    for (const name of SERVED) this.#health.set(name, false);
    this.#core.manager.drain();
    this.log.info('stopping');
    if (served) {
      await this.#announce().catch(() => undefined);
      await clock.sleep(config.STOP_LEAD_MS);
      const endsAt = clock.monotonic() + config.STOP_GRACE_MS;
      await this.#by(endsAt, 'ticks, sweeps and checks', [this.#core.ticker.stop(), this.#sweeper.stop(), this.#schedule.stop()]);
      this.#core.attacher.sendAway('draining');
      await this.#by(endsAt, 'saying that its workers are up for adoption', [this.#core.vouching.leave()]);
      failpoint('stop-left');
      this.#healthService.close();
      const graceMs = Math.max(0, endsAt - clock.monotonic());
      void clock.sleep(graceMs - WAITS_END_MS).then(() => this.#waitsOver.abort());
      await this.#by(
        endsAt + END_MS,
        'calls',
        this.#servers.map((server) => stopServer(server, graceMs)),
      );
      await this.#quiet(endsAt);
    } else {
      for (const server of this.#servers) server.forceShutdown();
      await this.#schedule.stop();
    }
    await this.#end();
  }

  async #end(): Promise<void> {
    const endsAt = this.#options.clock.monotonic() + END_MS;
    this.#waitsOver.abort();
    await this.#by(
      endsAt,
      'timers',
      this.#loops.map((loop) => loop.stop()),
    );
    this.#core.finisher.stop();
    this.#core.manager.closeGrpcAll();
    this.#core.judgement.stop();
    await this.#security?.stop();
    await this.#core.keys?.stop();
    await this.#store.removeReplica().catch(() => undefined);
    await this.#by(endsAt, 'probes', [this.#probes?.stop()]);
    await this.#by(endsAt, 'Redis', [this.#store.stop(), this.#masters?.stop()]);
    this.#mode = 'stopped';
    this.log.info('stopped');
  }

  /** A part of the stop, for so long: whatever hangs, the process ends in its time. */
  async #by(endsAt: number, what: string, ending: (Promise<unknown> | undefined)[]): Promise<void> {
    const { clock } = this.#options;
    const over = new AbortController();
    const ended = Promise.allSettled(ending).then(() => true);
    const late = clock.sleep(Math.max(0, endsAt - clock.monotonic()), over.signal).then(() => false);
    if (!(await Promise.race([ended, late]))) this.log.warn({ what }, 'did not end in time: stopping without it');
    over.abort();
  }

  /** Calls to workers end, and their results are settled, for as long as the grace lasts. */
  async #quiet(endsAt: number): Promise<void> {
    const { clock } = this.#options;
    while (clock.monotonic() < endsAt && this.#core.links.openCalls + this.#core.finisher.pending > 0) await clock.sleep(20);
  }

  get #stopping(): boolean {
    return this.#mode === 'stopping' || this.#mode === 'stopped';
  }

  #turn(to: Mode, from: Mode): void {
    if (this.#mode !== from) throw unavailable('STOPPED', `cannot become ${to}: this replica is ${this.#mode}`);
    this.#mode = to;
  }

  async #ready(): Promise<boolean> {
    if (this.#mode !== 'serving' || this.#store.deaf) return false;
    await this.#store.checkWrites(this.#recordMs);
    return true;
  }

  #hint(hint: Hint): void {
    const { dispatcher, waiters } = this.#core;
    if (hint.kind === 'sweep') this.#sweeper.hinted();
    else if (hint.kind === 'done') waiters.look(hint.pool, hint.jobId);
    else if (hint.kind === 'cancel') void dispatcher.abort(hint);
    else dispatcher.ask({ ...hint, link: '' });
  }

  #resubscribed(pools: string[]): void {
    for (const pool of pools) this.#core.matching.doubt(pool);
    // Redis was away: whoever it took for silent in that time is heard again at once.
    void this.#sweeper.look();
  }

  #eachSecond(): void {
    const { vouching, matching, links, waiters, running, judgement, attacher } = this.#core;
    attacher.renewOld();
    this.#sendAwayWithoutRedis();
    this.#observer.lagged(judgement.turn());
    links.sweepRetired();
    waiters.lookAtStale();
    // None is awaited: what one Redis server does not answer must not keep from the others what is theirs. Each leaves out what it still waits for.
    vouching.runOnce().catch(this.#onError);
    matching.recover().catch(this.#onError);
    // A pool with workers here exists and is on the list of pools, though Redis may have lost its data: what is not on it is never ticked.
    const linked = new Set([...links.all()].map(({ ref }) => ref.pool));
    for (const pool of linked) this.#store.enter(pool).catch(this.#onError);
    this.#store.noteReplication().catch(this.#onError);
    const used = new Set([...linked, ...waiters.pools(), ...running.pools()]);
    for (const pool of this.#store.heard) if (!used.has(pool) && !this.#store.isKnown(pool)) this.#store.forget(pool);
    vouching.forget(linked);
  }

  /** For so long this replica is on the list of replicas after it has said that it lives. */
  get #recordMs(): number {
    return 3 * this.#options.config.HOME_BEAT_MS;
  }

  async #announce(): Promise<void> {
    const { config, version } = this.#options;
    const address = config.REPLICA_ADDR || `${hostname()}:${this.#grpcPort}`;
    const record = {
      id: this.id,
      address,
      version,
      links: this.#core.links.size,
      startedAt: this.#startedAt,
      draining: this.#stopping,
      listens: this.#core.replicas.own(),
    };
    await this.#store.writeReplica(record, this.#recordMs);
    const others = (await this.#store.readReplicas()).filter(({ id }) => id !== this.id);
    this.#core.replicas.learn(others.flatMap(({ listens }) => listens));
    if (this.#mode === 'serving') this.#levelOut(others.filter(({ draining }) => !draining));
  }

  /** What workers may not be dialed at. REPLICA_ADDR may be a name, which stands for itself once it is resolved. */
  #learnOwnAddresses(httpPort: number, legacyPort: number): void {
    const { config } = this.#options;
    const { replicas } = this.#core;
    replicas.listens(config.GRPC_ADDR, this.#grpcPort);
    if (config.LEGACY_ADDR !== '') replicas.listens(config.LEGACY_ADDR, legacyPort);
    if (config.HTTP_ADDR !== '') replicas.listens(config.HTTP_ADDR, httpPort);
    const told = parseAddress(config.REPLICA_ADDR);
    if (!Number.isInteger(told.port) || told.port === 0) return;
    const learn = (all: { address: string }[]) => {
      for (const { address } of all) replicas.listens(formatAddress({ ip: address, port: told.port }), told.port);
    };
    lookup(told.ip, { all: true }).then(learn, () => undefined);
  }

  #levelOut(others: { links: number }[]): void {
    const moved = this.#core.levelling.round(others.map(({ links }) => links));
    if (moved > 0) this.log.debug({ moved }, 'asked workers to move to replicas with fewer');
  }

  /** A replica that Redis does not answer for a pool is no home of its workers: attached ones may find a better one. Said once an outage. */
  #sendAwayWithoutRedis(): void {
    const silent = new Set(this.#core.vouching.silent(this.#options.config.HOME_TTL_MS));
    for (const pool of silent) if (!this.#sentAway.has(pool)) this.#core.attacher.sendAway('no_redis', pool);
    this.#sentAway = silent;
  }
}
