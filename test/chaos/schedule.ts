import { type Fault, GROUPS } from './arena.js';
import { clockFaults } from './faults-clocks.js';
import { clusterFaults } from './faults-cluster.js';
import { failpointFaults } from './faults-failpoints.js';
import { hostileFaults } from './faults-hostile.js';
import { killFaults } from './faults-kills.js';
import { linkFaults } from './faults-links.js';
import { redisFaults } from './faults-redis.js';
import { workerFaults } from './faults-workers.js';
import { between, drawFrom, shuffled } from './random.js';

export const FAULTS: readonly Fault[] = [
  ...failpointFaults,
  ...killFaults,
  ...linkFaults,
  ...redisFaults,
  ...clusterFaults,
  ...clockFaults,
  ...workerFaults,
  ...hostileFaults,
];

export interface Planned {
  fault: Fault;
  /** Of this trial alone. */
  seed: number;
}

const SEED_MAX = 2 ** 31 - 1;

/** The faults that `only` means: all, a group, or those of a group whose names begin so (`links/redis:`). Empty: it means none. */
export function chosen(only: string | undefined): Fault[] {
  if (only === undefined) return FAULTS.filter(({ asked }) => !asked);
  const [group, ...rest] = only.split('/');
  const name = rest.join('/');
  return FAULTS.filter((fault) => fault.group === group && (fault.asked ? fault.name === name : fault.name.startsWith(name)));
}

/**
 * So many trials a group: each fault once in an order that the seed draws, then again. The same seed is the same plan. Those that need the same
 * kind of fleet come together, for a fleet takes longer to start than most faults last.
 */
export function plan(faults: readonly Fault[], trials: number, seed: number): Planned[] {
  const draw = drawFrom(seed);
  return GROUPS.flatMap((group) => {
    const own = faults.filter((fault) => fault.group === group);
    if (own.length === 0) return [];
    const order: Fault[] = [];
    while (order.length < trials) order.push(...shuffled(draw, own));
    return byFleet(order.slice(0, trials)).map((fault) => ({ fault, seed: between(draw, 1, SEED_MAX) }));
  });
}

function byFleet(faults: readonly Fault[]): Fault[] {
  const kinds = [...new Set(faults.map(({ fleet }) => fleet))];
  return kinds.flatMap((kind) => faults.filter(({ fleet }) => fleet === kind));
}
