import { readFileSync } from 'node:fs';
import { beforeAll, expect, test } from 'vitest';
import { findEntry, readSchema, renderSchema, type SchemaEntry } from '../../../scripts/redis-schema.js';
import { keys, poolOf } from '../../../src/store/keys.js';
import { scripts } from '../../../src/store/scripts.generated.js';
import { ROOT } from '../../helpers/source.js';
import { scanKeys } from '../../helpers/store-dump.js';
import { failure, StoreFixture, T0, type TestPool } from '../../helpers/store-fixture.js';

const fixture = new StoreFixture({ limits: { EXACT_LIST: 1 } });
const POOL = 'keys-pool';
/** Every name of keys.ts, with its type, as the comments there say it. */
const schema = readSchema();
const isKey = ({ type }: SchemaEntry) => !['CHANNEL', 'PREFIX', 'PATTERN', 'ABSENT'].includes(type);
const of = (key: string) => findEntry(schema, key);

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
  await r1.writeReplica({ id: 'r1', address: 'a', version: '1', links: 0, startedAt: T0, draining: false, listens: [] }, 60_000);
  await r1.publishSweep();
  await r2.enter(`${name}-2`, 'somebody');
  r2.forget(`${name}-2`);
  await r1.writeDescriptors(name, Buffer.from('x'));
  await r1.locks.acquire(keys.lock('x'), 60_000, 0);
  await r1.locks.acquire(keys.workerLock(name, 'w1'), 60_000, 0);
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
  expect([...seen.keys()].filter((key) => of(key) === undefined)).toEqual([]);
  for (const [key, type] of seen) expect([key, type]).toEqual([key, of(key)?.type.toLowerCase()]);
});

test('every key of keys.ts was met on the way, each list of waiting jobs too', () => {
  const met = new Set([...seen.keys()].map((key) => of(key)?.builder));
  expect(schema.filter((entry) => isKey(entry) && !met.has(entry.builder)).map(({ builder }) => builder)).toEqual([]);
  for (let priority = 0; priority < 4; priority++) expect([...seen.keys()]).toContain(keys.waiting(POOL, priority));
});

test("a name that is none is nobody's, and what ends in :payload is the payload of another job", () => {
  expect(of(`muster:{${POOL}}:wrong`)).toBeUndefined();
  expect(of(`muster:{${POOL}}:waiting:4`)).toBeUndefined();
  expect(of(keys.home(POOL, 'r1'))).toBeUndefined();
  expect(of(keys.moving(POOL))).toBeUndefined();
  expect(of(`muster:{${POOL}}:job:a:b:payload`)?.builder).toBe('payload');
  expect(of(`${keys.bull}:health:meta`)?.builder).toBe('bull');
  expect(poolOf(keys.meta(POOL))).toBe(POOL);
});

test('docs/redis-schema.md is what the comments of keys.ts say', () => {
  expect(readFileSync(new URL('docs/redis-schema.md', ROOT), 'utf8')).toBe(renderSchema(schema));
});

test('a name without its type and sentence is an error', () => {
  expect(() => readSchema('')).toThrow('keys.pools, ');
  expect(() => readSchema('  /** BAG: of things. */\n  pools: 1,')).toThrow('keys.pools: BAG is none of STRING, ');
});

test('every name that the scripts build out of the prefix is one of keys.ts', () => {
  const source = Object.values(scripts)
    .map((script) => script.source)
    .join('\n');
  const names = new Set([...source.matchAll(/\bP \.\. '([^']+)'/g)].map(([, name]) => name ?? ''));
  const suffixes = new Set([...source.matchAll(/\bkey \.\. '([^']+)'|_key\([^)]*\) \.\. '([^']+)'/g)].map(([, a, b]) => a ?? b ?? ''));
  expect([names.size, suffixes.size]).toEqual([17, 7]);
  const shapes = schema.map(({ name }) => name);
  const prefix = 'muster:{P}:';
  expect(
    [...names].filter((name) => !shapes.some((shape) => (name.endsWith(':') ? shape.startsWith(prefix + name) : shape === prefix + name))),
  ).toEqual([]);
  expect([...suffixes].filter((suffix) => !shapes.some((shape) => shape.endsWith(`<id>${suffix}`)))).toEqual([]);
});

test('the channels that replicas listen to are of keys.ts', async () => {
  const channels = (await fixture.raw.pubsub('CHANNELS', 'muster:*')) as string[];
  expect(channels.sort()).toEqual([keys.sweep, keys.home(POOL, 'r1'), keys.home(POOL, 'r2')].sort());
});
