import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Worker, WorkerState } from '../../src/grpc/generated/muster/v1/admin.js';
import { type EmbeddedRedis, type EmbeddedRedisOptions, startEmbeddedRedis } from '../../src/lifecycle/embedded-redis.js';
import { type Api, connect } from '../../src/sdk/connect.js';
import { Child, mainArgs, scriptArgs } from './children.js';
import type { Note } from './handlers.js';
import { until } from './until.js';

export interface ClusterOptions {
  /** Default 3. */
  replicas?: number;
  /** All times of the replicas are multiplied by it. Default 0.2: HOME_TTL_MS 1.2 s, OUTAGE_GRACE_MS 3 s, LEASE_MS 6 s, HEALTH_INTERVAL_MS 2 s. */
  timeScale?: number;
  /** More of the configuration, by name without prefix. */
  settings?: Record<string, string>;
  /** How Redis runs; default: an append-only file, every write synced. */
  redis?: EmbeddedRedisOptions;
  /** More of the environment of the i-th replica. */
  replicaEnv?: (i: number) => Record<string, string>;
}

export interface ReplicaProcess {
  child: Child;
  grpcPort: number;
  httpPort: number;
}

export interface WorkerProcess {
  id: string;
  child: Child;
  /** Of the `legacy` kind: where it listens. */
  port: number;
}

export interface WorkerOptions {
  pool?: string;
  slots?: number;
  /** The replicas that it registers at; default: all. */
  target?: string;
  /** Speaks the first contract only. */
  legacy?: boolean;
  /** Of a legacy one: where it listens. Default: anywhere. */
  port?: number;
}

/** Several replicas as processes over a Redis of their own (AOF, every write synced), and worker processes; all ended by `dispose`. */
export class Cluster {
  readonly #options: ClusterOptions;
  readonly #folder = mkdtempSync(join(tmpdir(), 'muster-cluster-'));
  readonly #workers: WorkerProcess[] = [];
  readonly #apis: Api[] = [];
  readonly replicas: ReplicaProcess[] = [];

  private constructor(
    readonly redis: EmbeddedRedis,
    options: ClusterOptions,
  ) {
    this.#options = options;
  }

  /** Resolves when every replica is ready. */
  static async start(options: ClusterOptions = {}): Promise<Cluster> {
    const redis = await startEmbeddedRedis(options.redis ?? { appendonly: true, appendfsync: 'always' });
    const cluster = new Cluster(redis, options);
    try {
      const all = Array.from({ length: options.replicas ?? 3 }, (_, i) => cluster.#launch(i));
      cluster.replicas.push(...(await Promise.all(all)));
      return cluster;
    } catch (error) {
      await cluster.dispose();
      throw error;
    }
  }

  /** Every replica behind one target, as gRPC's round_robin takes it. */
  get target(): string {
    return `ipv4:${this.replicas.map(({ grpcPort }) => `127.0.0.1:${grpcPort}`).join(',')}`;
  }

  targetOf(i: number): string {
    return `127.0.0.1:${this.replica(i).grpcPort}`;
  }

  replica(i: number): ReplicaProcess {
    const replica = this.replicas[i];
    if (!replica) throw new Error(`no replica ${i}`);
    return replica;
  }

  /** The id of a replica in this life. */
  async idOf(i: number): Promise<string> {
    return String((await this.replica(i).child.said('ready'))['replica']);
  }

  /** Closed with the cluster. */
  connect(target = this.target): Api {
    const api = connect(target);
    this.#apis.push(api);
    return api;
  }

  /** SIGKILL. */
  async kill(i: number): Promise<void> {
    const { child } = this.replica(i);
    child.signal('SIGKILL');
    await child.ended();
  }

  /** SIGTERM. Resolves with the exit code. */
  stop(i: number): Promise<number | string> {
    const { child } = this.replica(i);
    child.signal('SIGTERM');
    return child.ended();
  }

  /** Starts it again, on the same ports. Resolves when it is ready. */
  async startAgain(i: number): Promise<void> {
    this.replicas[i] = await this.#launch(i, this.replica(i));
  }

  /** Resolves when the worker is on the roll. */
  async worker(id: string, options: WorkerOptions = {}): Promise<WorkerProcess> {
    const worker = this.launchWorker(id, options);
    worker.port = Number((await worker.child.said('registered'))['port'] ?? 0);
    return worker;
  }

  /** The same, without waiting for anything. */
  launchWorker(id: string, options: WorkerOptions = {}): WorkerProcess {
    const { pool = 'default', slots = 1, target = this.target, legacy = false, port = 0 } = options;
    const script = scriptArgs(legacy ? 'test/helpers/legacy-process.ts' : 'test/helpers/worker-process.ts');
    const settings = { target, id, pool, slots, port, file: this.#notesFile };
    const worker: WorkerProcess = { id, child: new Child(id, script, { WORKER: JSON.stringify(settings) }), port };
    this.#workers.push(worker);
    return worker;
  }

  /** The latest life of that worker. */
  workerOf(id: string): WorkerProcess {
    const worker = this.#workers.findLast((one) => one.id === id);
    if (!worker) throw new Error(`no worker ${id}`);
    return worker;
  }

  /** What the worker processes noted, in the order of their writes. What comes after the last newline is still being written. */
  notes(): Note[] {
    if (!existsSync(this.#notesFile)) return [];
    return readFileSync(this.#notesFile, 'utf8')
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as Note);
  }

  /** Workers of a pool by their state and home, as `api` sees them. */
  async roll(api: Api, pool: string): Promise<Worker[]> {
    return (await api.listWorkers({ pool, state: WorkerState.WORKER_STATE_UNSPECIFIED, pageSize: 1000, pageToken: '' })).workers;
  }

  async dispose(): Promise<void> {
    for (const api of this.#apis) api.close();
    await Promise.all([...this.#workers, ...this.replicas].map(({ child }) => child.dispose()));
    await this.redis.stop();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** The last words of every replica, for the message of a test that failed. */
  story(): string {
    return this.replicas.map(({ child }) => `--- ${child.name}\n${child.tail()}`).join('\n');
  }

  /** Lines of the replicas that tell of what must not happen inside. */
  faults(): string[] {
    return this.replicas.flatMap(({ child }) => child.lines.filter((line) => /"level":[56]0/.test(line) || !line.startsWith('{')));
  }

  get #notesFile(): string {
    return join(this.#folder, 'notes.jsonl');
  }

  async #launch(i: number, again?: ReplicaProcess): Promise<ReplicaProcess> {
    const { timeScale = 0.2, settings = {}, replicaEnv } = this.#options;
    const env: Record<string, string> = {
      ...replicaEnv?.(i),
      MUSTER_INSECURE: 'true',
      MUSTER_REDIS_URL: this.redis.url,
      MUSTER_GRPC_ADDR: `127.0.0.1:${again?.grpcPort ?? 0}`,
      MUSTER_HTTP_ADDR: `127.0.0.1:${again?.httpPort ?? 0}`,
      MUSTER_TIME_SCALE: String(timeScale),
    };
    for (const [name, value] of Object.entries(settings)) env[`MUSTER_${name}`] = value;
    const child = new Child(`replica at ${this.redis.port}`, [...mainArgs(), 'serve'], env);
    try {
      const ready = await child.said('ready');
      return { child, grpcPort: Number(ready['grpcPort']), httpPort: Number(ready['httpPort']) };
    } catch (error) {
      await child.dispose();
      throw error;
    }
  }
}

/** A whole cluster as this test file sees it, with `until` that tells the replicas' story when it fails. */
export async function untilIn<T>(
  cluster: Cluster,
  condition: () => T | Promise<T>,
  options: { timeoutMs?: number; what: string },
): Promise<NonNullable<T>> {
  try {
    return await until(condition, options);
  } catch (error) {
    throw new Error(`${error instanceof Error ? error.message : String(error)}\n${cluster.story()}`, { cause: error });
  }
}
