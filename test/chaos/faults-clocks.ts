import { unshiftable } from '../helpers/shifted-clock.js';
import { type Arena, type Fault, fires, hold } from './arena.js';

const HOUR_MS = 3_600_000;
/** Ticks, beats, sweeps and an outage's grace pass in it. */
const OFF_MS = 2_500;
/** What asking for the time may take on a busy machine. */
const NEAR_MS = 5_000;

/** The time in ms as that process has it. */
const TIMES: Record<'redis' | 'replica', (arena: Arena) => Promise<number>> = {
  redis: async ({ fleet }) => Number((await fleet.direct.time())[0]) * 1_000,
  replica: async ({ fleet }) => Date.parse((await fetch(`http://127.0.0.1:${fleet.shifted.httpPort}/livez`)).headers.get('date') ?? ''),
};

async function shift(arena: Arena, whose: 'redis' | 'replica', byMs: number): Promise<void> {
  const clock = arena.fleet.backing.clocks?.[whose];
  if (!clock) throw new Error(`the clock of ${whose} cannot be shifted in this fleet`);
  clock.shift(byMs);
  const there = async () => Math.abs((await TIMES[whose](arena)) - Date.now() - byMs) < NEAR_MS;
  await fires(`the clock of ${whose} is ${byMs} ms off`, there);
}

/** An hour off under load, and right again: both are jumps. */
export const clockFaults: Fault[] = (['replica', 'redis'] as const).flatMap((whose) =>
  ([1, -1] as const).map(
    (hours): Fault => ({
      group: 'clocks',
      name: `${whose}:${hours > 0 ? 'ahead' : 'behind'}`,
      fleet: 'clocks',
      lacks: unshiftable,
      run: async (arena) => {
        await shift(arena, whose, hours * HOUR_MS);
        await hold(OFF_MS);
        await shift(arena, whose, 0);
      },
    }),
  ),
);
