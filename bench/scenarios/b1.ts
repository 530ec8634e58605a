import { compare, details, plain } from '../lib/figures.js';
import { rounds } from '../lib/rounds.js';
import { timed } from '../lib/wait.js';
import type { Bench, Figure, Scenario } from '../scenario.js';
import { fillBacklog } from '../subjects/backlog.js';
import { Stage } from '../subjects/stage.js';

const WORKERS = 64;
/** More than workers, so that one of the measured jobs always waits, and those of the backlog hardly ever run. */
const OUTSTANDING = 256;
const BACKLOGS = [0, 10_000, 1_000_000];
const PRIORITY = 3;
const AT_LEAST = 0.9;
const BASE = nameOf(0);
const scenario = 'B1';

export const b1: Scenario = {
  name: scenario,
  title: `throughput of jobs of priority ${PRIORITY} beside a backlog of 0, 10,000 and 1,000,000 jobs of priority 0 in the same pool; ${WORKERS} attached workers, ${OUTSTANDING} jobs outstanding; the pool is paused between turns, and what ran of the backlog is put in again`,

  async run(bench: Bench): Promise<Figure[]> {
    const fills: Figure[] = [];
    const ran = new Map<string, number[]>();
    const stages: Stage[] = [];
    for (const nominal of BACKLOGS) {
      const backlog = Math.ceil(nominal * bench.options.scale);
      const turns: number[] = [];
      const stage = await openStage(bench, nameOf(nominal), backlog, turns);
      stages.push(stage);
      if (nominal === 0) continue;
      ran.set(stage.name, turns);
      fills.push(...(await fill(bench, stage, backlog)));
    }
    const samples = await rounds(bench, { subjects: stages.map(({ subject }) => subject), outstanding: OUTSTANDING });
    for (const stage of stages) stage.close();
    return [
      ...stages
        .filter(({ name }) => name !== BASE)
        .flatMap(({ name }) => [
          compare(samples, { scenario, subject: name, peer: BASE, what: 'jobs', unit: 'jobs/s', want: { atLeast: AT_LEAST } }),
          compare(samples, { scenario, subject: name, peer: BASE, what: 'CPU of all', unit: 'µs/job' }),
        ]),
      ...fills,
      ...[...ran].map(([name, turns]) => plain(scenario, name, 'jobs of the backlog that ran in a turn', 'jobs', turns)),
      ...stages.flatMap(({ name }) => [
        ...details(samples, scenario, name, 'CPU of', 'µs/job'),
        ...details(samples, scenario, name, 'Redis', 'calls/job'),
        ...details(samples, scenario, name, 'p', 'ms'),
        ...details(samples, scenario, name, 'script p99', 'ms'),
        ...details(samples, scenario, name, 'cores', 'cores'),
      ]),
    ];
  },
};

function nameOf(backlog: number): string {
  return `backlog ${backlog.toLocaleString('en')}`;
}

/** `ran`: how much of the backlog is gone after each turn. */
async function openStage(bench: Bench, name: string, backlog: number, ran: number[]): Promise<Stage> {
  const settings = { MUSTER_MAX_WAITING: String(2 * Math.max(...BACKLOGS)) };
  const stage = await Stage.open(bench, { name, workers: WORKERS, settings, priority: PRIORITY });
  const [api] = stage.apis;
  const [pool = ''] = stage.pools;
  await api?.pausePool({ pool });
  stage.subject.enter = async () => {
    await fillBacklog(stage, backlog);
    await api?.resumePool({ pool });
  };
  stage.subject.leave = async () => {
    await api?.pausePool({ pool });
    ran.push(backlog - (await stage.stats.waiting(pool, 0)));
  };
  return stage;
}

/** The first filling, which is a figure too. */
async function fill(bench: Bench, stage: Stage, count: number): Promise<Figure[]> {
  const { name, stats, pools } = stage;
  const [pool = ''] = pools;
  const before = await stats.memoryBytes(pool);
  const ms = await timed(() => fillBacklog(stage, count));
  const bytes = (await stats.memoryBytes(pool)) - before;
  bench.say(`${name}: put in within ${(ms / 1_000).toFixed(1)} s`);
  return [
    plain(scenario, name, 'put in', 's', [ms / 1_000]),
    plain(scenario, name, 'put in', 'jobs/s', [count / (ms / 1_000)]),
    plain(scenario, name, 'Redis memory', 'MiB', [bytes / 2 ** 20]),
    plain(scenario, name, 'Redis memory a waiting job', 'bytes', [bytes / count]),
  ];
}
