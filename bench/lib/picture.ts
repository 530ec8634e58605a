import type { Figure } from '../scenario.js';
import { short } from './report.js';
import type { Result } from './results.js';

const WIDTH = 900;
const ROW = 34;
const HEAD = 46;
const NAMES = 420;
const VALUES = 190;
const BARS = WIDTH - NAMES - VALUES;
const BAR = 12;
/** Bars end there; the number says more. */
const LONGEST = 5;

interface Row {
  name: string;
  value: string;
  /** Of what it is compared to: a peer's, or what is wanted. Undefined: of nothing. */
  part: number | undefined;
  met: boolean | undefined;
}

/** A bar for each comparison and each figure that something is wanted of, the line at what it is compared to. Light or dark as the page is. */
export function pictureOf({ scenario, figures, loaded, scale }: Pick<Result, 'scenario' | 'figures' | 'loaded' | 'scale'>): string {
  const compared = figures.filter(({ ratio, want }) => ratio !== null || want !== undefined);
  const rows = (compared.length > 0 ? compared : figures).map(rowOf);
  const longest = Math.min(LONGEST, Math.max(1, ...rows.map(({ part }) => part ?? 0)) * 1.05);
  const height = HEAD + rows.length * ROW + 8;
  const one = NAMES + BARS / longest;
  const mark = loaded || (scale ?? 1) < 1 ? ' (no figures to quote)' : '';
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img" aria-label="${escaped(scenario)}">
<style>
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.small { font-size: 11px; fill: #59636e }
.bar { fill: #3b82d0 } .met { fill: #2da160 } .missed { fill: #d9713c }
line { stroke: #59636e; stroke-dasharray: 3 3 }
@media (prefers-color-scheme: dark) { text { fill: #f0f6fc } .small { fill: #9198a1 } line { stroke: #9198a1 } }
</style>
<text x="8" y="22">${escaped(`${scenario}${mark}`)}</text>
<text class="small" x="${one}" y="22" text-anchor="middle">1 = peer, or what is wanted</text>
<line x1="${one}" y1="30" x2="${one}" y2="${height - 4}"/>
${rows.map((row, i) => drawn(row, HEAD + i * ROW, longest)).join('\n')}
</svg>
`;
}

function drawn({ name, value, part, met }: Row, y: number, longest: number): string {
  const kind = met === undefined ? 'bar' : met ? 'met' : 'missed';
  const length = (Math.min(part ?? 0, longest) / longest) * BARS;
  const bar = part === undefined ? '' : `<rect class="${kind}" x="${NAMES}" y="${y}" width="${length.toFixed(1)}" height="${BAR}" rx="2"/>`;
  const middle = y + BAR - 1;
  return `<text x="8" y="${middle}">${escaped(name)}</text>${bar}<text x="${WIDTH - 8}" y="${middle}" text-anchor="end">${escaped(value)}</text>`;
}

function rowOf({ subject, peer, what, median, unit, ratio, want }: Figure): Row {
  const name = `${subject}${peer === null ? '' : ` : ${peer}`} · ${what}`;
  if (ratio !== null) return { name, value: `${ratio.toFixed(2)} × (${short(median)} ${unit})`, part: ratio, met: want?.met };
  const limit = Number(/[\d.]+/.exec(want?.text ?? '')?.[0] ?? Number.NaN);
  const value = `${short(median)} ${unit}${want ? ` (${want.text})` : ''}`;
  return { name, value, part: limit > 0 ? median / limit : undefined, met: want?.met };
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
}
