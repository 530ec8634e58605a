import { compare, details, plain } from '../lib/figures.js';
import { drive, rounds } from '../lib/rounds.js';
import type { Bench, Figure, Scenario } from '../scenario.js';
import { Stage } from '../subjects/stage.js';

const WORKERS = 64;
const OUTSTANDING = 64;
const REPLICAS = [1, 3, 8];
const BASE = nameOf(1);
const scenario = 'S1';

export const s1: Scenario = {
  name: scenario,
  title: `Muster with 1, 3 and 8 replicas, ${WORKERS} attached workers and ${OUTSTANDING} jobs outstanding over one Session a replica. All of it shares the cores of one machine: on two of them only the overhead of more replicas, and the share of matches that go to another replica's worker, mean anything; what more replicas can do does not show`,

  async run(bench: Bench): Promise<Figure[]> {
    const stages: Stage[] = [];
    for (const replicas of REPLICAS) stages.push(await Stage.open(bench, { name: nameOf(replicas), workers: WORKERS, replicas }));
    const samples = await rounds(bench, { subjects: stages.map(({ subject }) => subject), outstanding: OUTSTANDING });
    const shares: Figure[] = [];
    for (const stage of stages) shares.push(plain(scenario, stage.name, 'assignments by a hint', 'of all', [await hintedShare(bench, stage)]));
    for (const stage of stages) stage.close();
    return [
      ...stages
        .filter(({ name }) => name !== BASE)
        .flatMap(({ name }) => [
          compare(samples, { scenario, subject: name, peer: BASE, what: 'jobs', unit: 'jobs/s' }),
          compare(samples, { scenario, subject: name, peer: BASE, what: 'CPU of all', unit: 'µs/job' }),
        ]),
      ...shares,
      ...stages.flatMap(({ name }) => [
        ...details(samples, scenario, name, 'CPU of', 'µs/job'),
        ...details(samples, scenario, name, 'Redis', 'calls/job'),
        ...details(samples, scenario, name, 'p', 'ms'),
        ...details(samples, scenario, name, 'cores', 'cores'),
      ]),
    ];
  },
};

function nameOf(replicas: number): string {
  return `${replicas} replica${replicas === 1 ? '' : 's'}`;
}

/** In a turn of its own after the rounds, since whoever counts hints costs something too. */
async function hintedShare(bench: Bench, stage: Stage): Promise<number> {
  const [pool = ''] = stage.pools;
  const hints = await stage.stats.countHints(pool);
  const { latencies } = await drive(stage.subject, OUTSTANDING, bench.options.seconds);
  return (await hints.end()) / latencies.totalCount;
}
