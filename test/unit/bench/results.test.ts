import { expect, test } from 'vitest';
import { withResults } from '../../../bench/lib/docs.js';
import { pictureOf } from '../../../bench/lib/picture.js';
import type { Result } from '../../../bench/lib/results.js';
import type { Figure } from '../../../bench/scenario.js';

const figure = (fields: Partial<Figure>): Figure => ({
  ...{ scenario: 'X1', subject: 'attached', peer: null, what: 'jobs', median: 1_000, low: 900, high: 1_100, peerMedian: null },
  ...{ ratio: null, unit: 'jobs/s', rounds: 5 },
  ...fields,
});
const result = (figures: Figure[], fields: Partial<Result> = {}): Result => ({
  ...{ scenario: 'X1', title: 'a title', machine: { cores: 2, cpu: 'C', memoryGiB: 8, node: '20', redis: '7' }, rounds: 5, seconds: 4 },
  ...{ scale: 1, loaded: false, peers: [], skipped: [], figures },
  ...fields,
});
const compared = figure({ peer: 'a|b', peerMedian: 500, ratio: 2, want: { text: 'ratio ≥ 3', met: false } });

const BEGIN = '<!-- results: written by `npm run bench -- --docs`, do not edit -->';
const END = '<!-- end of results -->';

test('the page keeps what is around the marks, and says the same when it is written again', () => {
  const scenarios = [
    { name: 'X1', title: 'old' },
    { name: 'X2', title: 'another' },
  ];
  const read = (name: string) => (name === 'X1' ? result([compared, figure({ what: 'p50', unit: 'ms', median: 1.234 })]) : undefined);
  const page = withResults(`before\n${BEGIN}\nold\n${END}\nafter\n`, scenarios, read);
  expect(page).toMatch(/^before\n/);
  expect(page).toMatch(/\nafter\n$/);
  expect(page).not.toContain('old');
  expect(page).toContain('| attached | jobs (jobs/s) | 1000 | 900 – 1100 | a\\|b 500 | 2.00 | ratio ≥ 3: **no** |');
  // What is compared to nothing stands apart.
  expect(page.indexOf('p50 (ms)')).toBeGreaterThan(page.indexOf('<details>'));
  expect(page).toContain('### X2\n\nanother\n\nNot measured yet.');
  expect(withResults(page, scenarios, read)).toBe(page);
});

test('figures of a loaded machine, and of less than the whole, are marked', () => {
  const page = (fields: Partial<Result>) => withResults(`${BEGIN}${END}`, [{ name: 'X1', title: '' }], () => result([compared], fields));
  expect(page({})).not.toMatch(/LOADED|SCALED/);
  expect(page({ loaded: true })).toContain('**LOADED');
  expect(page({ scale: 0.5 })).toContain('**SCALED');
  expect(pictureOf(result([compared], { loaded: true }))).toContain('no figures to quote');
});

test('a page without the marks is refused', () => {
  expect(() => withResults(`${END}${BEGIN}`, [], () => undefined)).toThrow('the page has no');
});

/** Widths of the bars, by kind. */
const bars = (svg: string) =>
  [...svg.matchAll(/<rect class="(\w+)" .*? width="([\d.]+)"/g)].map(([, kind, width]) => ({ kind, width: Number(width) }));

test('a bar is as long as its ratio, and one that is far too long ends at the edge', () => {
  const of = (...ratios: number[]) => bars(pictureOf(result(ratios.map((ratio) => figure({ peer: 'p', peerMedian: 1, ratio })))));
  const [one, two] = of(1, 2);
  expect((two?.width ?? 0) / (one?.width ?? 1)).toBeCloseTo(2, 1);
  const [far, farther] = of(50, 500);
  expect(far?.width).toBe(farther?.width);
});

test('a figure that something is wanted of is a part of that; names are text, not markup', () => {
  const svg = pictureOf(
    result([
      figure({ subject: '<b> & "c"', want: { text: '≤ 2000', met: true } }),
      figure({ median: 0, want: { text: '≤ 0', met: true } }),
      figure({ peer: 'p', peerMedian: 1, ratio: 0.25, want: { text: 'ratio ≥ 1', met: false } }),
      figure({ what: 'not compared' }),
    ]),
  );
  const [met, missed] = bars(svg);
  expect([met?.kind, missed?.kind]).toEqual(['met', 'missed']);
  expect((met?.width ?? 0) / (missed?.width ?? 1)).toBeCloseTo(2, 1);
  expect(bars(svg)).toHaveLength(2);
  expect(svg).toContain('&lt;b&gt; &amp; &quot;c&quot;');
  expect(svg).not.toContain('not compared');
});
