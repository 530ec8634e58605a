import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startEmbeddedRedis } from '../../src/lifecycle/embedded-redis.js';
import { sdkClock } from '../../src/sdk/clock.js';
import { Client, Worker } from '../../src/sdk/index.js';
import { freePorts } from '../helpers/ports.js';
import { until } from '../helpers/until.js';
import { Processes } from '../rolling/processes.js';
import { ATTACKS, type AttackName } from './attacks.js';

/** A real replica under attack, and a healthy client of it meanwhile. */
export interface SiegeOptions {
  /** The `main.js` that is attacked. */
  main: string;
  attacks: readonly AttackName[];
  scale: 'brief' | 'full';
  tell: (line: string) => void;
}

export interface Withstood {
  attack: AttackName;
  hits: number;
  /** Jobs of the healthy client meanwhile: how many, and their times in ms. */
  jobs: number;
  p50Ms: number;
  p99Ms: number;
  /** Calls of the healthy client that failed. */
  failed: number;
  /** The replica's heap after garbage collection, relative to before: 1 is the same. */
  heap: number;
  /** Did the process live on? */
  alive: boolean;
}

export const POOL = 'siege';
export const CALLERS = 4;
const WARM_JOBS = 3_000;
const CALM_JOBS = 500;
export const READY_MS = 30_000;
const ATTACK_MS = 240_000;
/** Heap that the enemy left is let go by then: keepalive finds a dead connection within 25 s. */
const HEALED_MS = 40_000;
export const HEAP_MAX = 1.1;
const HEAP = new URL('./heap.mjs', import.meta.url).href;
const LEASH = new URL('../../bench/processes/leash.mjs', import.meta.url).href;
const ATTACKER = fileURLToPath(new URL('./attacker.ts', import.meta.url));

export async function besiege({ main, attacks, scale, tell }: SiegeOptions): Promise<Withstood[]> {
  const folder = mkdtempSync(join(tmpdir(), 'muster-siege-'));
  const processes = new Processes(folder);
  const redis = await startEmbeddedRedis({ clock: sdkClock });
  const [port = 0, http = 0] = await freePorts(2);
  const replica = serve(main, redis.url, port, http);
  const target = `127.0.0.1:${port}`;
  const worker = new Worker({ target, pool: POOL, slots: CALLERS }).handle('echo', (n: number) => n);
  const client = new Client({ target });
  const found: Withstood[] = [];
  try {
    await until(async () => (await fetch(`http://127.0.0.1:${http}/readyz`)).ok, { timeoutMs: READY_MS, what: 'the replica to be ready' });
    await worker.start({ signals: false });
    await new Healthy(client).runFor(WARM_JOBS);
    for (const attack of attacks) {
      const before = await heapOf(replica);
      const healthy = new Healthy(client);
      const attacker = processes.node(attack, ['--import', 'tsx', ATTACKER, attack, String(port), String(ATTACKS[attack][scale])]);
      await healthy.runWhile(Promise.race([attacker.ended, sdkClock.sleep(ATTACK_MS)]));
      await attacker.stop();
      const hits = Number(/hits (\d+)/.exec(attacker.output())?.[1] ?? 0);
      if (hits === 0) tell(`${attack}: ${attacker.output()}`);
      const heap = await healed(replica, before);
      const alive = replica.exitCode === null && replica.signalCode === null;
      const { p50Ms, p99Ms, jobs, failed } = healthy;
      const withstood = { attack, hits, jobs, p50Ms, p99Ms, failed, heap, alive };
      tell(`${attack}: ${hits} hits, ${jobs} jobs, ${failed} failed, p50 ${p50Ms} ms, p99 ${p99Ms} ms, heap ${heap.toFixed(2)}`);
      found.push(withstood);
      if (!alive) break;
    }
    return found;
  } finally {
    await client.close();
    await worker.stop({ graceMs: 0 });
    replica.kill('SIGKILL');
    await processes.stopAll([]);
    await redis.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

export function serve(
  main: string,
  redisUrl: string,
  port: number,
  http: number,
  settings: Record<string, string> = { MUSTER_INSECURE: 'true' },
): ChildProcess {
  const outside = Object.fromEntries(Object.entries(process.env).filter(([key]) => !/^(MUSTER_|VITEST|NODE_OPTIONS)/.test(key)));
  return spawn(process.execPath, ['--expose-gc', '--import', LEASH, '--import', HEAP, main, 'serve'], {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    env: {
      ...outside,
      ...settings,
      MUSTER_LOG_LEVEL: 'fatal',
      MUSTER_REDIS_URL: redisUrl,
      MUSTER_GRPC_ADDR: `127.0.0.1:${port}`,
      MUSTER_HTTP_ADDR: `127.0.0.1:${http}`,
    },
  });
}

interface Memory {
  heapUsed: number;
  /** Of Buffers. */
  arrayBuffers: number;
}

/** Bytes in use by the replica's objects, without garbage. Rejects when it does not answer: it is gone, or deaf. */
export function memoryOf(replica: ChildProcess): Promise<Memory> {
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error('the replica does not say what its heap is')), READY_MS);
    replica.once('message', (message: Memory) => {
      clearTimeout(late);
      resolve(message);
    });
    replica.send('heap', (error) => error && reject(error));
  });
}

async function heapOf(replica: ChildProcess): Promise<number> {
  return (await memoryOf(replica)).heapUsed;
}

/** The heap relative to before, as soon as that is small enough; at the latest after HEALED_MS. */
async function healed(replica: ChildProcess, before: number): Promise<number> {
  let heap = Number.POSITIVE_INFINITY;
  const small = async () => {
    heap = (await heapOf(replica)) / before;
    return heap <= HEAP_MAX;
  };
  await until(small, { timeoutMs: HEALED_MS, what: 'the heap to be as before' }).catch(() => undefined);
  return heap;
}

/** A client as any other. */
export class Healthy {
  readonly #times: number[] = [];
  failed = 0;

  constructor(private readonly client: Client) {}

  get jobs(): number {
    return this.#times.length;
  }

  add(other: Healthy): void {
    this.#times.push(...other.#times);
    this.failed += other.failed;
  }

  get p50Ms(): number {
    return this.#quantile(0.5);
  }

  get p99Ms(): number {
    return this.#quantile(0.99);
  }

  async runFor(jobs: number): Promise<void> {
    await this.#run(() => this.jobs + this.failed < jobs);
  }

  /** And at the least so many that the 99th of a hundred means something. */
  async runWhile(over: Promise<unknown>): Promise<void> {
    let going = true;
    void over.then(() => {
      going = false;
    });
    await this.#run(() => going || this.jobs + this.failed < CALM_JOBS);
  }

  async #run(more: () => boolean): Promise<void> {
    let n = 0;
    const ask = async () => {
      while (more()) {
        const at = performance.now();
        const mine = n++;
        try {
          if ((await this.client.run<number>('echo', mine, { pool: POOL })) !== mine) throw new Error('not its own result');
          this.#times.push(performance.now() - at);
        } catch {
          this.failed++;
        }
      }
    };
    await Promise.all(Array.from({ length: CALLERS }, ask));
  }

  #quantile(q: number): number {
    const sorted = [...this.#times].sort((a, b) => a - b);
    return Math.round(10 * (sorted[Math.floor(q * (sorted.length - 1))] ?? Number.NaN)) / 10;
  }
}
