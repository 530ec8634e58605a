import { compare, details } from '../lib/figures.js';
import { RedisStats } from '../lib/redis-stats.js';
import { rounds } from '../lib/rounds.js';
import type { Bench, Figure, Scenario } from '../scenario.js';
import { bullmq } from '../subjects/bullmq.js';
import { musters, startWorkers } from '../subjects/muster.js';
import { relay } from '../subjects/relay.js';

const WORKERS = 64;
const OUTSTANDING = 64;
const scenario = 'T2';

export const t2: Scenario = {
  name: scenario,
  title: `throughput, ${WORKERS} dialed workers, ${OUTSTANDING} jobs outstanding, no-op jobs of 100 B in and out, each result awaited`,

  async run(bench: Bench): Promise<Figure[]> {
    const redis = await bench.children.redis();
    const ports = await startWorkers(bench, WORKERS);
    const ours = await musters(bench, redis, ports);
    const subjects = [...ours, await bullmq(bench, redis, WORKERS), await relay(bench, ports)];
    const stats = new RedisStats(redis.url);
    const samples = await rounds(bench, { subjects, outstanding: OUTSTANDING, redis: stats });
    stats.close();
    await Promise.all(subjects.map((subject) => subject.close()));
    const jobs = { scenario, subject: 'muster', what: 'jobs', unit: 'jobs/s' };
    const cpu = { scenario, subject: 'muster', what: 'CPU of all', unit: 'µs/job' };
    const baseline = ours.length > 1;
    return [
      compare(samples, { ...jobs, peer: 'bullmq' }),
      compare(samples, { ...jobs, peer: 'relay', want: { atLeast: 0.75 } }),
      ...(baseline ? [compare(samples, { ...jobs, peer: 'baseline' })] : []),
      ...['bullmq', 'relay', ...(baseline ? ['baseline'] : [])].map((peer) => compare(samples, { ...cpu, peer })),
      ...subjects.flatMap(({ name }) => [
        ...details(samples, scenario, name, 'CPU of', 'µs/job'),
        ...details(samples, scenario, name, 'Redis', 'calls/job'),
        ...details(samples, scenario, name, 'p', 'ms'),
        ...details(samples, scenario, name, 'cores', 'cores'),
      ]),
    ];
  },
};
