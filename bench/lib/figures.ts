import type { Figure } from '../scenario.js';
import type { Samples } from './rounds.js';
import { median } from './stats.js';

export interface Comparison {
  scenario: string;
  subject: string;
  peer: string;
  what: string;
  unit: string;
  /** The ratio that is wanted. */
  want?: { atLeast: number } | { atMost: number };
}

function values(samples: Samples, subject: string, what: string): number[] {
  return (samples.get(subject) ?? []).flatMap((sample) => sample.get(what) ?? []);
}

export function compare(samples: Samples, { scenario, subject, peer, what, unit, want }: Comparison): Figure {
  const own = values(samples, subject, what);
  const theirs = values(samples, peer, what);
  const ratio = median(own.map((value, i) => value / (theirs[i] ?? Number.NaN)));
  const figure = { ...plain(scenario, subject, what, unit, own), peer, peerMedian: median(theirs), ratio };
  if (want === undefined) return figure;
  const [text, met] = 'atLeast' in want ? [`ratio ≥ ${want.atLeast}`, ratio >= want.atLeast] : [`ratio ≤ ${want.atMost}`, ratio <= want.atMost];
  return { ...figure, want: { text, met } };
}

/** Every measure of a subject whose name begins so, one figure each; `most`: what each may be. */
export function details(samples: Samples, scenario: string, subject: string, prefix: string, unit: string, most?: number): Figure[] {
  const names = [...(samples.get(subject)?.[0]?.keys() ?? [])].filter((name) => name.startsWith(prefix));
  return names.map((what) => plain(scenario, subject, what, unit, values(samples, subject, what), most));
}

/** A number on its own; `most`: what it may be. */
export function plain(scenario: string, subject: string, what: string, unit: string, own: number[], most?: number): Figure {
  const figure: Figure = {
    scenario,
    subject,
    peer: null,
    what,
    median: median(own),
    low: Math.min(...own),
    high: Math.max(...own),
    peerMedian: null,
    ratio: null,
    unit,
    rounds: own.length,
  };
  return most === undefined ? figure : { ...figure, want: { text: `≤ ${most}`, met: figure.median <= most } };
}
