import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type EmbeddedRedis, startEmbeddedRedis } from '../../src/lifecycle/embedded-redis.js';
import { sdkClock } from '../../src/sdk/clock.js';
import { freePorts } from '../helpers/ports.js';
import { until } from '../helpers/until.js';
import { type BalancerName, type Endpoint, startBalancer } from './balancers.js';
import { Load } from './load.js';
import { Processes, type Started } from './processes.js';
import { isClean, judge, type Verdict } from './verdict.js';

/**
 * The drill: replicas behind a balancer, workers and clients that reach them through it alone, and every replica restarted in turn, on its own
 * ports, while all of them work. All are processes of their own; times are those of production.
 */
export interface DrillOptions {
  balancer: BalancerName;
  /** So often all replicas are restarted, one after another. */
  rolls: number;
  /** The `main.js` that is run. */
  main: string;
  tell: (line: string) => void;
}

export interface Drilled extends Verdict {
  balancer: BalancerName;
  rolls: number;
  seconds: number;
}

const REPLICAS = 3;
const WORKERS = 6;
const SLOTS = 4;
const CLIENTS = 2;
const OUTSTANDING = 32;
const POOL = 'rolling';
/** Results that must have come before the first restart, and after the last. */
const WARM = 200;
const READY_MS = 30_000;
/** STOP_LEAD_MS and STOP_GRACE_MS together, and what it takes to end. */
const STOP_MS = 35_000;
/** A job that has not ended so long after the last restart is lost: no lease lasts longer. */
const LOST_MS = 60_000;
/** The workers' program: see there. */
export const WORKER: string = fileURLToPath(new URL('./worker.ts', import.meta.url));

/** Where a replica runs, in each of its lives. */
interface Place {
  name: string;
  endpoint: Endpoint;
}

interface Replica extends Place {
  started: Started;
}

/** Rejects when something does not start or stop as it should; what went wrong with jobs is in the verdict. */
export async function drill(options: DrillOptions): Promise<Drilled> {
  const folder = mkdtempSync(join(tmpdir(), 'muster-rolling-'));
  const processes = new Processes(folder);
  const running = new Set<Started>();
  let redis: EmbeddedRedis | undefined;
  let clean = false;
  try {
    redis = await startEmbeddedRedis({ clock: sdkClock });
    const drilled = await roll(options, folder, processes, redis.url, running);
    clean = isClean(drilled);
    return drilled;
  } finally {
    await processes.stopAll(running);
    await redis?.stop();
    if (clean) rmSync(folder, { recursive: true, force: true });
    else options.tell(`what everybody wrote is in ${folder}`);
  }
}

async function roll(
  { balancer: name, rolls, main, tell }: DrillOptions,
  folder: string,
  processes: Processes,
  redisUrl: string,
  running: Set<Started>,
): Promise<Drilled> {
  const serve = async (replica: Place): Promise<Replica> => {
    const started = serveAt(replica, main, processes, redisUrl);
    running.add(started);
    await until(() => ready(replica.endpoint.httpPort, started), { timeoutMs: READY_MS, what: `${replica.name} to be ready` });
    return { ...replica, started };
  };
  const places = await placesOf(REPLICAS);
  const replicas = await Promise.all(places.map(serve));
  const balancer = await startBalancer(
    name,
    processes,
    places.map(({ endpoint }) => endpoint),
    folder,
  );
  running.add(balancer.started);
  const log = join(folder, 'jobs.log');
  const workers = processes.node('workers', ['--import', 'tsx', WORKER, balancer.target, POOL, String(WORKERS), String(SLOTS), log]);
  running.add(workers);
  await until(() => workers.output().includes('ready'), { timeoutMs: READY_MS, what: `the workers to attach:\n${workers.output()}` });

  const load = new Load({ target: balancer.target, pool: POOL, clients: CLIENTS, outstanding: OUTSTANDING });
  const more = () => {
    const enough = load.ended + WARM;
    return until(() => load.ended >= enough, { timeoutMs: LOST_MS, what: `${WARM} more jobs to end` });
  };
  load.start();
  await more();
  const begunAt = performance.now();
  const restart = async (place: number) => {
    const old = replicas[place];
    if (old === undefined) return;
    const leaveMs = await left(old);
    running.delete(old.started);
    const startAt = performance.now();
    replicas[place] = await serve(old);
    tell(`  ${old.name} left in ${leaveMs} ms, was back in ${Math.round(performance.now() - startAt)} ms; ${load.ended} jobs so far`);
  };
  for (let n = 1; n <= rolls; n++) {
    tell(`${name}: roll ${n} of ${rolls}`);
    for (let place = 0; place < REPLICAS; place++) await restart(place);
  }
  await more().catch((error: unknown) => tell(String(error)));
  const seconds = Math.round((performance.now() - begunAt) / 1000);
  await load.stop(LOST_MS);
  await workers.stop();
  return { balancer: name, rolls, seconds, ...judge(load.calls, readFileSync(log, 'utf8')) };
}

/** Places for so many, on ports that are free. */
export async function placesOf(count: number): Promise<Place[]> {
  const ports = await freePorts(2 * count);
  return Array.from({ length: count }, (_, i) => ({
    name: `replica-${i + 1}`,
    endpoint: { grpcPort: ports[2 * i] ?? 0, httpPort: ports[2 * i + 1] ?? 0 },
  }));
}

export function serveAt({ name, endpoint }: Place, main: string, processes: Processes, redisUrl: string): Started {
  return processes.node(name, [main, 'serve'], {
    MUSTER_INSECURE: 'true',
    MUSTER_REDIS_URL: redisUrl,
    MUSTER_GRPC_ADDR: `127.0.0.1:${endpoint.grpcPort}`,
    MUSTER_HTTP_ADDR: `127.0.0.1:${endpoint.httpPort}`,
  });
}

/** Throws when it has ended. */
export async function ready(httpPort: number, started: Started): Promise<boolean> {
  if (!started.running()) throw new Error(`it ended:\n${started.output()}`);
  return (await fetch(`http://127.0.0.1:${httpPort}/readyz`)).ok;
}

/** Told to stop, as a supervisor does; answers how long that took, in ms. */
async function left({ name, started }: Replica): Promise<number> {
  const at = performance.now();
  started.signal('SIGTERM');
  const code = await Promise.race([
    started.ended,
    new Promise<never>((_, reject) => setTimeout(() => reject(new Error(`${name} did not end within ${STOP_MS} ms`)), STOP_MS).unref()),
  ]);
  if (code !== 0) throw new Error(`${name} ended with ${code}:\n${started.output()}`);
  return Math.round(performance.now() - at);
}
