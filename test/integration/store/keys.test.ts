import { beforeAll, expect, test } from 'vitest';
import { keys, poolOf } from '../../../src/store/keys.js';
import { scripts } from '../../../src/store/scripts.generated.js';
import { scanKeys } from '../../helpers/store-dump.js';
import { failure, StoreFixture, T0, type TestPool } from '../../helpers/store-fixture.js';

const fixture = new StoreFixture({ limits: { EXACT_LIST: 1 } });
const POOL = 'keys-pool';
/** What a builder is given for an id, to be found again in its answer. */
const ID = '<id>';

/** Every key that the store may write, by its builder, and its type as the builder's comment says it. */
const TYPES: Record<string, [builder: string, type: string]> = {
  pools: [keys.pools, 'set'],
  schema: [keys.schema, 'string'],
  swept: [keys.swept, 'string'],
  replica: [keys.replica(ID), 'hash'],
  replicas: [keys.replicas, 'zset'],
  lock: [keys.lock(ID), 'string'],
  meta: [keys.meta(POOL), 'hash'],
  worker: [keys.worker(POOL, ID), 'hash'],
  workerLabels: [keys.workerLabels(POOL, ID), 'string'],
  workerKinds: [keys.workerKinds(POOL, ID), 'string'],
  addresses: [keys.addresses(POOL), 'hash'],
  workers: [keys.workers(POOL), 'zset'],
  dead: [keys.dead(POOL), 'zset'],
  held: [keys.held(POOL, ID), 'hash'],
  free: [keys.free(POOL), 'list'],
  waiting: [keys.waiting(POOL, 0), 'list'],
  waiting1: [keys.waiting(POOL, 1), 'list'],
  waiting2: [keys.waiting(POOL, 2), 'list'],
  waiting3: [keys.waiting(POOL, 3), 'list'],
  job: [keys.job(POOL, ID), 'hash'],
  payload: [keys.payload(POOL, ID), 'string'],
  metadata: [keys.metadata(POOL, ID), 'string'],
  result: [keys.result(POOL, ID), 'string'],
  error: [keys.error(POOL, ID), 'string'],
  progress: [keys.progress(POOL, ID), 'string'],
  leases: [keys.leases(POOL), 'zset'],
  later: [keys.later(POOL), 'zset'],
  deadlines: [keys.deadlines(POOL), 'zset'],
  buried: [keys.buried(POOL), 'zset'],
  finished: [keys.finished(POOL), 'zset'],
  homes: [keys.homes(POOL), 'zset'],
  descriptors: [keys.descriptors(POOL), 'string'],
  events: [keys.events(POOL), 'stream'],
};
/** Not keys: channels, a pattern, and the prefix of keys that BullMQ names. */
const NO_KEYS = ['sweep', 'bull', 'home', 'ofPool'];

function builderOf(key: string): string | undefined {
  return Object.keys(TYPES).find((name) => {
    const [shape = ''] = TYPES[name] ?? [];
    const pattern = shape.replace(/[{}.*+?^$|()[\]\\]/g, '\\$&').replace(ID, '[^:]+');
    return new RegExp(`^${pattern}$`).test(key);
  });
}

/** All keys in Redis now, each with its type. */
const seen = new Map<string, string>();
async function look(): Promise<void> {
  for (const key of await scanKeys(fixture.raw, 'muster:')) {
    if (key !== 'muster:test:clock') seen.set(key, await fixture.raw.type(key));
  }
}

/** Goes through all that a pool can come to, and looks at its keys on the way. */
async function everything(p: TestPool): Promise<void> {
  const { name, r1, r2 } = p;
  await r1.writeReplica({ id: 'r1', address: 'a', version: '1', links: 0, startedAt: T0, draining: false }, 60_000);
  await r1.publishSweep(T0);
  await r1.writeDescriptors(name, Buffer.from('x'));
  await r1.locks.acquire('x', 60_000, 0);
  const w1 = await p.worker('w1', { slots: 2, labels: { a: 'b' }, kinds: ['k'], region: 'eu', version: '1' });
  const w2 = await p.worker('w2', { slots: 1 }, r2);
  await p.job('j1', { payload: Buffer.from('x'), metadata: { a: 'b' }, totalTimeoutMs: 60_000 });
  await p.job('j2');
  await p.job('j3');
  for (let priority = 0; priority < 4; priority++) await p.job(`q${priority}`, { priority });
  await p.job('later', { notBefore: T0 + 60_000 });
  await look();
  const lease = await p.lease(w1, 'j1');
  await r1.workers.workerBeat(name, 'w1', w1.boot, [{ ...lease, done: false, progress: Buffer.from('half') }]);
  await look();
  await r1.jobs.watch(name, ['j1', 'j2']);
  await r1.jobs.accept(name, [lease]);
  await r1.jobs.mine(name, 0, 10);
  await r1.jobs.cancel(name, ['q1']);
  await r1.jobs.release(name, [{ ...(await p.lease(w1, 'j3')), blocked: true, reason: 'x' }]);
  await p.finish([p.result(lease), p.result(await p.lease(w2, 'j2', true, r2), failure({ retryable: false }))]);
  await r1.jobs.retry(name, [{ id: 'j2' }]);
  await r1.workers.suspect(w2, 1, 'missed');
  await r1.workers.adopt(w2);
  await r1.workers.orphans(name, '0', 10);
  await r1.workers.probed({ ...w2, link: '2' }, 0, true, []);
  await r1.workers.drain(name, 'w1', true);
  await r1.workers.deregister(name, 'w2', '', 1_000);
  await look();
  await r1.workers.bury({ ...w1, boot: '' }, 0, 'evicted');
  await r1.workers.forgetHomes(name, ['r2']);
  await p.worker('w3', { slots: 9 });
  await p.job('bad', { priority: 3 });
  await p.finish([p.result(await p.lease({ pool: name, id: 'w3', boot: 'w3-b1', link: '1' }, 'bad'), failure({ retryable: false }))]);
  await p.tick();
  await r1.jobs.match(name);
  await r1.jobs.pause(name, true);
  await look();
  await r1.jobs.purge(name, 'queued', 10);
  await r1.jobs.purge(name, 'buried', 10);
  await look();
}

beforeAll(async () => {
  await everything(await fixture.pool(POOL));
});

test('every key that stands in Redis is one of keys.ts, of the type that stands there', () => {
  const strangers = [...seen.keys()].filter((key) => builderOf(key) === undefined);
  expect(strangers).toEqual([]);
  for (const [key, type] of seen) expect([key, type]).toEqual([key, TYPES[builderOf(key) ?? '']?.[1]]);
});

test('every key of keys.ts was met on the way', () => {
  const met = new Set([...seen.keys()].map(builderOf));
  expect(Object.keys(TYPES).filter((name) => !met.has(name))).toEqual([]);
  expect(Object.keys(keys).filter((name) => !(name in TYPES) && !NO_KEYS.includes(name))).toEqual([]);
});

test('a pattern does not take what is another key', () => {
  expect(builderOf(`muster:{${POOL}}:wrong`)).toBeUndefined();
  expect(builderOf(`muster:{${POOL}}:job:j1:labels`)).toBeUndefined();
  expect(builderOf(`muster:{${POOL}}:waiting:4`)).toBeUndefined();
  expect(poolOf(keys.meta(POOL))).toBe(POOL);
});

test('every name that the scripts build out of the prefix is one of keys.ts', () => {
  const source = Object.values(scripts)
    .map((script) => script.source)
    .join('\n');
  const names = new Set([...source.matchAll(/\bP \.\. '([^']+)'/g)].map(([, name]) => name ?? ''));
  const suffixes = new Set([...source.matchAll(/\bkey \.\. '([^']+)'|_key\([^)]*\) \.\. '([^']+)'/g)].map(([, a, b]) => a ?? b ?? ''));
  expect([names.size, suffixes.size]).toEqual([17, 7]);
  const shapes = [...Object.values(TYPES).map(([shape]) => shape), keys.home(POOL, ID)];
  const prefix = `muster:{${POOL}}:`;
  expect(
    [...names].filter((name) => !shapes.some((shape) => (name.endsWith(':') ? shape.startsWith(prefix + name) : shape === prefix + name))),
  ).toEqual([]);
  expect([...suffixes].filter((suffix) => !shapes.some((shape) => shape.endsWith(ID + suffix)))).toEqual([]);
});

test('the channels that replicas listen to are of keys.ts', async () => {
  const channels = (await fixture.raw.pubsub('CHANNELS', 'muster:*')) as string[];
  expect(channels.sort()).toEqual([keys.sweep, keys.home(POOL, 'r1'), keys.home(POOL, 'r2')].sort());
});
