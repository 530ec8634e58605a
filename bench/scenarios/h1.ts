import { setTimeout as pause } from 'node:timers/promises';
import { CpuReading, rssBytes } from '../lib/cpu.js';
import { plain } from '../lib/figures.js';
import { median } from '../lib/stats.js';
import { until } from '../lib/wait.js';
import type { Bench, Figure, Scenario } from '../scenario.js';
import { startAttached } from '../subjects/attached.js';
import { Stage } from '../subjects/stage.js';

const WORKERS = 10_000;
const REPLICAS = 3;
const PROCESSES = 4;
const KILLED = 0.01;
/** Each worker is looked at every 10 s: so long until the start is forgotten, and whole intervals of what is measured. */
const SETTLE_MS = 15_000;
const IDLE_MS = 30_000;
const WATCH_MS = 20_000;
const PATIENCE_MS = 120_000;
const CALLS_MOST = 50;
const CORES_MOST = 0.15;
const TOLD = 12;
const POOL = 'bench';
const NAME = 'fleet';
const DOOMED = 'doomed';
const scenario = 'H1';

export const h1: Scenario = {
  name: scenario,
  title: `an idle fleet of 10,000 attached workers on ${REPLICAS} replicas, a TCP connection each; then the process of 1 % of them is killed. Calls are those of clients, as MONITOR shows them; what scripts call is not among them`,

  async run(bench: Bench): Promise<Figure[]> {
    const all = Math.ceil(WORKERS * bench.options.scale);
    const doomed = Math.ceil(all * KILLED);
    const stage = await Stage.open(bench, { name: NAME, workers: 0, replicas: REPLICAS });
    const emptyBytes = sum(replicas(bench).map(([, pid]) => rssBytes(pid)));
    const emptyRedis = await stage.stats.memoryBytes(POOL);
    await attachAll(bench, stage, all - doomed, doomed);
    await until(async () => (await stage.stats.free(POOL)) === all, 'all workers to be free', PATIENCE_MS);
    bench.say(`${all} attached`);
    await pause(SETTLE_MS);
    await bench.quiet();

    const figure = (what: string, unit: string, values: number[], most?: number) => plain(scenario, 'muster', what, unit, values, most);
    const sinceMs = await stage.stats.now();
    const before = new CpuReading(bench.children.pids());
    await pause(IDLE_MS);
    const after = new CpuReading(bench.children.pids());
    const cores = new Map([...after.since(before)].map(([name, us]) => [name, us / (after.at - before.at) / 1_000]));
    const ofReplicas = replicas(bench).map(([name]) => cores.get(name) ?? Number.NaN);
    const rss = (sum(replicas(bench).map(([, pid]) => rssBytes(pid))) - emptyBytes) / all;
    const redisBytes = ((await stage.stats.memoryBytes(POOL)) - emptyRedis) / all;
    const calls = await stage.stats.watchCalls(WATCH_MS);
    const most = [...calls].sort(([, a], [, b]) => b - a).slice(0, TOLD);
    bench.say(`calls/s: ${most.map(([name, count]) => `${name} ${((count / WATCH_MS) * 1_000).toFixed(2)}`).join(', ')}`);
    const killed = await kill(bench, stage, doomed, sinceMs);
    stage.close();
    return [
      figure('CPU of all replicas', 'cores', [sum(ofReplicas)], CORES_MOST),
      figure('CPU of a replica', 'cores', ofReplicas),
      figure('CPU of Redis', 'cores', [cores.get(`${NAME} redis`) ?? Number.NaN]),
      figure('Redis calls', 'calls/s', [(sum([...calls.values()]) / WATCH_MS) * 1_000], CALLS_MOST),
      figure('RSS of the replicas a worker', 'bytes', [rss]),
      figure('Redis memory a worker', 'bytes', [redisBytes]),
      figure('killed: until no job would go there, p50', 's', [median(killed.suspectS)]),
      figure('killed: until no job would go there, worst', 's', [Math.max(...killed.suspectS)]),
      figure('killed: until dead, p50', 's', [median(killed.deadS)]),
      figure('killed: until dead, worst', 's', [Math.max(...killed.deadS)]),
      figure('others that were suspected or dead', 'workers', [killed.falsely], 0),
    ];
  },
};

function replicas(bench: Bench): [string, number][] {
  return [...bench.children.pids()].filter(([name]) => name.startsWith(`${NAME} replica`));
}

/** The doomed ones are a process of their own. */
async function attachAll(bench: Bench, { apis }: Stage, living: number, doomed: number): Promise<void> {
  const targets = apis.map(({ target }) => target);
  const shares = [
    ...Array.from({ length: PROCESSES }, (_, i) => [`living ${i + 1}`, Math.ceil((living - i) / PROCESSES)] as const),
    [DOOMED, doomed] as const,
  ];
  const tellers = await Promise.all(shares.map(([name, count]) => startAttached(bench, name, POOL, name.replace(' ', '-'), count)));
  await Promise.all(tellers.map((tell) => tell({ do: 'attach', targets })));
}

/** Seconds after the kill, of each doomed worker, and how many others were taken for dead at any time since `sinceMs`. */
async function kill(
  bench: Bench,
  { stats }: Stage,
  doomed: number,
  sinceMs: number,
): Promise<{ suspectS: number[]; deadS: number[]; falsely: number }> {
  const killedMs = await stats.now();
  await bench.children.kill(DOOMED);
  const first = async (kind: string) => {
    const at = new Map<string, number>();
    for (const event of await stats.events(POOL, sinceMs)) {
      if (event.kind === kind && !at.has(event.subject)) at.set(event.subject, (event.atMs - killedMs) / 1_000);
    }
    return at;
  };
  const isDoomed = ([id]: [string, number]) => id.startsWith(`${DOOMED}-`);
  await until(async () => [...(await first('worker.dead'))].filter(isDoomed).length === doomed, 'the killed ones to be dead', PATIENCE_MS);
  const [suspect, dead] = [await first('worker.suspect'), await first('worker.dead')];
  const others = new Set([...suspect, ...dead].filter((entry) => !isDoomed(entry)).map(([id]) => id));
  const seconds = (of: Map<string, number>) => [...of].filter(isDoomed).map(([, s]) => s);
  return { suspectS: seconds(suspect), deadS: seconds(dead), falsely: others.size };
}

function sum(numbers: number[]): number {
  return numbers.reduce((total, n) => total + n, 0);
}
