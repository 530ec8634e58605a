import { createServer } from 'node:net';
import { fileURLToPath } from 'node:url';
import { type EmbeddedRedis, startEmbeddedRedis } from '../../lifecycle/embedded-redis.js';
import { ApiError } from '../../sdk/api-error.js';
import { sdkClock } from '../../sdk/clock.js';
import { type Api, connect } from '../../sdk/connect.js';
import { type Worker, WorkerState } from '../../sdk/messages.js';
import { Child, LEASH, WORKER } from './child.js';

/** All that the demo runs: a Redis, replicas, workers, each a process, and the connection to the replicas. */
export interface FleetOptions {
  replicas: number;
  /** Told when a process ends that should not. */
  onLost: (error: Error) => void;
  /** Told how far the start is. */
  tell: (line: string) => void;
  signal: AbortSignal;
}

export interface ReplicaProcess {
  child: Child;
  /** Where it serves gRPC, as ListReplicas says it. */
  address: string;
}

export interface WorkerProcess {
  child: Child;
  id: string;
  pool: string;
}

const RUNNERS = 4;
const LEGACY_WORKERS = 2;
export const HASH_POOL = 'hash';
/** Where replicas put workers that name no pool. */
export const LEGACY_POOL = 'default';
const READY_MS = 30_000;
const CALL_MS = 2_000;
const PAGE = 1_000;

export class Fleet {
  readonly replicas: ReplicaProcess[] = [];
  readonly workers: WorkerProcess[] = [];
  readonly #options: FleetOptions;
  #redis: EmbeddedRedis | undefined;
  #api: Api | undefined;

  constructor(options: FleetOptions) {
    this.#options = options;
  }

  get api(): Api {
    if (this.#api === undefined) throw new Error('the fleet was not started');
    return this.#api;
  }

  get redisPort(): number {
    return this.#redis?.port ?? 0;
  }

  /** Resolves when every worker is on the roll and free. Rejects when something does not come up; `stop` then ends the rest. */
  async start(): Promise<void> {
    const { replicas, tell, signal } = this.#options;
    tell('starting a Redis');
    // Its waits must keep the demo alive while it stops, when there is nothing else left.
    this.#redis = await startEmbeddedRedis({ clock: sdkClock });
    if (signal.aborted) return;
    tell(`starting ${replicas} replicas`);
    await this.#startReplicas(this.#redis.url);
    const target = targetOf(this.replicas);
    this.#api = connect(target);
    if (signal.aborted) return;
    tell(`starting ${RUNNERS} workers in pool ${HASH_POOL}, and ${LEGACY_WORKERS} that speak the first contract (pool ${LEGACY_POOL})`);
    for (let n = 1; n <= RUNNERS; n++) this.#startWorker('runner', `hash-${n}`, HASH_POOL, target);
    for (let n = 1; n <= LEGACY_WORKERS; n++) this.#startWorker('legacy', `legacy-${n}`, LEGACY_POOL, target);
    const free = async () => (await this.roll()).filter(({ state }) => state === WorkerState.WORKER_STATE_FREE).length === this.workers.length;
    if ((await pollFor(free, READY_MS, signal)) === undefined && !signal.aborted) {
      throw new Error(`the workers did not register within ${READY_MS / 1000} s:\n${this.workers.map(({ child }) => child.output).join('')}`);
    }
  }

  /** Every worker on the roll that is not dead. */
  async roll(): Promise<Worker[]> {
    const found: Worker[] = [];
    let pageToken = '';
    do {
      const page = await this.api.listWorkers(
        { pool: '', state: WorkerState.WORKER_STATE_UNSPECIFIED, pageSize: PAGE, pageToken },
        { deadlineMs: CALL_MS },
      );
      found.push(...page.workers);
      pageToken = page.nextPageToken;
    } while (pageToken !== '');
    return found;
  }

  /** Workers first, as long as there is somebody to say goodbye to; Redis last. Idempotent. */
  async stop(): Promise<void> {
    this.#api?.close();
    await Promise.all(this.workers.map(({ child }) => child.stop()));
    await Promise.all(this.replicas.map(({ child }) => child.stop()));
    await this.#redis?.stop();
  }

  async #startReplicas(redisUrl: string): Promise<void> {
    const { replicas, onLost, signal } = this.#options;
    const ports = await freePorts(2 * replicas);
    const ready = Array.from({ length: replicas }, async (_, i) => {
      const [address, http] = [ports[2 * i], ports[2 * i + 1]].map((port) => `127.0.0.1:${port}`);
      if (address === undefined || http === undefined) throw new Error('too few ports');
      const child = new Child({
        name: `replica ${i + 1}`,
        args: ['--import', LEASH.href, process.argv[1] ?? '', 'serve'],
        env: replicaEnv(redisUrl, address, http),
        onLost,
      });
      this.replicas.push({ child, address });
      const answers = async () => (await fetch(`http://${http}/readyz`)).ok;
      if ((await pollFor(answers, READY_MS, signal)) === undefined && !signal.aborted) {
        throw new Error(`${child.name} was not ready within ${READY_MS / 1000} s:\n${child.output}`);
      }
    });
    await Promise.all(ready);
  }

  #startWorker(role: 'runner' | 'legacy', id: string, pool: string, target: string): void {
    const { onLost } = this.#options;
    const child = new Child({ name: `worker ${id}`, args: [fileURLToPath(WORKER), role, id, pool, target], onLost });
    this.workers.push({ child, id, pool });
  }
}

/** Every time and limit is the default's: the demo shows what people get. Nobody waits for a balancer to look away, though. */
function replicaEnv(redisUrl: string, address: string, http: string): Record<string, string> {
  return {
    MUSTER_REDIS_URL: redisUrl,
    MUSTER_GRPC_ADDR: address,
    MUSTER_REPLICA_ADDR: address,
    MUSTER_HTTP_ADDR: http,
    MUSTER_INSECURE: 'true',
    MUSTER_STOP_LEAD_MS: '0',
    MUSTER_LOG_LEVEL: 'error',
  };
}

/** One target over all of them: gRPC's own round_robin spreads the calls. */
export function targetOf(replicas: readonly ReplicaProcess[]): string {
  return `ipv4:${replicas.map(({ address }) => address).join(',')}`;
}

const POLL_MS = 50;

/**
 * Asks until the condition holds; resolves with the ms that it took, undefined when it took too long or the signal was aborted. A condition
 * that throws what a missing replica makes it throw does not hold yet; anything else it throws is thrown.
 */
export async function pollFor(condition: () => Promise<boolean>, timeoutMs: number, signal: AbortSignal): Promise<number | undefined> {
  const start = performance.now();
  while (!signal.aborted && performance.now() - start < timeoutMs) {
    try {
      if (await condition()) return performance.now() - start;
    } catch (error) {
      // `fetch` says TypeError where nobody listens.
      if (!(error instanceof TypeError) && !(error instanceof ApiError && error.broken)) throw error;
    }
    await sdkClock.sleep(POLL_MS, signal);
  }
  return undefined;
}

/** Free ports of the loopback, all different. Another process may take one before its replica does; then that replica says so and ends. */
async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer());
  const ports = await Promise.all(
    servers.map(
      (server) =>
        new Promise<number>((resolve, reject) => {
          server.once('error', reject);
          server.listen(0, '127.0.0.1', () => {
            const address = server.address();
            if (address !== null && typeof address === 'object') resolve(address.port);
          });
        }),
    ),
  );
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}
