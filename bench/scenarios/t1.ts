import { compare, details } from '../lib/figures.js';
import { RedisStats } from '../lib/redis-stats.js';
import { rounds, type Subject } from '../lib/rounds.js';
import type { Bench, Figure, Scenario } from '../scenario.js';
import { attachedBaseline, attachedSubjects } from '../subjects/attached.js';
import { bullmq } from '../subjects/bullmq.js';
import { startPeers } from '../subjects/peers.js';

const WORKERS = 64;
/** Jobs outstanding, and the rate that is wanted as a ratio to BullMQ's. */
const LOADS = [
  { outstanding: 64, atLeast: 3 },
  { outstanding: 256, atLeast: 2.5 },
];
/** Wanted of the scripts in Redis. */
const SCRIPT_P99_MS = 2;
const scenario = 'T1';

export const t1: Scenario = {
  name: scenario,
  title: `throughput, ${WORKERS} attached workers, results awaited over one Session, no-op jobs of 100 B in and out; attached: raw clients, attached sdk: Worker and Client`,

  async run(bench: Bench): Promise<Figure[]> {
    const redis = await bench.children.redis();
    const { raw, sdk } = await attachedSubjects(bench, redis, WORKERS);
    const baseline = await attachedBaseline(bench, redis, WORKERS);
    const ours = [raw, sdk, ...(baseline ? [baseline] : [])];
    const peers = [await bullmq(bench, redis, WORKERS), ...(await startPeers(bench, redis, WORKERS))];
    const stats = new RedisStats(redis.url);
    const figures: Figure[] = [];
    for (const load of LOADS) figures.push(...(await measure(bench, ours, peers, stats, load)));
    stats.close();
    await Promise.all([...ours, ...peers].map((subject) => subject.close()));
    return figures;
  },
};

async function measure(
  bench: Bench,
  ours: Subject[],
  peers: Subject[],
  redis: RedisStats,
  { outstanding, atLeast }: (typeof LOADS)[number],
): Promise<Figure[]> {
  bench.say(`${outstanding} outstanding`);
  const subjects = [...ours, ...peers];
  const samples = await rounds(bench, { subjects, outstanding, redis });
  const jobs = { scenario, what: 'jobs', unit: 'jobs/s' };
  const cpu = { scenario, what: 'CPU of all', unit: 'µs/job' };
  const rest = peers.filter(({ name }) => name !== 'bullmq');
  const baseline = ours.some(({ name }) => name === 'baseline');
  const figures = [
    ...ours.map(({ name }) => compare(samples, { ...jobs, subject: name, peer: 'bullmq', want: name === 'attached' ? { atLeast } : undefined })),
    ...rest.map(({ name }) => compare(samples, { ...jobs, subject: 'attached', peer: name })),
    ...(baseline ? [jobs, cpu].map((what) => compare(samples, { ...what, subject: 'attached', peer: 'baseline' })) : []),
    ...ours.map(({ name }) => compare(samples, { ...cpu, subject: name, peer: 'bullmq' })),
    ...rest.map(({ name }) => compare(samples, { ...cpu, subject: 'attached', peer: name })),
    ...subjects.flatMap(({ name }) => [
      ...details(samples, scenario, name, 'CPU of', 'µs/job'),
      ...details(samples, scenario, name, 'Redis', 'calls/job'),
      ...details(samples, scenario, name, 'p', 'ms'),
      ...details(samples, scenario, name, 'cores', 'cores'),
      ...details(samples, scenario, name, 'script p99', 'ms', name === 'attached' ? SCRIPT_P99_MS : undefined),
    ]),
  ];
  return figures.map((figure) => ({ ...figure, what: `${figure.what}, ${outstanding} outstanding` }));
}
