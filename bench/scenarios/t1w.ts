import { compare, details } from '../lib/figures.js';
import { rounds } from '../lib/rounds.js';
import type { Bench, Figure, Scenario } from '../scenario.js';
import { Stage } from '../subjects/stage.js';

const BASE = '64 workers';
const LARGE = 1_000;
const PROCESSES = 2;
/** Fleets, and how many jobs are outstanding at them. All that are compared have as many. */
const LOADS = [
  { outstanding: 64, fleets: [1, 10, 64] },
  { outstanding: 256, fleets: [64, 1_000, 10_000] },
];
const AT_LEAST = 0.9;
const scenario = 'T1W';

export const t1w: Scenario = {
  name: scenario,
  title: `throughput of Muster over fleets of 1 to 10,000 attached workers against its own over 64; each fleet with a replica and a Redis of its own, all of them up all the time`,

  async run(bench: Bench): Promise<Figure[]> {
    const stages = new Map<number, Stage>();
    for (const fleet of new Set(LOADS.flatMap(({ fleets }) => fleets))) {
      const workers = fleet < LARGE ? fleet : Math.ceil(fleet * bench.options.scale);
      stages.set(fleet, await Stage.open(bench, { name: nameOf(fleet), workers, processes: PROCESSES }));
    }
    const figures: Figure[] = [];
    for (const { outstanding, fleets } of LOADS) {
      bench.say(`${outstanding} outstanding`);
      const subjects = fleets.flatMap((fleet) => stages.get(fleet)?.subject ?? []);
      const samples = await rounds(bench, { subjects, outstanding });
      const found = subjects.flatMap(({ name }) => [
        ...(name === BASE
          ? []
          : [
              compare(samples, { scenario, subject: name, peer: BASE, what: 'jobs', unit: 'jobs/s', want: wanted(name) }),
              compare(samples, { scenario, subject: name, peer: BASE, what: 'CPU of all', unit: 'µs/job' }),
            ]),
        ...details(samples, scenario, name, 'CPU of', 'µs/job'),
        ...details(samples, scenario, name, 'Redis', 'calls/job'),
        ...details(samples, scenario, name, 'p', 'ms'),
        ...details(samples, scenario, name, 'cores', 'cores'),
      ]);
      figures.push(...found.map((figure) => ({ ...figure, what: `${figure.what}, ${outstanding} outstanding` })));
    }
    for (const stage of stages.values()) stage.close();
    return figures;
  },
};

function nameOf(fleet: number): string {
  return `${fleet.toLocaleString('en')} worker${fleet === 1 ? '' : 's'}`;
}

function wanted(name: string): { atLeast: number } | undefined {
  return name === nameOf(10_000) ? { atLeast: AT_LEAST } : undefined;
}
