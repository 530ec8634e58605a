import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Figure, Notes, Scenario } from '../scenario.js';
import { pictureOf } from './picture.js';
import type { Run } from './report.js';

/** `<scenario>.json` of a folder of results. */
export interface Result extends Run, Notes {
  scenario: string;
  title: string;
  figures: Figure[];
}

/** `<scenario>.json` and `<scenario>.svg` in that folder; those before are replaced. */
export function writeResult(folder: string, { name, title }: Scenario, figures: Figure[], notes: Notes, run: Run): void {
  const result: Result = { scenario: name, title, ...run, ...notes, figures: figures.map(rounded) };
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, `${name}.json`), `${JSON.stringify(result, null, 2)}\n`);
  drawResult(folder, name);
}

/** `<scenario>.svg` out of `<scenario>.json`, where there is one. */
export function drawResult(folder: string, scenario: string): void {
  const result = readResult(folder, scenario);
  if (result !== undefined) writeFileSync(join(folder, `${scenario}.svg`), pictureOf(result));
}

/** Undefined: it was not measured. */
export function readResult(folder: string, scenario: string): Result | undefined {
  const file = join(folder, `${scenario}.json`);
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Result) : undefined;
}

function rounded(figure: Figure): Figure {
  const entries = Object.entries(figure).map(([key, value]) => [key, typeof value === 'number' ? Number(value.toPrecision(5)) : value]);
  return Object.fromEntries(entries) as Figure;
}
