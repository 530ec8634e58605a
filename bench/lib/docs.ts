import type { Figure } from '../scenario.js';
import { LOADED, SCALED, short } from './report.js';
import type { Result } from './results.js';

const BEGIN = '<!-- results: written by `npm run bench -- --docs`, do not edit -->';
const END = '<!-- end of results -->';

/** The page with what stands between the two marks written anew. Throws when it has not both of them. */
export function withResults(page: string, scenarios: { name: string; title: string }[], results: (scenario: string) => Result | undefined): string {
  const [begin, end] = [page.indexOf(BEGIN), page.indexOf(END)];
  if (begin < 0 || end < begin) throw new Error(`the page has no ${BEGIN} … ${END}`);
  const sections = scenarios.map(({ name, title }) => section(name, title, results(name)));
  return `${page.slice(0, begin)}${BEGIN}\n\n${sections.join('\n')}\n${page.slice(end)}`;
}

function section(name: string, title: string, result: Result | undefined): string {
  const lines = [`### ${name}`, '', result?.title ?? title, ''];
  if (result === undefined) return [...lines, 'Not measured yet.', ''].join('\n');
  const { machine, rounds, seconds, loaded, scale = 1, figures, peers = [], skipped = [] } = result;
  const { cores, cpu, memoryGiB, node, redis } = machine;
  const first = figures.filter(({ peer, want }) => peer !== null || want !== undefined);
  const others = figures.filter((figure) => !first.includes(figure));
  lines.push(`${cores} cores (${cpu}), ${memoryGiB} GiB, Node ${node}, Redis ${redis}; up to ${rounds} rounds of ${seconds} s.`, '');
  if (loaded) lines.push(`**${LOADED.trim()}**`, '');
  if (scale < 1) lines.push(`**${SCALED.trim()}**`, '');
  lines.push(`![${name}](../bench/results/${name}.svg)`, '');
  for (const { peer, how } of peers) lines.push(`- ${peer}: ${how}`);
  for (const { peer, reason } of skipped) lines.push(`- ${peer} was skipped: ${reason}`);
  if (peers.length + skipped.length > 0) lines.push('');
  if (first.length > 0) lines.push(...table(first), '');
  if (others.length > 0) lines.push('<details><summary>All other figures</summary>', '', ...table(others), '', '</details>', '');
  return lines.join('\n');
}

function table(figures: Figure[]): string[] {
  const rows = figures.map(({ subject, what, unit, median, low, high, peer, peerMedian, ratio, want }) => [
    subject,
    `${what} (${unit})`,
    short(median),
    low === high ? '' : `${short(low)} – ${short(high)}`,
    peer === null ? '' : `${peer}${peerMedian === null ? '' : ` ${short(peerMedian)}`}`,
    ratio === null ? '' : ratio.toFixed(2),
    want === undefined ? '' : `${want.text}: ${want.met ? 'yes' : '**no**'}`,
  ]);
  const head = [
    ['subject', 'measure', 'median', 'range', 'compared to', 'ratio', 'wanted'],
    ['---', '---', '---:', '---:', '---', '---:', '---'],
  ];
  return [...head, ...rows].map((cells) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`);
}
