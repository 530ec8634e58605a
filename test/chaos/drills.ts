import { fileURLToPath } from 'node:url';
import { BALANCERS, binaryOf } from '../rolling/balancers.js';
import { frozen } from '../rolling/frozen.js';

/** A scenario with a topology of its own and times of production, and bounds for what it may cost. */
export interface Drill {
  name: string;
  /** Why it cannot be done here; undefined: it can. */
  lacks(): string | undefined;
  run(tell: (line: string) => void): Promise<Drilled>;
}

export interface Drilled {
  figures: Record<string, number>;
  /** Each a bound that did not hold. */
  violations: string[];
}

const MAIN = fileURLToPath(new URL('../../dist/main.js', import.meta.url));
const FROZEN_MS = 30_000;
/** Two heartbeat intervals of 3 s, half of one in which the first is not noticed, another stream, and a busy machine. */
const HELD_MOST_MS = 15_000;
/** nginx does not notice that a replica hangs: each try that meets it costs 6 s more, and one of three does. */
const NGINX_MOST_MS = 27_000;
/** Those who are on other replicas lose a third of the fleet for as long, and wait for jobs that it holds. */
const OTHER_MOST_MS = 4_000;

const frozenReplica = (balancer: (typeof BALANCERS)[number] | 'none'): Drill => ({
  name: `${balancer}:frozen-replica`,
  lacks: () => (balancer === 'none' || binaryOf(balancer) !== undefined ? undefined : `needs ${balancer} on PATH`),
  run: async (tell) => {
    const found = await frozen({ balancer, frozenMs: FROZEN_MS, main: MAIN, tell });
    const pauses = balancer === 'nginx' ? NGINX_MOST_MS : HELD_MOST_MS;
    const bounds = { lost: 0, failed: 0, heldPauseMs: pauses, otherPauseMs: OTHER_MOST_MS, workersBackMs: pauses };
    const violations = Object.entries(bounds).flatMap(([name, most]) => {
      const value = found[name as keyof typeof bounds];
      return value <= most ? [] : [`${name} is ${value}, ${most} is allowed`];
    });
    if (found.heldClients + found.heldWorkers === 0) violations.push('nobody was on the frozen replica');
    return { figures: { ...found }, violations };
  },
});

/** By name with `--only drills/…`, or all with `--only drills`. */
export const DRILLS: readonly Drill[] = [...BALANCERS, 'none' as const].map(frozenReplica);
