import { expect, test } from 'vitest';
import type { Link } from '../../../src/domain/link.js';
import { Levelling } from '../../../src/fleet/levelling.js';
import { FakeClock } from '../../helpers/fake-clock.js';

const FORGET_MS = 300_000;
const BEAT_MS = 2_000;

function fleet(attached: number, dialed: number) {
  const asked: string[] = [];
  const link = (id: string, contract: string) =>
    ({ ref: { pool: 'p', id, boot: 'b', link: '1' }, contract, reattach: () => void asked.push(id) }) as unknown as Link;
  const all = [
    ...Array.from({ length: attached }, (_, n) => link(`a${n}`, 'ATTACHED')),
    ...Array.from({ length: dialed }, (_, n) => link(`d${n}`, 'RUNNER')),
  ];
  const clock = new FakeClock();
  const levelling = new Levelling({ links: { size: all.length, all: () => all }, clock, random: () => 0, forgetMs: FORGET_MS });
  return { asked, clock, levelling };
}

test.each([
  { what: 'nobody else is there', others: [], moved: 0 },
  { what: 'the others have as many', others: [60, 58], moved: 0 },
  { what: 'it has one more than the mean', others: [58], moved: 0 },
  { what: 'it has a fifth more than the mean', others: [45, 45], moved: 0 },
  { what: 'it has all: a sixth of what is too many', others: [0], moved: 5 },
  { what: 'it has far more than two others', others: [10, 10], moved: 6 },
])('$what: $moved of 60 links are asked to move', ({ others, moved }) => {
  const { asked, levelling } = fleet(60, 0);
  expect(levelling.round(others)).toBe(moved);
  expect(asked).toHaveLength(moved);
});

test('dialed workers are not asked, and count', () => {
  const { asked, levelling } = fleet(2, 58);
  expect(levelling.round([0])).toBe(2);
  expect(asked).toEqual(['a0', 'a1']);
});

test('a worker that comes back each time is asked ever less often, and not for ever', async () => {
  const { asked, clock, levelling } = fleet(1, 59);
  const gaps: number[] = [];
  let last = clock.monotonic();
  while (asked.length < 9) {
    const before = asked.length;
    levelling.round([0]);
    if (asked.length > before) {
      gaps.push((clock.monotonic() - last) / BEAT_MS);
      last = clock.monotonic();
    }
    await clock.pass(BEAT_MS);
  }
  expect(gaps).toEqual([0, 1, 1, 2, 4, 8, 16, 32, 64]);
});
