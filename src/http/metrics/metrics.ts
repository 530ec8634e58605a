import { collectDefaultMetrics, Gauge, Registry } from 'prom-client';
import type { Clock } from '../../domain/clock.js';
import { type Assignment, Code } from '../../domain/job.js';
import type { LeaseRef } from '../../domain/link.js';
import type {
  BatchKind,
  CertificateUse,
  GuessedBy,
  Happening,
  JobEnd,
  Listener,
  Observer,
  RpcObserver,
  Submitting,
  TurnedAway,
} from '../../domain/observer.js';
import { edgeMetrics } from './edge.js';
import { type PoolsRead, poolMetrics } from './pools.js';
import { type Buckets, Distribution, Tally } from './tallies.js';

/** This replica's own workers, at the time of a scrape. */
export interface FleetNow {
  links: number;
  /** By pool. */
  slots: ReadonlyMap<string, number>;
  /** ms since the sign of life that is longest ago; 0 when there is no worker. */
  oldestSignMs: number;
}

export interface MetricsOptions {
  version: string;
  clock: Clock;
  /** See METRICS_CACHE_MS. */
  cacheMs: number;
  /** See METRICS_POOLS. */
  maxPools: number;
  readPools: () => Promise<PoolsRead>;
  fleet: () => FleetNow;
}

const SHORT_S = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1];
const LONG_S = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800];
const SIZES = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512];

/** The lag that is shown is the worst of so many seconds: longer than scrapers usually wait, so that none is missed. */
const LAG_SECONDS = 60;
/** For the library's own monitor of the event loop: a timer that fires less often than its default, which an idle replica would feel. */
const MONITOR_MS = 50;

/** Why a worker was suspected or died, as a label: what scripts and links say by themselves. What people and probes say is free text. */
const REASONS: ReadonlySet<string> = new Set([
  'home_gone',
  'detached',
  'drain_timeout',
  'deregistered',
  'superseded',
  'refused',
  'silent',
  'answered_badly',
  'untrusted',
]);

const CODES = new Map<number, string>(Object.entries(Code).map(([name, code]) => [code, name]));

/** What was made once for a key, which is one of a few, is looked up by it alone. */
function memo<K, V>(make: (key: K) => V): (key: K) => V {
  const made = new Map<K, V>();
  return (key) => {
    const there = made.get(key);
    if (there !== undefined) return there;
    const value = make(key);
    made.set(key, value);
    return value;
  };
}

/** What a replica is seen doing, as Prometheus reads it: a registry of its own, plain numbers until it is asked. */
export class Metrics implements Observer {
  readonly registry = new Registry();
  readonly #batch: (kind: BatchKind) => Buckets;
  readonly #script: (name: string) => Buckets;
  readonly #read: (what: string) => Buckets;
  readonly #jobSeconds: (outcome: string) => Buckets;
  readonly #matchSeconds: Buckets;
  readonly #evictions: Tally;
  readonly #refusals: Tally;
  readonly #guesses: Tally;
  readonly #started: Tally;
  readonly #handled: Tally;
  readonly #handling: Distribution;
  readonly #lags: number[] = [];
  readonly #edge: ReturnType<typeof edgeMetrics>;

  constructor(options: MetricsOptions) {
    const { registry } = this;
    const { version, clock, cacheMs, readPools, fleet } = options;
    poolMetrics({ registry, clock, cacheMs, read: readPools });
    this.#fleet(fleet, options.maxPools);
    this.#edge = edgeMetrics(registry);
    this.#matchSeconds = new Distribution({
      ...{ name: 'muster_match_seconds', registry, buckets: LONG_S },
      help: 'From the submission of a job (or its start not before) to its first assignment, as the home of its worker is told',
    }).of();
    const jobSeconds = new Distribution({
      ...{ name: 'muster_job_seconds', labels: ['outcome'], registry, buckets: LONG_S },
      help: 'From the submission of a job to its end by a result that this replica brought',
    });
    this.#jobSeconds = memo((outcome) => jobSeconds.of(outcome));
    const batches = new Distribution({
      ...{ name: 'muster_batch_size', labels: ['kind'], registry, buckets: SIZES },
      help: 'Items that one script call took along',
    });
    this.#batch = memo((kind) => batches.of(kind));
    const redis = new Distribution({
      ...{ name: 'muster_redis_command_seconds', labels: ['command'], registry, buckets: SHORT_S },
      help: 'Round trips to Redis, waiting in the connection included: scripts by name, reads as read_what; what failed counts too',
    });
    this.#script = memo((name) => redis.of(name));
    this.#read = memo((what) => redis.of(`read_${what.replaceAll(' ', '_')}`));
    this.#evictions = new Tally({
      ...{ name: 'muster_evictions_total', labels: ['state', 'reason'], registry },
      help: 'Workers that became suspect or dead by a script that this replica called',
    });
    this.#refusals = new Tally({
      ...{ name: 'muster_auth_refused_total', labels: ['reason'], registry },
      help: 'Calls that were refused for their credentials',
    });
    this.#guesses = new Tally({
      ...{ name: 'muster_lease_guesses_total', labels: ['call'], registry },
      help: 'Leases that workers named in results and heartbeats and were never given',
    });
    const rpc = ['grpc_service', 'grpc_method'];
    this.#started = new Tally({ name: 'grpc_server_started_total', help: 'RPCs that were begun', labels: rpc, registry });
    this.#handled = new Tally({
      name: 'grpc_server_handled_total',
      help: 'RPCs that have ended, by their status',
      labels: [...rpc, 'grpc_code'],
      registry,
    });
    this.#handling = new Distribution({
      ...{ name: 'grpc_server_handling_seconds', labels: rpc, registry, buckets: LONG_S },
      help: 'From the beginning of an RPC to its end; of a stream, all of its life',
    });
    const lags = this.#lags;
    new Gauge({
      name: 'muster_loop_lag_seconds',
      help: `By how much the event loop was late at the worst, in the last ${LAG_SECONDS} s`,
      registers: [registry],
      collect() {
        this.set(Math.max(0, ...lags) / 1_000);
      },
    });
    new Gauge({
      ...{ name: 'muster_build_info', help: 'Always 1', labelNames: ['version', 'node_version'], registers: [registry] },
    }).set({ version, node_version: process.version }, 1);
    collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: MONITOR_MS });
  }

  /** In the text format, and what type that is. */
  async render(): Promise<{ type: string; text: string }> {
    return { type: this.registry.contentType, text: await this.registry.metrics() };
  }

  batch(kind: BatchKind, items: number): void {
    this.#batch(kind).observe(items);
  }

  redis(sort: 'script' | 'read', what: string, ms: number): void {
    (sort === 'script' ? this.#script(what) : this.#read(what)).observe(ms / 1_000);
  }

  submitting(): Submitting | undefined {
    return undefined;
  }

  assigned({ attempt, waitedMs }: Assignment): void {
    if (attempt === 1) this.#matchSeconds.observe(waitedMs / 1_000);
  }

  ended(_lease: LeaseRef, { state, createdAt, finishedAt }: JobEnd): void {
    this.#jobSeconds(state).observe(Math.max(0, finishedAt - createdAt) / 1_000);
  }

  happened(_pool: string, { kind, fields }: Happening): void {
    const { reason = '' } = fields;
    if (kind !== 'worker.suspect' && kind !== 'worker.dead') return;
    this.#evictions.of(kind === 'worker.dead' ? 'dead' : 'suspect', REASONS.has(reason) ? reason : 'other').n++;
  }

  linked(): void {}

  unlinked(): void {}

  lagged(ms: number): void {
    this.#lags.push(ms);
    if (this.#lags.length > LAG_SECONDS) this.#lags.shift();
  }

  guessed(call: GuessedBy, leases: number): void {
    this.#guesses.of(call).n += leases;
  }

  refused(reason: string): void {
    this.#refusals.of(reason).n++;
  }

  connections(listener: Listener, open: number): void {
    this.#edge.connections(listener, open);
  }

  turnedAway(listener: Listener, why: TurnedAway, peer: string): void {
    this.#edge.turnedAway(listener, why, peer);
  }

  spared(): void {
    this.#edge.spared();
  }

  certificate(use: CertificateUse, expiresAt: number): void {
    this.#edge.certificate(use, expiresAt);
  }

  rpc(service: string, method: string): RpcObserver {
    const started = this.#started.of(service, method);
    const handling = this.#handling.of(service, method);
    const handled = memo((code: number) => this.#handled.of(service, method, CODES.get(code) ?? String(code)));
    return {
      started: () => {
        started.n++;
      },
      handled: (code, ms) => {
        handled(code).n++;
        handling.observe(ms / 1_000);
      },
    };
  }

  #fleet(fleet: () => FleetNow, maxPools: number): void {
    const registers = [this.registry];
    new Gauge({
      name: 'muster_links',
      help: 'Workers whose home this replica is',
      registers,
      collect() {
        this.set(fleet().links);
      },
    });
    new Gauge({
      name: 'muster_slots',
      help: 'Slots of the workers whose home this replica is: sum over the replicas',
      labelNames: ['pool'],
      registers,
      collect() {
        this.reset();
        const slots = [...fleet().slots].sort(([a], [b]) => (a < b ? -1 : 1));
        for (const [pool, n] of slots.slice(0, maxPools)) this.set({ pool }, n);
      },
    });
    new Gauge({
      name: 'muster_heartbeat_age_seconds',
      help: "The longest time since one of this replica's workers was last heard",
      registers,
      collect() {
        this.set(fleet().oldestSignMs / 1_000);
      },
    });
  }
}
