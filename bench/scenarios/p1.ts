import { compare, details } from '../lib/figures.js';
import { rounds } from '../lib/rounds.js';
import type { Bench, Figure, Scenario } from '../scenario.js';
import { Stage } from '../subjects/stage.js';

const WORKERS = 64;
const OUTSTANDING = 64;
const POOLS = 16;
const scenario = 'P1';

export const p1: Scenario = {
  name: scenario,
  title: `throughput of Muster with ${WORKERS} attached workers and ${OUTSTANDING} jobs outstanding, spread over ${POOLS} pools, against the same in one pool; one replica each`,

  async run(bench: Bench): Promise<Figure[]> {
    const one = await Stage.open(bench, { name: '1 pool', workers: WORKERS });
    const many = await Stage.open(bench, { name: `${POOLS} pools`, workers: WORKERS, pools: Array.from({ length: POOLS }, (_, i) => `bench-${i}`) });
    const subjects = [one.subject, many.subject];
    const samples = await rounds(bench, { subjects, outstanding: OUTSTANDING });
    one.close();
    many.close();
    const pair = { scenario, subject: many.name, peer: one.name };
    return [
      compare(samples, { ...pair, what: 'jobs', unit: 'jobs/s' }),
      compare(samples, { ...pair, what: 'CPU of all', unit: 'µs/job' }),
      compare(samples, { ...pair, what: 'Redis scripts', unit: 'calls/job' }),
      compare(samples, { ...pair, what: 'p50', unit: 'ms' }),
      compare(samples, { ...pair, what: 'p99', unit: 'ms' }),
      ...subjects.flatMap(({ name }) => [
        ...details(samples, scenario, name, 'CPU of', 'µs/job'),
        ...details(samples, scenario, name, 'Redis commands', 'calls/job'),
        ...details(samples, scenario, name, 'script p99', 'ms'),
        ...details(samples, scenario, name, 'cores', 'cores'),
      ]),
    ];
  },
};
