/** Numbers in [0, 1) that a seed repeats (mulberry32: 32 bits of state are enough to draw faults). */
export type Draw = () => number;

export function drawFrom(seed: number): Draw {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

export function between(draw: Draw, low: number, high: number): number {
  return Math.floor(low + draw() * (high - low + 1));
}

/** Throws for an empty list. */
export function pick<T>(draw: Draw, list: readonly T[]): T {
  const one = list[Math.floor(draw() * list.length)];
  if (one === undefined) throw new Error('nothing to pick from');
  return one;
}

export function shuffled<T>(draw: Draw, list: readonly T[]): T[] {
  const left = [...list];
  const out: T[] = [];
  while (left.length > 0) out.push(...left.splice(Math.floor(draw() * left.length), 1));
  return out;
}
