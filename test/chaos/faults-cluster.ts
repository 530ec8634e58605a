import { keys } from '../../src/store/keys.js';
import { type Arena, Broken, type Fault, fires, hold } from './arena.js';
import { POOL, TIME_SCALE } from './seats.js';

/** A whole shard is away for 20 s of real time; and longer than one command timeout, which is not scaled. */
const DOWN_MS = Math.max(20_000 * TIME_SCALE, 3_000);
/**
 * Bounds in which no job of a pool ends. Pools of other shards: 1 s is what the design wants; processes that start and the processors that all of
 * them share come on top. Pools of the shard: from the moment that it is back.
 */
const PAUSE_MS = { others: 1_500, ownBack: 6_000, ownFailover: 10_000 };
/** What a master acknowledged so shortly before its death its replica may lack. */
const LAG_MS = 300;

/** The two pools of the fleet share a shard; the list of pools, the ticker's lock, and BullMQ have another, and the list of replicas the third. */
function clusterOf({ fleet }: Arena) {
  const { cluster } = fleet.backing;
  if (!cluster) throw new Error('this fleet has no Cluster');
  return cluster;
}

/** The longest time between `from` and `to` in which no job of the fleet was told to have ended. ms since 1970. */
function longestPause({ load }: Arena, from: number, to: number): number {
  const ends = load.operations.flatMap(({ end }) => (end && end.at > from && end.at < to ? end.at : []));
  const marks = [from, ...ends.sort((a, b) => a - b), to];
  return Math.max(...marks.slice(1).map((at, i) => at - (marks[i] ?? at)));
}

function within(arena: Arena, what: string, ms: number, bound: number): void {
  arena.measured(what, ms);
  if (ms > bound) throw new Broken(`${what}: ${Math.round(ms)} ms, and ${bound} is the bound`);
}

async function takeShard(arena: Arena, key: string, how: 'kill' | 'mute'): Promise<{ from: number; to: number }> {
  const from = Date.now();
  const bringBack = await clusterOf(arena).takeShard(key, how);
  try {
    await hold(DOWN_MS);
    return { from, to: Date.now() };
  } finally {
    await bringBack();
  }
}

/** A shard that has none of the pools' keys: their jobs go on. */
async function others(arena: Arena, key: string, how: 'kill' | 'mute'): Promise<void> {
  const { from, to } = await takeShard(arena, key, how);
  within(arena, 'longest pause of the other pools', longestPause(arena, from, to), PAUSE_MS.others);
}

/** The shard that has the pools' keys: nothing that was acknowledged is lost, and jobs go on soon after it is back. */
async function own(arena: Arena, how: 'kill' | 'mute'): Promise<void> {
  const { to } = await takeShard(arena, keys.meta(POOL), how);
  const { ended } = arena.load;
  await fires('jobs go on', () => arena.load.ended > ended + 10);
  within(arena, 'longest pause of its pools after it was back', longestPause(arena, to, Date.now()), PAUSE_MS.ownBack);
}

/** The master of the pools' shard dies, and its replica takes its place. */
async function failover(arena: Arena): Promise<void> {
  const cluster = clusterOf(arena);
  await cluster.inStep(keys.meta(POOL));
  const from = Date.now();
  await cluster.fail(keys.meta(POOL));
  arena.declare({ from: from - LAG_MS, to: Date.now() });
  const { ended } = arena.load;
  await fires('jobs go on', () => arena.load.ended > ended + 10);
  within(arena, 'longest pause of its pools', longestPause(arena, from, Date.now()), PAUSE_MS.ownFailover);
}

const FAULTS: Record<string, (arena: Arena) => Promise<void>> = {
  'shard-down:others:kill': (arena) => others(arena, keys.pools, 'kill'),
  'shard-down:others:mute': (arena) => others(arena, keys.pools, 'mute'),
  'shard-down:replicas:mute': (arena) => others(arena, keys.replicas, 'mute'),
  'shard-down:own:kill': (arena) => own(arena, 'kill'),
  'shard-down:own:mute': (arena) => own(arena, 'mute'),
  failover,
};

export const clusterFaults: Fault[] = Object.entries(FAULTS).map(([name, run]) => ({
  ...{ group: 'cluster', name, run, cutsOff: true, fleet: 'cluster' },
}));
