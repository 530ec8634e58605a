import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { type EmbeddedRedis, startEmbeddedRedis } from '../../src/lifecycle/embedded-redis.js';
import { sdkClock } from '../../src/sdk/clock.js';
import { connect } from '../../src/sdk/connect.js';
import { until } from '../helpers/until.js';
import { type BalancerName, startBalancer } from './balancers.js';
import { placesOf, ready, serveAt, WORKER } from './drill.js';
import { Load } from './load.js';
import { Processes, type Started } from './processes.js';
import { judge } from './verdict.js';

export interface FrozenOptions {
  /** `none`: workers and clients know the three addresses themselves. */
  balancer: BalancerName | 'none';
  /** How long the replica stands still (SIGSTOP). */
  frozenMs: number;
  /** The `main.js` that is run. */
  main: string;
  tell: (line: string) => void;
}

/** Times in ms from the moment at which the replica stood still. */
export interface Frozen {
  jobs: number;
  lost: number;
  twice: number;
  failed: number;
  spent: number;
  /** Clients that were on the frozen replica, and the longest time without a result for one of them. */
  heldClients: number;
  heldPauseMs: number;
  /** The longest time without a result for any other client. */
  otherPauseMs: number;
  /** Attached workers of the frozen replica, and when the last of them began a job again. */
  heldWorkers: number;
  workersBackMs: number;
}

const REPLICAS = 3;
const WORKERS = 9;
const SLOTS = 2;
const CLIENTS = 6;
const OUTSTANDING = 8;
const POOL = 'frozen';
const WARM = 300;
const READY_MS = 30_000;
const LOST_MS = 60_000;
/** Who has no result between these two moments was on the frozen replica. Jobs that take longer are LONG_MS at most (see load.ts). */
const HELD_FROM_MS = 500;
const HELD_UNTIL_MS = 3_800;

/** One of three replicas stands still while workers and clients work. All are processes of their own; times are those of production. */
export async function frozen(options: FrozenOptions): Promise<Frozen> {
  const folder = mkdtempSync(join(tmpdir(), 'muster-frozen-'));
  const processes = new Processes(folder);
  const running: Started[] = [];
  let redis: EmbeddedRedis | undefined;
  try {
    redis = await startEmbeddedRedis({ clock: sdkClock });
    return await freeze(options, folder, processes, redis.url, running);
  } finally {
    await processes.stopAll(running.reverse());
    await redis?.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

async function freeze(
  { balancer: name, frozenMs, main, tell }: FrozenOptions,
  folder: string,
  processes: Processes,
  redisUrl: string,
  running: Started[],
): Promise<Frozen> {
  const keep = (started: Started) => {
    running.push(started);
    return started;
  };
  const places = await placesOf(REPLICAS);
  const replicas = places.map((place) => keep(serveAt(place, main, processes, redisUrl)));
  const endpoints = places.map(({ endpoint }) => endpoint);
  const answers = (i: number) => ready(endpoints[i]?.httpPort ?? 0, replicas[i] as Started);
  await until(async () => (await Promise.all(replicas.map((_, i) => answers(i)))).every(Boolean), { timeoutMs: READY_MS, what: 'three replicas' });
  let target = `ipv4:${endpoints.map(({ grpcPort }) => `127.0.0.1:${grpcPort}`).join(',')}`;
  if (name !== 'none') {
    const balancer = await startBalancer(name, processes, endpoints, folder);
    keep(balancer.started);
    target = balancer.target;
  }
  const log = join(folder, 'jobs.log');
  const workers = keep(processes.node('workers', ['--import', 'tsx', WORKER, target, POOL, String(WORKERS), String(SLOTS), log]));
  await until(() => workers.output().includes('ready'), { timeoutMs: READY_MS, what: 'the workers to attach' });

  const load = new Load({ target, pool: POOL, clients: CLIENTS, outstanding: OUTSTANDING });
  const more = () => {
    const enough = load.ended + WARM;
    return until(() => load.ended >= enough, { timeoutMs: LOST_MS, what: `${WARM} more jobs to end` });
  };
  load.start();
  await more();
  const held = await fullest(`127.0.0.1:${endpoints[0]?.grpcPort}`);
  const victim = replicas[places.findIndex(({ endpoint }) => held.address.endsWith(`:${endpoint.grpcPort}`))];
  if (victim === undefined) throw new Error(`no replica at ${held.address}`);
  const heldWorkers = lastOwners(readFileSync(log, 'utf8'), held.id);
  tell(`  ${held.id} stands still with ${heldWorkers.size} workers`);
  const frozenAt = performance.now();
  const wallAt = Date.now();
  victim.signal('SIGSTOP');
  await pause(frozenMs);
  victim.signal('SIGCONT');
  const awakeAt = performance.now();
  await more().catch((error: unknown) => tell(String(error)));
  await load.stop(LOST_MS);
  await workers.stop();
  const text = readFileSync(log, 'utf8');
  const { jobs, lost, twice, failed, spent, complaints } = judge(load.calls, text);
  for (const complaint of complaints) tell(`  ${complaint}`);
  const gaps = Array.from({ length: CLIENTS }, (_, client) => {
    const ends = load.calls.flatMap(({ client: of, end }) => (of === client && end !== undefined ? [end.at] : []));
    return { held: isHeld(ends, frozenAt), ms: longestGap(ends, frozenAt, awakeAt) };
  });
  const longest = (of: typeof gaps) => Math.round(Math.max(0, ...of.map(({ ms }) => ms)));
  return {
    ...{ jobs, lost, twice, failed, spent },
    heldClients: gaps.filter((gap) => gap.held).length,
    heldPauseMs: longest(gaps.filter((gap) => gap.held)),
    otherPauseMs: longest(gaps.filter((gap) => !gap.held)),
    heldWorkers: heldWorkers.size,
    workersBackMs: Math.max(0, ...[...heldWorkers].map((worker) => firstStart(text, worker, wallAt + HELD_FROM_MS) - wallAt)),
  };
}

/** The replica with the most links. */
async function fullest(target: string): Promise<{ id: string; address: string }> {
  const api = connect(target);
  try {
    const { replicas } = await api.listReplicas({});
    const [most] = replicas.sort((a, b) => b.links - a.links);
    if (most === undefined) throw new Error('no replica is listed');
    return most;
  } finally {
    api.close();
  }
}

const wordsOf = (log: string) => log.split('\n').map((line) => line.split(' '));

/** The workers whose last replica is that one. */
function lastOwners(log: string, replica: string): Set<string> {
  const owners = new Map<string, string>();
  for (const [what, worker = '', owner = ''] of wordsOf(log)) if (what === 'attached') owners.set(worker, owner);
  return new Set([...owners].filter(([, owner]) => owner === replica).map(([worker]) => worker));
}

/** When that worker first began a job after a moment; Infinity: never. */
function firstStart(log: string, worker: string, afterMs: number): number {
  const starts = wordsOf(log).flatMap(([what, , , , of, at]) => (what === 'start' && of === worker && Number(at) > afterMs ? [Number(at)] : []));
  return Math.min(Number.POSITIVE_INFINITY, ...starts);
}

function isHeld(ends: readonly number[], frozenAt: number): boolean {
  return !ends.some((at) => at > frozenAt + HELD_FROM_MS && at < frozenAt + HELD_UNTIL_MS);
}

function longestGap(ends: readonly number[], fromMs: number, toMs: number): number {
  const times = [fromMs, ...ends.filter((at) => at > fromMs && at < toMs).sort((a, b) => a - b), toMs];
  return times.reduce((worst, at, i) => Math.max(worst, at - (times[i - 1] ?? at)), 0);
}
