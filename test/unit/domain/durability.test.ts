import { expect, test } from 'vitest';
import { judgeDurability, type Persistence, refusesToStart } from '../../../src/domain/durability.js';

const persistence = (appendfsync: Persistence['appendfsync'], fields: Partial<Persistence> = {}): Persistence => ({
  ...{ appendonly: true, appendfsync, failing: false },
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
