import type { Children } from './lib/children.js';
import type { Options } from './options.js';

/** What a scenario is given. */
export interface Bench {
  options: Options;
  children: Children;
  /** Progress, for people: goes to stderr. */
  say(text: string): void;
  /** Resolves when nothing else uses the machine; rejects with Loaded when that does not happen in time. */
  quiet(): Promise<void>;
  /** A peer of this scenario, and in which way it is used. */
  used(peer: string, how: string): void;
  /** A peer that this scenario goes without. */
  skipped(peer: string, reason: string): void;
}

/** What is told beside the figures of a scenario. */
export interface Notes {
  peers: { peer: string; how: string }[];
  skipped: { peer: string; reason: string }[];
}

/** One number, or a comparison of two when there is a peer. */
export interface Figure {
  scenario: string;
  subject: string;
  peer: string | null;
  /** What is measured: `jobs`, `p50`, `CPU of the replica` … */
  what: string;
  median: number;
  /** Of the rounds. */
  low: number;
  high: number;
  peerMedian: number | null;
  /** The median of the rounds' own ratios, since what disturbs one round disturbs both sides of it. */
  ratio: number | null;
  unit: string;
  rounds: number;
  want?: { text: string; met: boolean };
}

/** One file of `scenarios/`. */
export interface Scenario {
  name: string;
  title: string;
  run(bench: Bench): Promise<Figure[]>;
}
