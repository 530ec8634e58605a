import { expect, test } from 'vitest';
import type { Link } from '../../../src/domain/link.js';
import { Levelling } from '../../../src/fleet/levelling.js';
import { drawFrom } from '../../chaos/random.js';
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
  const levelling = new Levelling({ links: { size: all.length, all: () => all }, clock, random: () => 0, roundMs: BEAT_MS, forgetMs: FORGET_MS });
  return { asked, clock, levelling };
}

test.each([
  { what: 'nobody else is there', others: [], moved: 0 },
  { what: 'the others have as many', others: [60, 58], moved: 0 },
  { what: 'it has one more than the mean', others: [58], moved: 0 },
  { what: 'it has just less than a tenth more than the mean', others: [52, 52], moved: 0 },
  { what: 'it has just more than a tenth more than the mean', others: [51, 51], moved: 6 },
  { what: 'it has all: all that is too many', others: [0], moved: 30 },
  { what: 'it has far more than two others', others: [10, 10], moved: 34 },
])('$what: $moved of 60 links are asked to move, over the round', async ({ others, moved }) => {
  const { asked, clock, levelling } = fleet(60, 0);
  expect(levelling.round(others)).toBe(moved);
  expect(asked.length).toBeLessThanOrEqual(Math.ceil(moved / 14));
  await clock.pass(BEAT_MS);
  expect(asked).toHaveLength(moved);
});

test('a round asks 500 at the most', () => {
  expect(fleet(5_000, 0).levelling.round([0])).toBe(500);
});

test('dialed workers are not asked, and count', async () => {
  const { asked, clock, levelling } = fleet(2, 58);
  expect(levelling.round([0])).toBe(2);
  await clock.pass(BEAT_MS);
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

/** Where a worker goes that replica `from` asked to move: those of a seed are the same each time. */
type Picker = (counts: number[], from: number, draw: () => number) => number;
const pickers: { how: string; pick: Picker; share: number }[] = [
  { how: 'a balancer picks the replica with the fewest links', pick: (counts) => counts.indexOf(Math.min(...counts)), share: 0.9 },
  { how: 'each picks any other replica', pick: (_, from, draw) => (from + 1 + Math.floor(2 * draw())) % 3, share: 0.9 },
  { how: 'each picks any replica', pick: (_, __, draw) => Math.floor(3 * draw()), share: 0.8 },
];

test.each(pickers)('a replica that comes back gets its third of 2,000 workers within 10 s, and rebalancing ends: $how', async ({ pick, share }) => {
  const clock = new FakeClock();
  const draw = drawFrom(7);
  const links: Link[][] = [[], [], []];
  let moves = 0;
  const attach = (id: string, at: number) => {
    const link = { ref: { pool: 'p', id, boot: 'b', link: '1' }, contract: 'ATTACHED', reattach: () => move(link, at) } as unknown as Link;
    links[at]?.push(link);
  };
  const move = (link: Link, from: number) => {
    moves++;
    const own = links[from] ?? [];
    own.splice(own.indexOf(link), 1);
    attach(link.ref.id, pick(counts(), from, draw));
  };
  const counts = () => links.map((own) => own.length);
  for (let n = 0; n < 2_000; n++) attach(`w${n}`, n % 2);
  const replicas = links.map(
    (own) =>
      new Levelling({
        links: {
          get size() {
            return own.length;
          },
          all: () => own,
        },
        clock,
        random: draw,
        roundMs: BEAT_MS,
        forgetMs: FORGET_MS,
      }),
  );
  // What the others are told is a round old, and their rounds are not at the same time.
  const told = counts();
  const round = async (at: number) => {
    told[at] = links[at]?.length ?? 0;
    const asked = replicas[at]?.round(told.filter((_, other) => other !== at));
    await clock.pass(BEAT_MS / 3);
    return asked ?? 0;
  };
  for (let n = 0; n < 5; n++) for (const at of [0, 1, 2]) await round(at);
  expect(Math.min(...counts())).toBeGreaterThan(share * (2_000 / 3));
  for (let n = 0; n < 5; n++) for (const at of [0, 1, 2]) await round(at);
  expect(await round(0)).toBe(0);
  expect(moves).toBeLessThan(2_500);
});
