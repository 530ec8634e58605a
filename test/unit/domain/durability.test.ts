import { expect, test } from 'vitest';
import { evictionRefusal, judgeDurability, type Persistence, refusesToStart } from '../../../src/domain/durability.js';

const persistence = (appendfsync: Persistence['appendfsync'], fields: Partial<Persistence> = {}): Persistence => ({
  ...{ appendonly: true, appendfsync, failing: false, evictionPolicy: 'noeviction' },
  ...fields,
});

test.each<[Persistence, fast: string, durable: string]>([
  [persistence('always'), 'met', 'met'],
  [persistence('everysec'), 'met', 'weaker'],
  [persistence('no'), 'weaker', 'weaker'],
  // A managed service that does not tell.
  [persistence(undefined), 'met', 'unknown'],
  [persistence(undefined, { appendonly: false }), 'weaker', 'weaker'],
  [persistence(undefined, { appendonly: undefined }), 'unknown', 'unknown'],
  [persistence('always', { appendonly: false }), 'weaker', 'weaker'],
  [persistence('always', { failing: true }), 'weaker', 'weaker'],
])('%j is %s for fast, %s for durable', (found, fast, durable) => {
  for (const [asked, verdict] of [
    ['fast', fast],
    ['durable', durable],
  ] as const) {
    const judged = judgeDurability(asked, found);
    expect(judged.verdict).toBe(verdict);
    expect(judged.remedy === '').toBe(verdict === 'met');
  }
});

test.each<['fast' | 'durable', 'met' | 'weaker' | 'unknown', unchecked: boolean, refused: boolean]>([
  ['fast', 'weaker', false, false],
  ['fast', 'unknown', false, false],
  ['durable', 'met', false, false],
  ['durable', 'weaker', false, true],
  ['durable', 'weaker', true, true],
  ['durable', 'unknown', false, true],
  ['durable', 'unknown', true, false],
])('%s, when it is %s and DURABILITY_UNCHECKED is %s: refused %s', (asked, verdict, unchecked, refused) => {
  expect(refusesToStart(asked, { verdict, what: '', remedy: '' }, unchecked)).toBe(refused);
});

test.each(['volatile-lru', 'volatile-lfu', 'volatile-random', 'volatile-ttl', 'allkeys-lru', 'allkeys-lfu', 'allkeys-random', 'something-new'])(
  'maxmemory-policy %s is refused, with the remedy',
  (policy) => {
    expect(evictionRefusal(policy)).toMatch(new RegExp(`maxmemory-policy ${policy}, .*set maxmemory-policy noeviction .*MUSTER_REDIS_URL`));
  },
);

test.each(['noeviction', ''])('maxmemory-policy "%s" is not', (policy) => {
  expect(evictionRefusal(policy)).toBeUndefined();
});
