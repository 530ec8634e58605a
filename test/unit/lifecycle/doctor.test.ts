import { expect, test } from 'vitest';
import { diagnose, type Examined } from '../../../src/lifecycle/doctor.js';
import { SCHEMA } from '../../../src/store/schema.js';
import type { Survey } from '../../../src/store/survey.js';

const replica = (id: string, fields: Partial<Survey['replicas'][number]> = {}) => ({
  ...{ id, address: `${id}:1`, version: '1.0.0', links: 10, startedAt: 0, draining: false, listens: [] },
  ...fields,
});
const pool = (name: string, fields: Partial<Survey['pools'][number]> = {}) => ({
  ...{ name, family: undefined, paused: false, workers: 1, dead: 0, free: 0, waiting: 0, scheduled: 0, running: 0, buried: 0 },
  ...{ submittedTotal: 0, succeededTotal: 0, failedTotal: 0, cancelledTotal: 0, expiredTotal: 0, retriedTotal: 0 },
  ...fields,
});
const MIB = 2 ** 20;
const WELL: Survey = {
  version: '7.2.4',
  persistence: { appendonly: true, appendfsync: 'everysec', failing: false },
  evictionPolicy: 'noeviction',
  usedBytes: 10 * MIB,
  roomBytes: 100 * MIB,
  skewMs: 3,
  skewErrorMs: 1,
  schema: SCHEMA,
  sweptAgoMs: 4_000,
  replicas: [replica('a'), replica('b')],
  silent: [],
  pools: [pool('p', { waiting: 5 })],
};

function examine(survey: Partial<Survey>, rest: Partial<Omit<Examined, 'survey'>> = {}): string[] {
  const config = { DURABILITY: 'fast' as const, HEALTH_INTERVAL_MS: 10_000, DURABILITY_UNCHECKED: false };
  return diagnose({ survey: { ...WELL, ...survey }, broken: 0, config, ...rest })
    .filter(({ level }) => level !== 'ok')
    .map(({ check, level, what, remedy }) => {
      expect(remedy, what).not.toBe('');
      return `${level} ${check}: ${what}`;
    });
}

test('a fleet that is well: every check says so', () => {
  expect(examine({})).toEqual([]);
  const said = diagnose({ survey: WELL, broken: 0, config: { DURABILITY: 'fast', HEALTH_INTERVAL_MS: 10_000, DURABILITY_UNCHECKED: false } });
  expect(said.map(({ check }) => check)).toEqual([
    'redis version',
    'durability',
    'eviction',
    'memory',
    'clock',
    'schema',
    'replicas',
    'scheduler',
    'links',
    'pools',
    'dead letters',
    'invariants',
  ]);
});

test.each<[Partial<Survey>, string[]]>([
  [{ version: '6.2.14' }, ['error redis version: Redis 6.2.14 knows no scripts with flags']],
  [{ version: '8.0.0' }, []],
  [{ version: '' }, ['warn redis version: Redis does not tell its version']],
  [{ evictionPolicy: '' }, ['warn eviction: Redis does not tell its maxmemory-policy']],
  [{ usedBytes: 0, roomBytes: 0 }, []],
  [{ evictionPolicy: 'allkeys-lru' }, ['error eviction: maxmemory-policy is allkeys-lru: a full Redis forgets jobs']],
  [{ usedBytes: 74 * MIB }, []],
  [{ usedBytes: 75 * MIB }, ['warn memory: 75 MiB of 100 MiB used (75 %)']],
  [{ usedBytes: 90 * MIB }, ['error memory: 90 MiB of 100 MiB used (90 %): submissions are refused when it is full']],
  [{ roomBytes: 0 }, []],
  [{ skewMs: -1_001, skewErrorMs: 1 }, []],
  [{ skewMs: -1_002, skewErrorMs: 1 }, ['warn clock: the clock of Redis is 1002 ms behind the one here, give or take 1 ms; more than 1000 ms']],
  [{ schema: undefined }, ['warn schema: no replica has ever started here']],
  [{ schema: SCHEMA + 1 }, [`warn schema: the keys are of schema ${SCHEMA + 1}, this build has ${SCHEMA}: they can work together`]],
  [{ schema: SCHEMA + 2 }, [`error schema: the keys are of schema ${SCHEMA + 2}, this build has ${SCHEMA}`]],
  [{ replicas: [] }, ['error replicas: no replica is alive']],
  [{ replicas: [replica('a', { draining: true })] }, ['error replicas: no replica is alive']],
  [{ replicas: [replica('a'), replica('b', { version: '1.1.0' })] }, ['warn replicas: they are of several versions: 1.0.0, 1.1.0']],
  [{ silent: ['c'] }, ['warn replicas: ended without saying so, or cut off: c']],
  [{ sweptAgoMs: 30_000 }, []],
  [{ sweptAgoMs: 30_001 }, ['warn scheduler: the last health sweep was 30 s ago, they are due every 10000 ms']],
  [{ sweptAgoMs: undefined }, ['warn scheduler: there was no health sweep yet']],
  [{ replicas: [replica('a', { links: 15 }), replica('b', { links: 10 })] }, []],
  [{ replicas: [replica('a', { links: 16 }), replica('b', { links: 10 })] }, ['warn links: a has 16 links, the mean is 13']],
  // Two against none is a matter of chance, not of crowds.
  [{ replicas: [replica('a', { links: 2 }), replica('b', { links: 0 })] }, []],
  [{ pools: [pool('p', { waiting: 5, workers: 0 })] }, ['warn pools: 5 jobs wait in pool p, which has no live worker']],
  [{ pools: [pool('p', { waiting: 0, workers: 0 })] }, []],
])('%j', (survey, said) => {
  expect(examine(survey)).toEqual(said);
});

test('weak durability is an error where it is relied on; broken invariants always are', () => {
  const durable = { config: { DURABILITY: 'durable' as const, HEALTH_INTERVAL_MS: 10_000, DURABILITY_UNCHECKED: false } };
  expect(examine({}, durable)).toEqual([expect.stringMatching(/^error durability: MUSTER_DURABILITY is durable; Redis syncs .* once a second/)]);
  expect(examine({ persistence: { appendonly: false, appendfsync: 'always', failing: false } })).toEqual([
    expect.stringMatching(/^warn durability: MUSTER_DURABILITY is fast; Redis keeps no append-only file/),
  ]);
  const untold = { persistence: { appendonly: true, appendfsync: undefined, failing: false } };
  expect(examine(untold, durable)).toEqual([expect.stringMatching(/^error durability: .* does not tell whether it is synced on every write$/)]);
  const unchecked = { config: { ...durable.config, DURABILITY_UNCHECKED: true } };
  expect(examine(untold, unchecked)).toEqual([expect.stringMatching(/^warn durability: /)]);
  expect(examine({}, { broken: 2 })).toEqual(['error invariants: 2 broken']);
});

test('dead letters are told, and are no fault', () => {
  const said = diagnose({
    survey: { ...WELL, pools: [pool('p', { buried: 3 })] },
    broken: 0,
    config: { DURABILITY: 'fast', HEALTH_INTERVAL_MS: 10_000, DURABILITY_UNCHECKED: false },
  });
  expect(said).toContainEqual({
    check: 'dead letters',
    level: 'ok',
    what: '3 in pool p',
    remedy: '`muster get jobs --pool p --state failed` shows them',
  });
});
