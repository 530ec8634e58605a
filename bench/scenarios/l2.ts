import { compare, details, plain } from '../lib/figures.js';
import { driveOpenly } from '../lib/open-loop.js';
import { RedisStats } from '../lib/redis-stats.js';
import { measured, rounds, type Sample, type Samples, type Subject } from '../lib/rounds.js';
import { median } from '../lib/stats.js';
import type { Bench, Figure, Scenario } from '../scenario.js';
import { bullmq } from '../subjects/bullmq.js';
import { Stage } from '../subjects/stage.js';

const WORKERS = 64;
const PARTS = [0.25, 0.5, 0.75];
const WARM_UP_ROUNDS = 1;
const LEAD_SECONDS = 0.5;
const LATENCIES = ['p50', 'p99', 'p99.9'];
const scenario = 'L2';

export const l2: Scenario = {
  name: scenario,
  title: `latency in an open loop at 25, 50 and 75 % of what Muster did just before with ${WORKERS} jobs outstanding, from the time at which a job was to be sent; ${WORKERS} attached workers, BullMQ at the same rates (it may not keep up)`,

  async run(bench: Bench): Promise<Figure[]> {
    const stage = await Stage.open(bench, { name: 'attached', workers: WORKERS });
    const redis = await bench.children.redis();
    const peer = await bullmq(bench, redis, WORKERS);
    const stats = new RedisStats(redis.url);
    const closed = await rounds(bench, { subjects: [stage.subject], outstanding: WORKERS });
    const full = median((closed.get(stage.name) ?? []).map((sample) => sample.get('jobs') ?? Number.NaN));
    bench.say(`${full.toFixed(0)} jobs/s with ${WORKERS} outstanding`);
    const samples = await openRounds(bench, [stage.subject, peer], full, stats);
    stats.close();
    stage.close();
    await peer.close();
    return [
      ...details(closed, scenario, stage.name, 'jobs', 'jobs/s').map((figure) => ({ ...figure, what: `jobs, ${WORKERS} outstanding` })),
      ...PARTS.flatMap((part) => figuresOf(samples.get(part) ?? new Map(), part, full)),
    ];
  },
};

/** Each part of the rate in each round, by both, in an order that turns about. By part. */
async function openRounds(bench: Bench, subjects: Subject[], full: number, stats: RedisStats): Promise<Map<number, Samples>> {
  const samples = new Map(PARTS.map((part) => [part, new Map<string, Sample[]>(subjects.map(({ name }) => [name, []]))]));
  for (let round = -WARM_UP_ROUNDS; round < bench.options.rounds; round++) {
    for (const part of PARTS) {
      for (const subject of round % 2 === 0 ? subjects : subjects.toReversed()) {
        if (round >= 0) await bench.quiet();
        const sample = await openTurn(bench, subject, part * full, stats);
        if (round >= 0) samples.get(part)?.get(subject.name)?.push(sample);
        const [p50, p99] = ['p50', 'p99'].map((what) => sample.get(what)?.toFixed(2));
        bench.say(`${round < 0 ? 'warm-up' : `round ${round + 1}`}: ${subject.name} at ${percent(part)}: p50 ${p50} ms, p99 ${p99} ms`);
      }
    }
  }
  return samples;
}

async function openTurn(bench: Bench, subject: Subject, rate: number, stats: RedisStats): Promise<Sample> {
  await driveOpenly(subject, rate, LEAD_SECONDS);
  let late = Number.NaN;
  const sample = await measured(bench, subject, stats, async () => {
    const driven = await driveOpenly(subject, rate, bench.options.seconds);
    late = driven.late.getValueAtPercentile(99) / 1_000;
    return driven;
  });
  return new Map([...sample, ['sent late, p99', late]]);
}

function figuresOf(samples: Samples, part: number, full: number): Figure[] {
  const names = [...samples.keys()];
  const found = [
    plain(scenario, 'both', 'rate', 'jobs/s', [part * full]),
    ...LATENCIES.map((what) => compare(samples, { scenario, subject: 'attached', peer: 'bullmq', what, unit: 'ms' })),
    compare(samples, { scenario, subject: 'attached', peer: 'bullmq', what: 'jobs', unit: 'jobs/s' }),
    compare(samples, { scenario, subject: 'attached', peer: 'bullmq', what: 'CPU of all', unit: 'µs/job' }),
    ...names.flatMap((name) => [
      ...details(samples, scenario, name, 'sent late', 'ms'),
      ...details(samples, scenario, name, 'Redis', 'calls/job'),
      ...details(samples, scenario, name, 'cores', 'cores'),
    ]),
  ];
  return found.map((figure) => ({ ...figure, what: `${figure.what}, at ${percent(part)}` }));
}

function percent(part: number): string {
  return `${part * 100} %`;
}
