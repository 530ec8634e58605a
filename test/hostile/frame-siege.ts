import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Redis } from 'ioredis';
import { newSecret, tokenLine } from '../../src/domain/tokens.js';
import { startEmbeddedRedis } from '../../src/lifecycle/embedded-redis.js';
import { sdkClock } from '../../src/sdk/clock.js';
import { Client, Worker } from '../../src/sdk/index.js';
import { freePorts } from '../helpers/ports.js';
import { until } from '../helpers/until.js';
import { Processes } from '../rolling/processes.js';
import type { Flood, FloodName } from './floods.js';
import { CALLERS, Healthy, POOL, READY_MS, serve } from './siege.js';

/** Four identities that flood one replica with frames and calls, and a healthy client of another pool meanwhile. */
export interface FrameSiegeOptions {
  main: string;
  /** Kinds of one round come one after another, from the same processes. */
  rounds: readonly (readonly FloodName[])[];
  /** For each kind. */
  forMs: number;
  bytesPerSecond: number;
  tell: (line: string) => void;
}

export interface FrameSiege {
  calm: { p50Ms: number; p99Ms: number };
  /** One for each round. */
  floods: { kind: string; sent: number; jobs: number; failed: number; p50Ms: number; p99Ms: number; rssMiB: number }[];
  jobs: number;
  failed: number;
  p99Ms: number;
  /** Workers of the healthy pool that were suspected. */
  suspected: number;
  /** The most that the replica's memory grew. */
  grewMiB: number;
  alive: boolean;
}

const ENEMIES = 4;
/**
 * At the lowest priority: strangers have machines of their own, so what these processes take to start and to write must not count against the
 * replica, with which they share two cores here.
 */
const LOWEST = `data:text/javascript,${encodeURIComponent("import { setPriority } from 'node:os'; setPriority(19);")}`;
const WARM_JOBS = 3_000;
const CALM_MS = 4_000;
const ATTACKER = fileURLToPath(new URL('./flooder.ts', import.meta.url));

export async function besiegeByFrames({ main, rounds, forMs, bytesPerSecond, tell }: FrameSiegeOptions): Promise<FrameSiege> {
  const folder = mkdtempSync(join(tmpdir(), 'muster-frames-'));
  const processes = new Processes(folder);
  const redis = await startEmbeddedRedis({ clock: sdkClock });
  const [port = 0, http = 0] = await freePorts(2);
  const secrets = new Map<string, string>();
  const tokens = ['healthy', ...Array.from({ length: ENEMIES }, (_, i) => `enemy-${i}`)].flatMap((name) =>
    (['client', 'worker'] as const).map((role) => {
      const secret = newSecret();
      secrets.set(`${name} ${role}`, secret);
      return tokenLine({ role, name: `${name}-${role}`, pools: [] }, secret);
    }),
  );
  const file = join(folder, 'tokens');
  writeFileSync(file, tokens.join('\n'));
  const replica = serve(main, redis.url, port, http, { MUSTER_TLS_TERMINATED: 'true', MUSTER_TOKENS_FILE: file });
  const where = { target: `127.0.0.1:${port}` };
  const secretOf = (name: string, role: string) => secrets.get(`${name} ${role}`) ?? '';
  const worker = new Worker({ ...where, token: secretOf('healthy', 'worker'), pool: POOL, slots: CALLERS }).handle('echo', (n: number) => n);
  const client = new Client({ ...where, token: secretOf('healthy', 'client') });
  const rss = () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${replica.pid}/status`, 'utf8'))?.[1] ?? 0) / 1_024;
  try {
    await until(async () => (await fetch(`http://127.0.0.1:${http}/readyz`)).ok, { timeoutMs: READY_MS, what: 'the replica to be ready' });
    await worker.start({ signals: false });
    await new Healthy(client).runFor(WARM_JOBS);
    const calm = new Healthy(client);
    await calm.runWhile(sdkClock.sleep(CALM_MS));
    const before = rss();
    let most = before;
    const all = new Healthy(client);
    const floods: FrameSiege['floods'] = [];
    for (const kinds of rounds) {
      const kind = kinds.join(', ');
      const enemies = Array.from({ length: ENEMIES }, (_, i) => {
        const name = `enemy-${i}`;
        const flood: Flood = {
          port,
          client: secretOf(name, 'client'),
          worker: secretOf(name, 'worker'),
          pool: name,
          kinds: [...kinds],
          forMs,
          bytesPerSecond,
        };
        return processes.node(`${kinds[0]}-${i}`.replaceAll(' ', '-'), ['--import', LOWEST, '--import', 'tsx', ATTACKER, JSON.stringify(flood)]);
      });
      const healthy = new Healthy(client);
      let rssMiB = 0;
      const look = setInterval(() => {
        try {
          rssMiB = Math.max(rssMiB, rss());
        } catch {
          // It is gone: `alive` says so.
        }
      }, 50);
      await healthy.runWhile(Promise.all(enemies.map(({ ended }) => ended)));
      clearInterval(look);
      most = Math.max(most, rssMiB);
      const sent = enemies.reduce((sum, enemy) => sum + [...enemy.output().matchAll(/: *(\d+)/g)].reduce((all, [, n]) => all + Number(n), 0), 0);
      if (sent === 0) tell(`${kind}: ${enemies[0]?.output()}`);
      const { p50Ms, p99Ms, jobs, failed } = healthy;
      floods.push({ kind, sent, jobs, failed, p50Ms, p99Ms, rssMiB });
      all.add(healthy);
      tell(`${kind}: ${sent} sent, ${jobs} jobs, ${failed} failed, p50 ${p50Ms} ms, p99 ${p99Ms} ms, ${Math.round(rssMiB - before)} MiB more`);
      if (replica.exitCode !== null || replica.signalCode !== null) break;
    }
    const suspected = await suspicions(redis.url);
    const alive = replica.exitCode === null && replica.signalCode === null;
    const { jobs, failed, p99Ms } = all;
    return { calm: { p50Ms: calm.p50Ms, p99Ms: calm.p99Ms }, floods, jobs, failed, p99Ms, suspected, grewMiB: most - before, alive };
  } finally {
    await client.close();
    await worker.stop({ graceMs: 0 });
    replica.kill('SIGKILL');
    await processes.stopAll([]);
    await redis.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

async function suspicions(url: string): Promise<number> {
  const redis = new Redis(url);
  try {
    const events = await redis.xrange(`muster:{${POOL}}:events`, '-', '+');
    return events.filter(([, fields]) => fields.includes('worker.suspect')).length;
  } finally {
    redis.disconnect();
  }
}
