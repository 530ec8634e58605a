import type { EmbeddedRedis } from '../../src/lifecycle/embedded-redis.js';
import { Client } from '../../src/sdk/client.js';
import type { Api } from '../../src/sdk/connect.js';
import type { Subject } from '../lib/rounds.js';
import type { Answer, Order } from '../processes/attached-orders.js';
import type { Bench } from '../scenario.js';
import { PAYLOAD, startReplica } from './muster.js';
import { RawSession } from './raw-session.js';

const RAW = new URL('../processes/attached.ts', import.meta.url);
const SDK = new URL('../processes/sdk-workers.ts', import.meta.url);

interface Names {
  subject: string;
  /** The process of the replica. */
  replica: string;
}

/** A process of attached workers that know no replica yet. Resolves with what tells it what to do. */
export async function startAttached(
  bench: Bench,
  name: string,
  pool: string,
  prefix: string,
  count: number,
): Promise<(order: Order) => Promise<Answer>> {
  await bench.children.start({ name, module: RAW, args: [pool, prefix, String(count)], typescript: true });
  return (order) => bench.children.ask<Answer>(name, order);
}

/** Raw clients on both sides: of Attach in one process, of Session in this one. */
async function attached(bench: Bench, api: Api, count: number, names: Names): Promise<Subject> {
  const pool = names.subject;
  const process = `${names.subject} workers`;
  const tell = await startAttached(bench, process, pool, 'raw', count);
  await tell({ do: 'attach', targets: [api.target] });
  const session = await RawSession.open(api.target, pool, PAYLOAD);
  return {
    name: names.subject,
    processes: ['client', names.replica, process, 'redis'],
    job: () => session.job(),
    close: async () => session.close(),
  };
}

/** The SDK's Worker and Client, as users have them. */
async function attachedSdk(bench: Bench, api: Api, count: number, names: Names): Promise<Subject> {
  const pool = 'sdk';
  await bench.children.start({ name: 'sdk workers', module: SDK, args: [api.target, pool, String(count)], typescript: true });
  const client = new Client({ target: api.target });
  return {
    name: names.subject,
    processes: ['client', names.replica, 'sdk workers', 'redis'],
    async job() {
      const output = await client.run('noop', PAYLOAD, { pool, codec: 'bytes' });
      if (output.length !== PAYLOAD.length) throw new Error(`a job ended with ${output.length} bytes`);
    },
    close: () => client.close(),
  };
}

/** Both on one replica of that name. */
export async function attachedSubjects(
  bench: Bench,
  redis: EmbeddedRedis,
  count: number,
  replica = 'replica',
): Promise<{ raw: Subject; sdk: Subject }> {
  const api = await startReplica(bench, redis, replica);
  const raw = await attached(bench, api, count, { subject: 'attached', replica });
  return { raw, sdk: await attachedSdk(bench, api, count, { subject: 'attached sdk', replica }) };
}

/** Raw clients on the build that `--baseline` names; undefined without one. */
export async function attachedBaseline(bench: Bench, redis: EmbeddedRedis, count: number): Promise<Subject | undefined> {
  const { baseline } = bench.options;
  if (baseline === undefined) return undefined;
  const replica = 'baseline replica';
  return attached(bench, await startReplica(bench, redis, replica, baseline), count, { subject: 'baseline', replica });
}
