import { build, type Histogram } from 'hdr-histogram-js';
import type { Bench } from '../scenario.js';
import { CpuReading } from './cpu.js';
import type { RedisStats } from './redis-stats.js';

/** Something that does jobs. */
export type Subject = {
  name: string;
  /** Names of the processes that take part, as `Children` knows them. */
  processes: string[];
  /** Of a Redis of its own: its commands are counted there. */
  stats?: RedisStats;
  /** Before each of its turns, and after; none of it counts. */
  enter?(): Promise<void>;
  leave?(): Promise<void>;
  close(): Promise<void>;
} & (
  | {
      /** Does one job to its result. Rejects when the result is not the right one. `lane`: which of those that run side by side, from 0. */
      job(lane: number): Promise<void>;
    }
  | {
      /** As `drive` below does it with `job`: for those whose client is a process of its own. */
      drive(outstanding: number, seconds: number): Promise<Driven>;
    }
);

/** What came of keeping jobs under way for a while. */
export interface Driven {
  /** µs each. */
  latencies: Histogram;
  /** Until the last one had ended. */
  seconds: number;
}

/** What one turn of one subject came to, by name of the measure. */
export type Sample = ReadonlyMap<string, number>;
export type Samples = ReadonlyMap<string, readonly Sample[]>;

export interface RoundsOptions {
  subjects: Subject[];
  /** Jobs under way at once. */
  outstanding: number;
  /** Commands are counted there, in the turns of subjects that have the process `redis`. */
  redis?: RedisStats;
}

const WARM_UP_ROUNDS = 2;
/** A turn begins so long before it counts: who had the caches before must not matter. */
const LEAD_SECONDS = 0.5;

/**
 * Measures the subjects in turns: each once a round, in an order that begins elsewhere and runs the other way each time, so that nobody
 * always follows the same one. Two rounds before do not count.
 */
export async function rounds(bench: Bench, options: RoundsOptions): Promise<Samples> {
  const { subjects } = options;
  const samples = new Map<string, Sample[]>(subjects.map(({ name }) => [name, []]));
  for (let round = -WARM_UP_ROUNDS; round < bench.options.rounds; round++) {
    const first = (round + WARM_UP_ROUNDS) % subjects.length;
    const order = [...subjects.slice(first), ...subjects.slice(0, first)];
    for (const subject of round % 2 === 0 ? order : order.reverse()) {
      if (round >= 0) await bench.quiet();
      const sample = await turn(bench, subject, options);
      if (round >= 0) samples.get(subject.name)?.push(sample);
      const rate = (sample.get('jobs') ?? 0).toFixed(0);
      bench.say(`${round < 0 ? 'warm-up' : `round ${round + 1}`}: ${subject.name} ${rate} jobs/s, p50 ${sample.get('p50')?.toFixed(2)} ms`);
    }
  }
  return samples;
}

export function histogram(): Histogram {
  return build({ lowestDiscernibleValue: 1, highestTrackableValue: 60_000_000, numberOfSignificantValueDigits: 3 });
}

/** Keeps that many jobs under way for so long. Resolves when the last one has ended. */
export async function drive(subject: Subject, outstanding: number, seconds: number): Promise<Driven> {
  if ('drive' in subject) return subject.drive(outstanding, seconds);
  const latencies = histogram();
  const startedAt = performance.now();
  const end = startedAt + seconds * 1_000;
  const work = async (lane: number) => {
    for (let from = performance.now(); from < end; ) {
      await subject.job(lane);
      const now = performance.now();
      latencies.recordValue(Math.max(1, Math.round((now - from) * 1_000)));
      from = now;
    }
  };
  await Promise.all(Array.from({ length: outstanding }, (_, lane) => work(lane)));
  return { latencies, seconds: (performance.now() - startedAt) / 1_000 };
}

async function turn(bench: Bench, subject: Subject, { outstanding, redis }: RoundsOptions): Promise<Sample> {
  await subject.enter?.();
  await drive(subject, outstanding, LEAD_SECONDS);
  const sample = await measured(bench, subject, redis, () => drive(subject, outstanding, bench.options.seconds));
  await subject.leave?.();
  return sample;
}

/** What `run` is for the subject: rate, latencies, CPU of its processes, and calls to its Redis. */
export async function measured(bench: Bench, subject: Subject, redis: RedisStats | undefined, run: () => Promise<Driven>): Promise<Sample> {
  const stats = subject.stats ?? (subject.processes.includes('redis') ? redis : undefined);
  await stats?.reset();
  const before = new CpuReading(bench.children.pids());
  const { latencies, seconds } = await run();
  const after = new CpuReading(bench.children.pids());
  const calls = await stats?.calls();
  const jobs = latencies.totalCount;
  const sample = new Map<string, number>([
    ['jobs', jobs / seconds],
    ['p50', latencies.getValueAtPercentile(50) / 1_000],
    ['p99', latencies.getValueAtPercentile(99) / 1_000],
    ['p99.9', latencies.getValueAtPercentile(99.9) / 1_000],
    ['cores of others', after.othersSince(before)],
  ]);
  let cpu = 0;
  for (const [name, us] of after.since(before)) {
    if (!subject.processes.includes(name)) continue;
    sample.set(`CPU of ${name}`, us / jobs);
    cpu += us / jobs;
  }
  sample.set('CPU of all', cpu);
  if (calls) {
    sample.set('Redis commands', calls.commands / jobs);
    sample.set('Redis scripts', calls.scripts / jobs);
    if (calls.scriptP99Ms !== undefined) sample.set('script p99', calls.scriptP99Ms);
  }
  return sample;
}
