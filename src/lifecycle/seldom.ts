import type { Clock } from '../domain/clock.js';

const EVERY_MS = 5_000;

/**
 * What may happen thousands of times a second is said once in 5 s, each key by itself. Calls `say` with how often it happened since it was
 * said last, this time included. Keys are for the caller to bound.
 */
export function seldom(clock: Clock): (key: string, say: (times: number) => void) => void {
  const said = new Map<string, { at: number; unsaid: number }>();
  return (key, say) => {
    const now = clock.monotonic();
    const last = said.get(key);
    if (last && now - last.at < EVERY_MS) {
      last.unsaid++;
      return;
    }
    said.set(key, { at: now, unsaid: 0 });
    say((last?.unsaid ?? 0) + 1);
  };
}
