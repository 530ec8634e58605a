import { fileURLToPath } from 'node:url';
import { Contract } from '../../src/grpc/generated/muster/v1/common.js';
import { JobState } from '../../src/grpc/generated/muster/v1/job.js';
import type { EmbeddedRedis } from '../../src/lifecycle/embedded-redis.js';
import { type Api, connect } from '../../src/sdk/connect.js';
import { jobSpec } from '../../src/sdk/run.js';
import type { Subject } from '../lib/rounds.js';
import type { Bench } from '../scenario.js';

export const PAYLOAD = Buffer.alloc(100, 'x');
const BUILT = fileURLToPath(new URL('../../dist/main.js', import.meta.url));

/** Longer than any run: a RawSession does not open itself again. */
const AGE_MS = 4 * 3_600_000;

/** Settings of a replica, as environment variables. */
export type Settings = Record<`MUSTER_${string}`, string>;

/** One replica of the built code as a process of its own, under that name; its API. */
export async function startReplica(
  bench: Bench,
  redis: EmbeddedRedis,
  name = 'replica',
  module = bench.options.build ?? BUILT,
  settings: Settings = {},
): Promise<Api> {
  const [, port] = await bench.children.start<RegExpExecArray>({
    name,
    module,
    args: ['serve', '--redis-url', redis.url, '--grpc-addr', '127.0.0.1:0', '--insecure'],
    env: { MUSTER_HTTP_ADDR: '', MUSTER_CONNECTION_AGE_MS: String(AGE_MS), ...settings },
    typescript: module.endsWith('.ts'),
    readyWord: /"grpcPort":(\d+)/,
  });
  return connect(`127.0.0.1:${port}`);
}

/** The process of the workers, known to nobody yet. Resolves with their ports. */
export function startWorkers(bench: Bench, count: number): Promise<number[]> {
  return bench.children.start({
    name: 'workers',
    module: new URL('../processes/workers.ts', import.meta.url),
    args: [String(count)],
    typescript: true,
  });
}

/** Muster with those workers in a pool of its own. */
export async function muster(bench: Bench, redis: EmbeddedRedis, ports: number[], other?: { name: string; module: string }): Promise<Subject> {
  const replica = other?.name ?? 'replica';
  const api = await startReplica(bench, redis, replica, other?.module);
  const pool = other?.name ?? 'bench';
  const worker = { ip: '127.0.0.1', region: '', pool, slots: 1, labels: {}, contract: Contract.CONTRACT_RUNNER, kinds: ['noop'], version: '' };
  await Promise.all(ports.map((port, i) => api.register({ ...worker, id: `bench-${i}`, port, boot: `boot-${i}` }, { deadlineMs: 30_000 })));
  const spec = jobSpec({ pool, work: { $case: 'kind', value: 'noop' }, payload: PAYLOAD });
  return {
    name: other?.name ?? 'muster',
    processes: ['client', replica, 'workers', 'redis'],
    async job() {
      const { job } = await api.runJob({ spec, wait: undefined, cancelOnDisconnect: false });
      const { state, outcome } = job ?? {};
      if (state === JobState.JOB_STATE_SUCCEEDED && outcome?.$case === 'output' && outcome.value.length === PAYLOAD.length) return;
      throw new Error(`a job ended otherwise than it should: ${JSON.stringify(job)}`);
    },
    async close() {
      api.close();
    },
  };
}

/** Muster, and beside it the build that `--baseline` names. */
export async function musters(bench: Bench, redis: EmbeddedRedis, ports: number[]): Promise<Subject[]> {
  const { baseline } = bench.options;
  const subjects = [await muster(bench, redis, ports)];
  if (baseline !== undefined) subjects.push(await muster(bench, redis, ports, { name: 'baseline', module: baseline }));
  return subjects;
}
