import { setTimeout as pause } from 'node:timers/promises';
import type { Api } from '../../src/sdk/connect.js';
import { jobSpec } from '../../src/sdk/run.js';
import { rssBytes } from '../lib/cpu.js';
import { plain } from '../lib/figures.js';
import { timed } from '../lib/wait.js';
import type { Answer, Order } from '../processes/attached-orders.js';
import type { Bench, Figure, Scenario } from '../scenario.js';
import { startAttached } from '../subjects/attached.js';
import { PAYLOAD, startReplica } from '../subjects/muster.js';

const WORKERS = 5_000;
const PROCESSES = 4;
const BATCH = 500;
const POOL = 'bench';
/** Links of the fullest replica over the mean, at the most, once they have levelled out. */
const LEVEL = 1.2;
const LOOK_MS = 250;
const PATIENCE_MS = 600_000;
const scenario = 'A1';

export const a1: Scenario = {
  name: scenario,
  title: `${WORKERS} attached workers on one replica, a TCP connection each, from ${PROCESSES} processes; then a second replica starts`,

  async run(bench: Bench): Promise<Figure[]> {
    const redis = await bench.children.redis();
    const first = await startReplica(bench, redis);
    const names = Array.from({ length: PROCESSES }, (_, i) => `workers ${i + 1}`);
    const fleet = new Fleet(await Promise.all(names.map((name, i) => startAttached(bench, name, POOL, `a${i}`, WORKERS / PROCESSES))));
    const rss = () => rssBytes(bench.children.pids().get('replica') ?? 0);
    await bench.quiet();

    const bytesBefore = rss();
    const attachMs = await timed(() => fleet.tell({ do: 'attach', targets: [first.target] }));
    const bytes = rss();
    bench.say(`${WORKERS} attached after ${attachMs.toFixed(0)} ms`);
    const assignMs = await assignEach(first, fleet);
    bench.say(`each had its job after ${assignMs.toFixed(0)} ms`);
    const level = await levelOut(bench, first, await startReplica(bench, redis, 'replica 2'), fleet);
    first.close();

    const figure = (what: string, unit: string, value: number) => plain(scenario, 'muster', what, unit, [value]);
    return [
      figure('time until all are attached', 'ms', attachMs),
      figure('RSS of the replica', 'MiB', bytes / 2 ** 20),
      figure('RSS a worker', 'bytes', (bytes - bytesBefore) / WORKERS),
      figure('time until each has a job of its own', 'ms', assignMs),
      figure('time until the links are level', 's', level.seconds),
      figure('links of the fullest replica over the mean', 'ratio', level.ratio),
    ];
  },
};

/** All processes of workers. */
class Fleet {
  constructor(private readonly processes: ((order: Order) => Promise<Answer>)[]) {}

  tell(order: Order): Promise<Answer[]> {
    return Promise.all(this.processes.map((tell) => tell(order)));
  }

  /** Looks until that is true of the answers. Rejects after ten minutes. */
  async until(is: (answers: Answer[]) => boolean): Promise<void> {
    const end = performance.now() + PATIENCE_MS;
    while (!is(await this.tell({ do: 'look' }))) {
      if (performance.now() > end) throw new Error(`after ${PATIENCE_MS / 1_000} s: ${JSON.stringify(await this.tell({ do: 'look' }))}`);
      await pause(LOOK_MS);
    }
  }
}

/** As many jobs as workers. No worker ends its own before all have one, so each has exactly one. */
async function assignEach(api: Api, fleet: Fleet): Promise<number> {
  await fleet.tell({ do: 'keep' });
  const ms = await timed(async () => {
    for (let from = 0; from < WORKERS; from += BATCH) {
      const specs = Array.from({ length: BATCH }, () => jobSpec({ pool: POOL, work: { $case: 'kind', value: 'noop' }, payload: PAYLOAD }));
      const { results } = await api.batchSubmitJobs({ specs });
      const refused = results.find(({ created }) => !created);
      if (refused) throw new Error(`a job was refused: ${refused.message}`);
    }
    await fleet.until((answers) => sum(answers.map(({ busy }) => busy)) === WORKERS);
  });
  await fleet.tell({ do: 'finish' });
  return ms;
}

async function levelOut(bench: Bench, first: Api, second: Api, fleet: Fleet): Promise<{ seconds: number; ratio: number }> {
  const targets = [first.target, second.target];
  let ratio = Number.NaN;
  let told = '';
  const ms = await timed(async () => {
    await fleet.tell({ do: 'targets', targets });
    await fleet.until((answers) => {
      const links = new Map<string, number>();
      for (const { at } of answers) for (const [replica, n] of Object.entries(at)) links.set(replica, (links.get(replica) ?? 0) + n);
      const counts = [...links.values()].sort((a, b) => b - a);
      if (counts.join() !== told) bench.say(`links: ${counts.join(' and ')}`);
      told = counts.join();
      ratio = (counts[0] ?? 0) / (WORKERS / 2);
      return ratio <= LEVEL;
    });
  });
  second.close();
  return { seconds: ms / 1_000, ratio };
}

function sum(numbers: number[]): number {
  return numbers.reduce((total, n) => total + n, 0);
}
