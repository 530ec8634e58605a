import { setTimeout as pause } from 'node:timers/promises';

const LOOK_MS = 50;

/** Resolves with how long it took (ms) until that was true. Rejects after `patienceMs`, with what was waited for. */
export async function until(is: () => Promise<boolean>, what: string, patienceMs: number): Promise<number> {
  const from = performance.now();
  while (!(await is())) {
    if (performance.now() - from > patienceMs) throw new Error(`waited ${patienceMs / 1_000} s for ${what}`);
    await pause(LOOK_MS);
  }
  return performance.now() - from;
}

/** ms. */
export async function timed(run: () => Promise<unknown>): Promise<number> {
  const from = performance.now();
  await run();
  return performance.now() - from;
}
