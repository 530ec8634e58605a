import { readConfig } from '../../src/config.js';
import { systemClock, systemRandom } from '../../src/domain/clock.js';
import type { EmbeddedRedis } from '../../src/lifecycle/embedded-redis.js';
import { scriptLimits } from '../../src/lifecycle/limits.js';
import { jobSpec } from '../../src/sdk/run.js';
import { Store } from '../../src/store/store.js';
import { plain } from '../lib/figures.js';
import { RedisStats } from '../lib/redis-stats.js';
import { until } from '../lib/wait.js';
import type { Bench, Figure, Scenario } from '../scenario.js';
import { startAttached } from '../subjects/attached.js';
import { PAYLOAD, startReplica } from '../subjects/muster.js';

const COUNT = 10_000;
const BATCH = 500;
const WORKER_BYTES = 600;
const JOB_BYTES = 500 + PAYLOAD.length;
/** That end the jobs: each ends as soon as it is given. */
const WORKERS = 64;
const PATIENCE_MS = 120_000;
const POOL = 'bench';
const scenario = 'M1';

export const m1: Scenario = {
  name: scenario,
  title: `bytes of Redis memory, over ${COUNT} of each; workers put on the roll by the scripts directly, jobs by BatchSubmitJobs, then run by attached workers; the stream of events is capped and not counted`,

  async run(bench: Bench): Promise<Figure[]> {
    // A Redis for each, since the tables of a fuller one grow at other moments.
    const attached = await bytesEach(await bench.children.redis(), (redis) => enrolAll(redis, 'ATTACHED'));
    const dialed = await bytesEach(await bench.children.redis(), (redis) => enrolAll(redis, 'RUNNER'));
    const redis = await bench.children.redis();
    const api = await startReplica(bench, redis);
    const submit = (count: number) => submitAll(api, count);
    await submit(1);
    const job = await bytesEach(redis, () => submit(COUNT));
    const finished = await bytesEach(redis, () => endAll(bench, redis, api.target));
    api.close();
    return [
      plain(scenario, 'muster', 'an idle attached worker', 'bytes', [attached], WORKER_BYTES),
      plain(scenario, 'muster', 'an idle dialed worker, with its address', 'bytes', [dialed], WORKER_BYTES),
      plain(scenario, 'muster', `a waiting job with ${PAYLOAD.length} B of payload`, 'bytes', [job], JOB_BYTES),
      plain(scenario, 'muster', `a finished job with ${PAYLOAD.length} B of result, until its retention is over`, 'bytes', [job + finished]),
    ];
  },
};

/** What of Redis' memory each of COUNT is, as `fill` leaves them there. Negative when it takes something away. */
async function bytesEach(redis: EmbeddedRedis, fill: (redis: EmbeddedRedis) => Promise<void>): Promise<number> {
  const stats = new RedisStats(redis.url);
  const before = await stats.memoryBytes(POOL);
  await fill(redis);
  const after = await stats.memoryBytes(POOL);
  stats.close();
  return (after - before) / COUNT;
}

/** All jobs run to their ends; the few workers that do it count as nothing. */
async function endAll(bench: Bench, redis: EmbeddedRedis, target: string): Promise<void> {
  const stats = new RedisStats(redis.url);
  const tell = await startAttached(bench, 'workers', POOL, 'w', WORKERS);
  await tell({ do: 'attach', targets: [target] });
  await until(async () => (await stats.waiting(POOL, 0)) === 0 && (await stats.free(POOL)) === WORKERS, 'all jobs to end', PATIENCE_MS);
  stats.close();
}

/** By the scripts directly: a replica would dial each worker, or want a stream of it, of which Redis sees nothing. */
async function enrolAll(redis: EmbeddedRedis, contract: 'ATTACHED' | 'RUNNER'): Promise<void> {
  const limits = scriptLimits(readConfig({}));
  const store = new Store({
    url: redis.url,
    timeoutMs: 5_000,
    home: 'bench-00000000',
    limits,
    maxPools: 10,
    clock: systemClock,
    random: systemRandom,
    onError: () => undefined,
  });
  await store.start({ hint: () => undefined, resubscribed: () => undefined, error: () => undefined }, AbortSignal.timeout(10_000));
  await store.enter(POOL);
  await inBatches((i) => {
    const address = { ip: `10.1.${i >> 8}.${i & 255}`, port: 6000 };
    const id = `worker-${String(i).padStart(5, '0')}`;
    const info = { pool: POOL, id, boot: `${id}-1a2b3c4d`, region: 'eu-1', slots: 1, version: '1.0.0', kinds: [], labels: {} };
    if (contract === 'ATTACHED') return store.workers.attach(info, []);
    return store.workers.register({ ...info, contract, address, bootDerived: false }, false);
  });
  await store.stop();
}

async function submitAll(api: Awaited<ReturnType<typeof startReplica>>, count: number): Promise<void> {
  for (let from = 0; from < count; from += BATCH) {
    const specs = Array.from({ length: Math.min(BATCH, count - from) }, () =>
      jobSpec({ pool: POOL, work: { $case: 'kind', value: 'noop' }, payload: PAYLOAD }),
    );
    const { results } = await api.batchSubmitJobs({ specs });
    const refused = results.find(({ created }) => !created);
    if (refused) throw new Error(`a job was refused: ${refused.message}`);
  }
}

async function inBatches(each: (i: number) => Promise<unknown>): Promise<void> {
  for (let from = 0; from < COUNT; from += BATCH) await Promise.all(Array.from({ length: BATCH }, (_, i) => each(from + i)));
}
