import type { CheckTarget } from '../fleet/ports.js';

const LANES = 50;

/** Checks many, some at once. Rejects when any could not be judged, after all were tried: then the job is repeated, which is harmless. */
export async function runChecks(targets: readonly CheckTarget[], check: (target: CheckTarget) => Promise<unknown>): Promise<void> {
  let next = 0;
  let failed: unknown;
  const lane = async () => {
    for (let target = targets[next++]; target; target = targets[next++]) {
      try {
        await check(target);
      } catch (error) {
        failed ??= error;
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(LANES, targets.length) }, lane));
  if (failed !== undefined) throw failed;
}
