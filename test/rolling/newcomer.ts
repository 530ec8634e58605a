import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type EmbeddedRedis, startEmbeddedRedis } from '../../src/lifecycle/embedded-redis.js';
import { sdkClock } from '../../src/sdk/clock.js';
import { connect } from '../../src/sdk/connect.js';
import { until } from '../helpers/until.js';
import { type BalancerName, startBalancer } from './balancers.js';
import { placesOf, ready, serveAt, WORKER } from './drill.js';
import { Processes, type Started } from './processes.js';

export interface NewcomerOptions {
  balancer: BalancerName;
  /** Attached workers, spread over two replicas when the third one comes. */
  workers: number;
  /** The `main.js` that is run. */
  main: string;
  /** How long the newcomer may take to get its share. */
  withinMs: number;
}

export interface Levelled {
  /** Of each replica, the newcomer's last: when it was ready, and in the end. */
  before: number[];
  after: number[];
  /** From its being ready. */
  ms: number;
}

const POOL = 'newcomer';
const READY_MS = 30_000;
/** Rebalancing ends when no replica has more than 1.03 times the mean (src/fleet/levelling.ts); workers still move meanwhile. */
const LEVEL = 1.1;

/**
 * Two replicas behind a balancer, as many workers as are wanted through it, and then a third replica: what becomes of the links. Times are those of
 * production. Rejects when it has not got its share in time.
 */
export async function newcomer({ balancer, workers, main, withinMs }: NewcomerOptions): Promise<Levelled> {
  const folder = mkdtempSync(join(tmpdir(), 'muster-newcomer-'));
  const processes = new Processes(folder);
  const running: Started[] = [];
  let redis: EmbeddedRedis | undefined;
  const keep = (started: Started) => {
    running.push(started);
    return started;
  };
  try {
    redis = await startEmbeddedRedis({ clock: sdkClock });
    const { url } = redis;
    const places = await placesOf(3);
    const serve = async (place: (typeof places)[number]) => {
      const started = keep(serveAt(place, main, processes, url));
      await until(() => ready(place.endpoint.httpPort, started), { timeoutMs: READY_MS, what: `${place.name} to be ready` });
    };
    await Promise.all(places.slice(0, 2).map(serve));
    const endpoints = places.map(({ endpoint }) => endpoint);
    const { started, target } = await startBalancer(balancer, processes, endpoints, folder);
    keep(started);
    const fleet = keep(processes.node('workers', ['--import', 'tsx', WORKER, target, POOL, String(workers), '1', join(folder, 'jobs.log')]));
    await until(() => fleet.output().includes('ready'), { timeoutMs: READY_MS, what: 'the workers to attach' });

    const api = connect(target);
    try {
      const links = async () => {
        const { replicas } = await api.listReplicas({});
        return places.map(({ endpoint }) => replicas.find(({ address }) => address.endsWith(`:${endpoint.grpcPort}`))?.links ?? 0);
      };
      await until(async () => (await links()).reduce((sum, n) => sum + n, 0) === workers, { timeoutMs: READY_MS, what: 'every link to be told' });
      for (const place of places.slice(2)) await serve(place);
      const readyAt = performance.now();
      const before = await links();
      const level = async () => {
        const now = await links();
        const most = Math.max((LEVEL * workers) / places.length, workers / places.length + 1);
        return now.every((n) => n <= most) && now.reduce((sum, n) => sum + n, 0) === workers ? now : undefined;
      };
      const after = await until(level, { timeoutMs: withinMs, what: `the newcomer's share behind ${balancer}` });
      return { before, after, ms: Math.round(performance.now() - readyAt) };
    } finally {
      api.close();
    }
  } finally {
    await processes.stopAll(running.reverse());
    await redis?.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}
