import { afterAll, beforeAll, expect, test } from 'vitest';
import { Children } from '../../bench/lib/children.js';
import { RedisStats } from '../../bench/lib/redis-stats.js';
import { rounds, type Sample, type Samples } from '../../bench/lib/rounds.js';
import { median } from '../../bench/lib/stats.js';
import type { Options } from '../../bench/options.js';
import type { Bench } from '../../bench/scenario.js';
import { bullmq } from '../../bench/subjects/bullmq.js';
import { Stage } from '../../bench/subjects/stage.js';
import { mainArgs } from '../helpers/children.js';

/**
 * What a job costs, as counts and as CPU beside that of BullMQ in the same run: a change that makes jobs dearer turns this red on a machine
 * of any speed. The bounds are a quarter above what was seen; rates are for `npm run bench`.
 */
const WORKERS = 64;
const ROUNDS = 3;
const COMMANDS_MOST = 24;
const SCRIPTS_MOST = 0.19;
/** Of replica and Redis, to that of all processes of BullMQ: 0.5 on a quiet machine, 1.1 on a loaded one, where BullMQ batches more. */
const CPU_MOST = 1.4;

const children = new Children(undefined);
const story: string[] = [];
let samples: Samples;

beforeAll(async () => {
  const bench = benchOf(children);
  const stage = await Stage.open(bench, { name: 'attached', workers: WORKERS });
  const redis = await children.redis();
  const peer = await bullmq(bench, redis, WORKERS);
  const stats = new RedisStats(redis.url);
  samples = await rounds(bench, { subjects: [stage.subject, peer], outstanding: WORKERS, redis: stats });
  stats.close();
  stage.close();
  await peer.close();
});

afterAll(() => children.endAll());

function benchOf(children: Children): Bench {
  const [module] = mainArgs().slice(-1);
  const options: Options = {
    ...{ only: [], peers: [], rounds: ROUNDS, seconds: 1, output: 'table', force: true, scale: 1, docs: false },
    ...{ build: module, baseline: undefined, profile: undefined, results: undefined },
  };
  const say = (text: string) => void story.push(text);
  return { options, children, say, quiet: async () => undefined, used: () => undefined, skipped: () => undefined };
}

function figure(name: string, value: number): void {
  console.info(`FIGURE ${name}=${value.toPrecision(3)}`);
}

/** The median of the rounds; fails when there is none. */
function measured(subject: string, of: (sample: Sample) => number | undefined): number {
  const values = (samples.get(subject) ?? []).map(of).filter((value) => value !== undefined);
  expect(values, story.join('\n')).toHaveLength(ROUNDS);
  return median(values);
}

const cpuOf = (sample: Sample, processes: string[]) => processes.reduce((sum, name) => sum + (sample.get(`CPU of ${name}`) ?? Number.NaN), 0);

test('a job costs Redis few commands and fewer script calls', () => {
  const commands = measured('attached', (sample) => sample.get('Redis commands'));
  const scripts = measured('attached', (sample) => sample.get('Redis scripts'));
  figure('redisCommandsAJob', commands);
  figure('scriptCallsAJob', scripts);
  expect(commands).toBeLessThanOrEqual(COMMANDS_MOST);
  expect(scripts).toBeLessThanOrEqual(SCRIPTS_MOST);
});

test('replica and Redis together take less CPU a job than BullMQ does', () => {
  const ours = measured('attached', (sample) => cpuOf(sample, ['attached replica', 'attached redis']));
  const theirs = measured('bullmq', (sample) => sample.get('CPU of all'));
  const ratio = median(
    (samples.get('attached') ?? []).map(
      (sample, i) => cpuOf(sample, ['attached replica', 'attached redis']) / (samples.get('bullmq')?.[i]?.get('CPU of all') ?? Number.NaN),
    ),
  );
  figure('cpuAJobUs', ours);
  figure('cpuAJobOfBullmqUs', theirs);
  figure('cpuAJobRatio', ratio);
  expect(ratio, story.join('\n')).toBeLessThanOrEqual(CPU_MOST);
});
