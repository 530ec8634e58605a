import { compare, details } from '../lib/figures.js';
import { RedisStats } from '../lib/redis-stats.js';
import { rounds, type Subject } from '../lib/rounds.js';
import type { Bench, Figure, Scenario } from '../scenario.js';
import { attachedBaseline, attachedSubjects } from '../subjects/attached.js';
import { bullmq } from '../subjects/bullmq.js';

const WORKERS = 64;
/** Jobs outstanding, and the rate that is wanted as a ratio to BullMQ's. */
const LOADS = [
  { outstanding: 64, atLeast: 2 },
  { outstanding: 256, atLeast: 1.7 },
];
const scenario = 'T1';

export const t1: Scenario = {
  name: scenario,
  title: `throughput, ${WORKERS} attached workers, results awaited over one Session, no-op jobs of 100 B in and out; attached: raw clients, attached sdk: Worker and Client`,

  async run(bench: Bench): Promise<Figure[]> {
    const redis = await bench.children.redis();
    const { raw, sdk } = await attachedSubjects(bench, redis, WORKERS);
    const baseline = await attachedBaseline(bench, redis, WORKERS);
    const subjects = [raw, sdk, ...(baseline ? [baseline] : []), await bullmq(bench, redis, WORKERS)];
    const stats = new RedisStats(redis.url);
    const figures: Figure[] = [];
    for (const load of LOADS) figures.push(...(await measure(bench, subjects, stats, load)));
    stats.close();
    await Promise.all(subjects.map((subject) => subject.close()));
    return figures;
  },
};

async function measure(bench: Bench, subjects: Subject[], redis: RedisStats, { outstanding, atLeast }: (typeof LOADS)[number]): Promise<Figure[]> {
  bench.say(`${outstanding} outstanding`);
  const samples = await rounds(bench, { subjects, outstanding, redis });
  const ours = subjects.filter(({ name }) => name !== 'bullmq');
  const jobs = { scenario, what: 'jobs', unit: 'jobs/s' };
  const cpu = { scenario, what: 'CPU of all', unit: 'µs/job' };
  const baseline = ours.some(({ name }) => name === 'baseline');
  const figures = [
    ...ours.map(({ name }) => compare(samples, { ...jobs, subject: name, peer: 'bullmq', want: name === 'attached' ? { atLeast } : undefined })),
    ...(baseline ? [jobs, cpu].map((what) => compare(samples, { ...what, subject: 'attached', peer: 'baseline' })) : []),
    ...ours.map(({ name }) => compare(samples, { ...cpu, subject: name, peer: 'bullmq' })),
    ...subjects.flatMap(({ name }) => [
      ...details(samples, scenario, name, 'CPU of', 'µs/job'),
      ...details(samples, scenario, name, 'Redis', 'calls/job'),
      ...details(samples, scenario, name, 'p', 'ms'),
      ...details(samples, scenario, name, 'cores', 'cores'),
    ]),
  ];
  return figures.map((figure) => ({ ...figure, what: `${figure.what}, ${outstanding} outstanding` }));
}
