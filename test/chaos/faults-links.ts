import { type Arena, type Fault, fires, hold } from './arena.js';
import { type FaultProxy, PROXY_FAULTS } from './proxy.js';
import { between, pick } from './random.js';

const HOLD_MS = { least: 500, most: 4_000 };

const LINKS: Record<string, (arena: Arena) => FaultProxy | undefined> = {
  redis: ({ fleet, draw }) => pick(draw, fleet.replicas).redis,
  workers: ({ fleet, draw }) => pick(draw, fleet.replicas).workers,
  clients: ({ fleet, draw }) => pick(draw, fleet.replicas).clients,
  dial: ({ fleet, draw }) =>
    pick(
      draw,
      fleet.workers.filter(({ dial }) => dial !== undefined),
    ).dial,
};

/** Each fault of the proxy on one link of each kind. */
export const linkFaults: Fault[] = Object.entries(LINKS).flatMap(([link, choose]) =>
  PROXY_FAULTS.map(
    (what): Fault => ({
      group: 'links',
      name: `${link}:${what}`,
      cutsOff: link === 'redis',
      run: async (arena) => {
        const proxy = choose(arena);
        if (!proxy) throw new Error(`no proxy on ${link}`);
        proxy.set(what);
        await hold(between(arena.draw, HOLD_MS.least, HOLD_MS.most));
        await fires(`${what} on ${link} met something`, () => proxy.hits > 0);
        proxy.set(undefined);
      },
    }),
  ),
);
