import { readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { CpuReading } from './cpu.js';

/** Cores that others may use while something is measured. */
export const OTHERS_MAX = 0.25;
const LOOK_MS = 500;
const PATIENCE_MS = 60_000;
/** Of those who take figures of a loaded machine too. */
const FORCED_PATIENCE_MS = 2_000;

export class Loaded extends Error {}

/** Waits until the processes of others leave the machine alone. Rejects with Loaded after a minute, `forced` after two seconds. `own` are ours, by name. */
export async function untilQuiet(own: () => ReadonlyMap<string, number>, say: (text: string) => void, forced: boolean): Promise<void> {
  const end = performance.now() + (forced ? FORCED_PATIENCE_MS : PATIENCE_MS);
  for (let told = false; ; told = true) {
    const before = new CpuReading(own());
    await pause(LOOK_MS);
    const others = new CpuReading(own()).othersSince(before);
    if (others <= OTHERS_MAX) return;
    if (!told) say(`waiting: other processes use ${others.toFixed(2)} cores`);
    if (performance.now() > end) {
      const load = readFileSync('/proc/loadavg', 'utf8').split(' ').slice(0, 3).join(' ');
      throw new Loaded(
        `other processes use ${others.toFixed(2)} cores (load ${load}), more than ${OTHERS_MAX}: end them, or report anyway with --force`,
      );
    }
  }
}
