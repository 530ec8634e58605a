import { setPriority } from 'node:os';
import { plain } from '../lib/figures.js';
import { driveOpenly } from '../lib/open-loop.js';
import { timed, until } from '../lib/wait.js';
import type { Bench, Figure, Scenario } from '../scenario.js';
import { startAttached } from '../subjects/attached.js';
import { Stage } from '../subjects/stage.js';

const BURSTS = [1_000, 10_000];
const WORKERS = 64;
const PROCESSES = 4;
/** Of the jobs that go on meanwhile. */
const RATE = 200;
/** Before they count. */
const LEAD_S = 1;
const FREE_MOST_MS = 30_000;
const RATIO_MOST = 3;
const PATIENCE_MS = 180_000;
/** Of those who connect: elsewhere they would be other machines, and must not take the cores from the replica that is measured. */
const COMERS_NICE = 10;
const scenario = 'R1';

export const r1: Scenario = {
  name: scenario,
  title: `a burst of 1,000 and of 10,000 workers that attach at one replica, a TCP connection each from ${PROCESSES} processes, until all of them are free; meanwhile ${RATE} jobs/s go through ${WORKERS} workers of another pool, latency from the intended time of sending. Those who connect run at a lower priority (nice ${COMERS_NICE}): they stand for other machines`,

  async run(bench: Bench): Promise<Figure[]> {
    const figures: Figure[] = [];
    for (const burst of BURSTS) figures.push(...(await one(bench, burst, Math.ceil(burst * bench.options.scale))));
    return figures;
  },
};

async function one(bench: Bench, nominal: number, burst: number): Promise<Figure[]> {
  const name = `burst of ${nominal.toLocaleString('en')}`;
  const pool = 'burst';
  const stage = await Stage.open(bench, { name, workers: WORKERS });
  const targets = stage.apis.map(({ target }) => target);
  const share = (i: number) => Math.floor(((i + 1) * burst) / PROCESSES) - Math.floor((i * burst) / PROCESSES);
  const comers = await Promise.all(
    Array.from({ length: PROCESSES }, (_, i) => startAttached(bench, `${name}: comers ${i + 1}`, pool, `c${i}`, share(i))),
  );
  for (const [process, pid] of bench.children.pids()) if (process.startsWith(`${name}: comers`)) setPriority(pid, COMERS_NICE);
  await driveOpenly(stage.subject, RATE, LEAD_S);
  await bench.quiet();
  const calm = (await driveOpenly(stage.subject, RATE, bench.options.rounds * bench.options.seconds)).latencies;

  const over = new AbortController();
  const meanwhile = driveOpenly(stage.subject, RATE, PATIENCE_MS / 1_000, over.signal);
  const allFree = () => until(async () => (await stage.stats.free(pool)) === burst, `${burst} free workers`, PATIENCE_MS);
  const ms = await timed(() => Promise.all([allFree(), ...comers.map((tell) => tell({ do: 'attach', targets }))]));
  over.abort();
  const busy = (await meanwhile).latencies;
  bench.say(`${name}: all free after ${ms.toFixed(0)} ms`);
  stage.close();
  await bench.children.endAll();

  const p99 = (of: typeof calm) => of.getValueAtPercentile(99) / 1_000;
  const ratio = p99(busy) / p99(calm);
  return [
    plain(scenario, name, 'until all are free', 'ms', [ms], FREE_MOST_MS),
    {
      ...plain(scenario, name, 'p99 of jobs meanwhile', 'ms', [p99(busy)]),
      peer: 'calm',
      peerMedian: p99(calm),
      ratio,
      want: { text: `ratio ≤ ${RATIO_MOST}`, met: ratio <= RATIO_MOST },
    },
    plain(scenario, name, 'p50 of jobs meanwhile', 'ms', [busy.getValueAtPercentile(50) / 1_000]),
    plain(scenario, name, 'worst job meanwhile', 'ms', [busy.maxValue / 1_000]),
    plain(scenario, name, 'jobs meanwhile', 'jobs', [busy.totalCount]),
  ];
}
