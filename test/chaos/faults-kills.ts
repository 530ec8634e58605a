import { type Arena, type Fault, fires, freeze, hold, NotFired, standsStill } from './arena.js';
import { pick } from './random.js';
import { LEASE_MS } from './seats.js';

const REDIS_AWAY_MS = 500;
/** What a client has under way when it dies: longer than that takes. */
const UNTOLD = { jobs: 10, ms: '800' };

interface Victim {
  name: string;
  kill(arena: Arena): Promise<void>;
  freeze(arena: Arena, ms: number): Promise<void>;
}

const seatVictim = (name: string, choose: (arena: Arena) => Parameters<typeof freeze>[0]): Victim => ({
  name,
  kill: (arena) => arena.fleet.kill(choose(arena)),
  freeze: (arena, ms) => freeze(choose(arena), ms),
});

const worker = (contract: string) =>
  seatVictim(`${contract}-worker`, ({ fleet, draw }) =>
    pick(
      draw,
      fleet.workers.filter((seat) => seat.contract === contract),
    ),
  );

const redis: Victim = {
  name: 'redis',
  kill: async ({ fleet }) => {
    fleet.redis.kill();
    await hold(REDIS_AWAY_MS);
    await fleet.redis.restart();
  },
  freeze: async ({ fleet }, ms) => {
    fleet.redis.pause();
    await fires('redis stands still', () => standsStill(fleet.redis.pid));
    await hold(ms);
    fleet.redis.resume();
  },
};

const victims: Victim[] = [
  seatVictim('replica', ({ fleet, draw }) => pick(draw, fleet.replicas)),
  ...['runner', 'attached', 'legacy'].map(worker),
  redis,
];

/** Its jobs go on without it, and nobody is told of their ends: Redis says that they came. */
const clientKill: Fault = {
  group: 'kills',
  name: 'client:kill',
  run: async ({ load, draw }) => {
    const seat = pick(draw, load.seats);
    await load.more(UNTOLD.jobs, 'slow', UNTOLD.ms, { seat });
    if ((await load.kill(seat)).length === 0) throw new NotFired(`${seat.id} had nothing under way`);
  },
};

export const killFaults: Fault[] = [
  clientKill,
  ...victims.flatMap(({ name, kill, freeze }): Fault[] => [
    { group: 'kills', name: `${name}:kill`, cutsOff: name === 'redis', run: kill },
    ...Object.entries({ 'stop-1-lease': LEASE_MS, 'stop-3-leases': 3 * LEASE_MS }).map(
      ([how, ms]): Fault => ({
        group: 'kills',
        name: `${name}:${how}`,
        cutsOff: name === 'redis' || name === 'replica',
        run: (arena) => freeze(arena, ms),
      }),
    ),
  ]),
];
