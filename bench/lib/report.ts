import { cpus, totalmem } from 'node:os';
import Table from 'cli-table3';
import type { Figure, Notes, Scenario } from '../scenario.js';

/** What figures depend on. Neither names nor paths: results are public. */
export interface Machine {
  cores: number;
  cpu: string;
  memoryGiB: number;
  node: string;
  redis: string;
}

export interface Run {
  machine: Machine;
  rounds: number;
  seconds: number;
  /** Part of the large fleets, bursts and backlogs; less than 1: no figures to quote. */
  scale: number;
  /** Other processes used the machine meanwhile: no figures to quote. */
  loaded: boolean;
}

export function machine(redis: string): Machine {
  const [first] = cpus();
  return {
    cores: cpus().length,
    cpu: first?.model ?? 'unknown',
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    node: process.versions.node,
    redis,
  };
}

const HEAD = ['subject', 'measure', 'median', 'range', 'peer', 'its median', 'ratio', 'want'];
export const LOADED = 'LOADED: other processes used this machine; no figures to quote\n';
export const SCALED = 'SCALED: fleets, bursts and backlogs were smaller than they should be; no figures to quote\n';

export function printTable(scenario: Scenario, figures: Figure[], { peers, skipped }: Notes, run: Run): void {
  const table = new Table({
    head: HEAD,
    style: { head: [], border: [] },
    colAligns: ['left', 'left', 'right', 'right', 'left', 'right', 'right', 'left'],
  });
  for (const { subject, what, unit, median, low, high, peer, peerMedian, ratio, want } of figures) {
    const verdict = want === undefined ? '' : `${want.text} ${want.met ? 'yes' : 'NO'}`;
    const range = low === high ? '' : `${short(low)} – ${short(high)}`;
    table.push([
      subject,
      `${what} (${unit})`,
      short(median),
      range,
      peer ?? '',
      peerMedian === null ? '' : short(peerMedian),
      ratio?.toFixed(2) ?? '',
      verdict,
    ]);
  }
  for (const { peer, reason } of skipped) table.push([peer, { content: `skipped: ${reason}`, colSpan: HEAD.length - 1 }]);
  const how = peers.map((used) => `${used.peer}: ${used.how}\n`).join('');
  const rounds = Math.max(...figures.map((figure) => figure.rounds));
  process.stdout.write(
    `\n${scenario.name}: ${scenario.title} (${rounds > 1 ? `median of ${rounds} rounds` : 'one round'})\n${run.loaded ? LOADED : ''}${run.scale < 1 ? SCALED : ''}${table.toString()}\n${how}`,
  );
}

/** One line a figure, and one for each peer that was skipped. */
export function printJson({ name }: Scenario, figures: Figure[], { skipped }: Notes, run: Run): void {
  const marks = { ...(run.loaded ? { loaded: true } : {}), ...(run.scale < 1 ? { scale: run.scale } : {}) };
  for (const figure of figures) process.stdout.write(`${JSON.stringify({ ...figure, ...marks })}\n`);
  for (const one of skipped) process.stdout.write(`${JSON.stringify({ scenario: name, skipped: one })}\n`);
}

/** Three digits that count. */
export function short(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3);
}
