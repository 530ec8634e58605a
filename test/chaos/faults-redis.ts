import { type Arena, type Fault, fires, hold, NotFired } from './arena.js';
import { TIME_SCALE } from './fleet.js';

const AWAY_MS = 500;
const FULL_MS = 2_000;
const OUTAGE_MS = 31_000 * TIME_SCALE;
/** Longer than the outage: their leases are what it must not cost. */
const LONG_JOB_MS = '4000';
const LONG_JOBS = 30;

async function restart({ fleet }: Arena, appendfsync: 'always' | 'everysec', awayMs = AWAY_MS): Promise<void> {
  await fleet.direct.config('SET', 'appendfsync', appendfsync);
  fleet.redis.kill();
  await hold(awayMs);
  await fleet.redis.restart();
}

async function refusedAsFull({ fleet }: Arena): Promise<number> {
  const stats = await fleet.direct.info('errorstats');
  return Number(stats.match(/errorstat_OOM:count=(\d+)/)?.[1] ?? 0);
}

const FAULTS: Record<string, (arena: Arena) => Promise<void>> = {
  'restart:always': (arena) => restart(arena, 'always'),
  'restart:everysec': (arena) => restart(arena, 'everysec'),
  'script-flush': async ({ fleet }) => {
    const answer = await fleet.direct.script('FLUSH');
    if (answer !== 'OK') throw new NotFired(String(answer));
  },
  'client-kill': async ({ fleet }) => {
    const killed = await fleet.direct.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
    if (!(Number(killed) > 0)) throw new NotFired(`${killed} were killed`);
  },
  maxmemory: async (arena) => {
    const { direct } = arena.fleet;
    const before = await refusedAsFull(arena);
    await direct.config('SET', 'maxmemory', '1mb');
    await hold(FULL_MS);
    await fires('a full Redis refused something', async () => (await refusedAsFull(arena)) > before);
    await direct.config('SET', 'maxmemory', '0');
  },
  'outage-31s': async (arena) => {
    await arena.load.more(LONG_JOBS, 'slow', LONG_JOB_MS);
    await restart(arena, 'always', OUTAGE_MS);
  },
};

export const redisFaults: Fault[] = Object.entries(FAULTS).map(([name, run]) => ({ group: 'redis', name, cutsOff: name !== 'script-flush', run }));
