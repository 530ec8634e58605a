import { compare, details } from '../lib/figures.js';
import { RedisStats } from '../lib/redis-stats.js';
import { rounds } from '../lib/rounds.js';
import type { Bench, Figure, Scenario } from '../scenario.js';
import { attachedSubjects } from '../subjects/attached.js';
import { bullmq } from '../subjects/bullmq.js';
import { musters, startWorkers } from '../subjects/muster.js';
import { startPeers } from '../subjects/peers.js';
import { relay } from '../subjects/relay.js';

const WORKERS = 64;
const scenario = 'L1';

export const l1: Scenario = {
  name: scenario,
  title: `idle latency from submission to result, ${WORKERS} workers, one job outstanding, 100 B in and out; relay: the two unary hops of a dialed job and nothing else; muster: dialed and by RunJob, attached: raw clients over Session, attached sdk: Worker and Client`,

  async run(bench: Bench): Promise<Figure[]> {
    const redis = await bench.children.redis();
    const ports = await startWorkers(bench, WORKERS);
    const ours = await musters(bench, redis, ports);
    const { raw, sdk } = await attachedSubjects(bench, redis, WORKERS, 'attached replica');
    const peers = await startPeers(bench, redis, WORKERS);
    const subjects = [...ours, raw, sdk, await bullmq(bench, redis, WORKERS), await relay(bench, ports), ...peers];
    const stats = new RedisStats(redis.url);
    const samples = await rounds(bench, { subjects, outstanding: 1, redis: stats });
    stats.close();
    await Promise.all(subjects.map((subject) => subject.close()));
    const p50 = { scenario, subject: 'muster', what: 'p50', unit: 'ms' };
    const p99 = { ...p50, what: 'p99' };
    const baseline = ours.length > 1 ? [compare(samples, { ...p50, peer: 'baseline' }), compare(samples, { ...p99, peer: 'baseline' })] : [];
    return [
      compare(samples, { ...p50, peer: 'bullmq' }),
      compare(samples, { ...p99, peer: 'bullmq' }),
      compare(samples, { ...p50, subject: 'attached', peer: 'bullmq', want: { atMost: 0.5 } }),
      compare(samples, { ...p99, subject: 'attached', peer: 'bullmq', want: { atMost: 1 } }),
      compare(samples, { ...p50, subject: 'attached sdk', peer: 'bullmq' }),
      compare(samples, { ...p99, subject: 'attached sdk', peer: 'bullmq' }),
      // What is left of the target once gRPC has had its share: without a Redis, a queue or a second copy of anything.
      compare(samples, { ...p50, subject: 'relay', peer: 'bullmq' }),
      ...['muster', 'attached'].map((subject) => compare(samples, { ...p50, subject, peer: 'relay' })),
      ...[p50, p99].flatMap((what) => peers.map(({ name }) => compare(samples, { ...what, subject: 'attached', peer: name }))),
      ...baseline,
      ...subjects.flatMap(({ name }) => [
        ...details(samples, scenario, name, 'CPU of all', 'µs/job'),
        ...details(samples, scenario, name, 'Redis', 'calls/job'),
        ...details(samples, scenario, name, 'cores', 'cores'),
      ]),
    ];
  },
};
