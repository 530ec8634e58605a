import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { keys } from '../../src/store/keys.js';
import type { Note } from '../helpers/handlers.js';
import type { RedisPair } from '../helpers/redis-pair.js';
import { type Arena, Broken, type Fault, fires, hold, NotFired } from './arena.js';
import type { Operation } from './history.js';
import type { FleetKind } from './kinds.js';
import { liveLeases } from './leases.js';
import { POOL, TIME_SCALE } from './seats.js';

const AWAY_MS = 500;
/** Gone when Redis has kept nothing. */
const MARK = 'chaos:kept';
const FULL_MS = 2_000;
const OUTAGE_MS = 31_000 * TIME_SCALE;
const LEASES = { some: 2_000, many: 10_000 };
/** Of each job, for each lease that is to be live: it outlasts the outage, and all being submitted. */
const JOB_MS_PER_LEASE = 10;
/** Jobs for each lease that is to be live: not all begin at once. */
const SPARE = 1.1;
/** Submitted at once. */
const AT_ONCE = 220;
const LEASED_MS = 10_000;
const ENDED_MS = 40_000;
/** Writes that a replica of Redis lacks. */
const CUT_MS = 1_500;
/** Acknowledged jobs that a failover to a replica in step may lose: those of the milliseconds between its last bytes and its promotion. */
const LOST_MAX = 10;
/** The Sentinels take 1 s to find a master down, about as long to elect a leader, and 1 s to see the promotion; a busy machine is late. */
const PAUSE_MAX_MS = 8_000;
const ACKED_AFTER = 20;
/** What a process that was killed has sent is read by then. */
const SENT_MS = 300;

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

/** As a Redis that keeps nothing: its append-only file goes with it. */
async function restartWithNothing({ fleet, declare }: Arena): Promise<void> {
  const { redis, direct } = fleet;
  await direct.set(MARK, 'kept');
  redis.kill();
  await hold(AWAY_MS);
  rmSync(join(redis.dir, 'appendonlydir'), { recursive: true });
  declare({ from: Number.NEGATIVE_INFINITY, to: Date.now() });
  await redis.restart();
  await fires('Redis began with nothing', async () => (await direct.exists(MARK)) === 0);
}

/** The replica of Redis that becomes the master lacks what was written after its link was cut. */
async function failover({ fleet, load, declare }: Arena): Promise<void> {
  const { pair } = fleet.backing;
  if (!pair) throw new Error('this fleet has no Sentinel');
  const from = Date.now();
  await pair.inStep();
  pair.link.set('drop');
  const ended = load.ended;
  await hold(CUT_MS);
  await fires('work went on', () => load.ended > ended);
  const { master, replica } = await pair.offsets();
  if (!(replica < master)) throw new NotFired(`the replica has all: ${replica} of ${master}`);
  pair.master.kill();
  await hold(SENT_MS);
  declare({ from, to: Date.now() });
  await fires('the Sentinel made the replica the master', async () => {
    await pair.promoted();
    return true;
  });
}

/** What a failover does to the old master, whose replica is in step. */
const FAILOVERS: Record<string, (pair: RedisPair) => Promise<unknown> | unknown> = {
  /** As for an upgrade: the old master goes on answering for ten seconds. */
  planned: (pair) => pair.failover(),
  /** The old master refuses writes some time after it has lost its replica. */
  'planned:min-replicas': async (pair) => {
    await pair.configFirst('min-replicas-to-write', '1');
    await pair.failover();
  },
  killed: (pair) => pair.master.kill(),
  stopped: (pair) => pair.master.pause(),
};

/** Everything that was acknowledged is kept, but for a few jobs of a moment, and writes go on soon. */
async function failoverInStep({ fleet, load, declare }: Arena, how: string): Promise<void> {
  const { pair } = fleet.backing;
  if (!pair) throw new Error('this fleet has no Sentinel');
  await pair.inStep();
  const from = Date.now();
  await FAILOVERS[how]?.(pair);
  // Whoever compares looks must not compare with those at the old master.
  declare({ from, to: Date.now() });
  await fires('the Sentinels made the replica the master', async () => {
    await pair.promoted();
    return true;
  });
  const to = Date.now();
  // Nothing ends this connection to an old master that goes on answering, or will. ioredis would end one that asks the Sentinels just now for good.
  if (fleet.direct.status === 'ready') {
    const back = once(fleet.direct, 'ready');
    fleet.direct.disconnect(true);
    await back;
  }
  declare({ from, to });
  const after = () => load.operations.filter(({ ackedAt = 0 }) => ackedAt > to);
  await fires('jobs are acknowledged at the new master', () => after().length >= ACKED_AFTER);
  pair.master.resume();
  const times = load.operations.flatMap(({ ackedAt }) => (ackedAt !== undefined && ackedAt >= from ? ackedAt : [])).sort((a, b) => a - b);
  const pauseMs = Math.max(...times.map((at, i) => at - (times[i - 1] ?? from)));
  const acked = load.operations.filter(({ ackedAt }) => ackedAt !== undefined && ackedAt >= from && ackedAt <= to);
  const known = await pair.knownAtNext(acked.map(({ pool, id }) => keys.job(pool, id)));
  const lost = known.filter((is) => !is).length;
  console.error(`FIGURE failover ${how}: ${lost} of ${acked.length} acknowledged jobs lost in ${to - from} ms, longest pause ${pauseMs} ms`);
  if (lost > LOST_MAX) throw new Broken(`${lost} of ${acked.length} jobs that were acknowledged in the failover are lost, ${LOST_MAX} may be`);
  if (pauseMs > PAUSE_MAX_MS) throw new Broken(`nothing was acknowledged for ${pauseMs} ms, ${PAUSE_MAX_MS} are allowed`);
}

/** Not one of thousands of leases that Redis had when it went away costs another run. */
async function outage(arena: Arena, leases: number): Promise<void> {
  const { fleet, load } = arena;
  const jobs: Operation[] = [];
  const jobMs = JOB_MS_PER_LEASE * leases;
  while (jobs.length < SPARE * leases) jobs.push(...(await load.more(AT_ONCE, 'slow', String(jobMs), { askAfterMs: jobMs })));
  const ids = new Set(jobs.map(({ id }) => id));
  let live: string[] = [];
  const leased = async () => {
    live = await liveLeases(fleet.direct, POOL, ids);
    return live.length >= leases;
  };
  await fires(`${leases} jobs have a lease at once`, leased, LEASED_MS);
  const before = runsOf(fleet.notes());
  await restart(arena, 'always', OUTAGE_MS);
  await fires('they end', () => jobs.every(({ end }) => end !== undefined), jobMs + ENDED_MS);
  const after = runsOf(fleet.notes());
  // What had not begun by then begins after it.
  const again = live.filter((id) => (after.get(id) ?? 0) > Math.max(1, before.get(id) ?? 0));
  if (again.length > 0) throw new Broken(`${again.length} of ${live.length} jobs that were leased when Redis went away ran again: ${again}`);
}

function runsOf(notes: readonly Note[]): Map<string, number> {
  const runs = new Map<string, number>();
  for (const { event, jobId } of notes) if (event === 'start') runs.set(jobId, (runs.get(jobId) ?? 0) + 1);
  return runs;
}

const FAULTS: Record<string, { run: (arena: Arena) => Promise<void>; fleet?: FleetKind; asked?: true }> = {
  'restart:always': { run: (arena) => restart(arena, 'always') },
  'restart:everysec': { run: (arena) => restart(arena, 'everysec') },
  'restart:none': { run: restartWithNothing },
  'failover:stale': { run: failover, fleet: 'sentinel' },
  ...Object.fromEntries(
    Object.keys(FAILOVERS).map((how) => [`failover:${how}`, { run: (arena: Arena) => failoverInStep(arena, how), fleet: 'sentinel' as const }]),
  ),
  'script-flush': {
    run: async ({ fleet }) => {
      const answer = await fleet.direct.script('FLUSH');
      if (answer !== 'OK') throw new NotFired(String(answer));
    },
  },
  'client-kill': {
    run: async ({ fleet }) => {
      const killed = await fleet.direct.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
      if (!(Number(killed) > 0)) throw new NotFired(`${killed} were killed`);
    },
  },
  maxmemory: {
    run: async (arena) => {
      const { direct } = arena.fleet;
      const before = await refusedAsFull(arena);
      await direct.config('SET', 'maxmemory', '1mb');
      await hold(FULL_MS);
      await fires('a full Redis refused something', async () => (await refusedAsFull(arena)) > before);
      await direct.config('SET', 'maxmemory', '0');
    },
  },
  'outage-31s': { run: (arena) => outage(arena, LEASES.some), fleet: 'roomy' },
  'outage-31s:10000': { run: (arena) => outage(arena, LEASES.many), fleet: 'vast', asked: true },
};

export const redisFaults: Fault[] = Object.entries(FAULTS).map(([name, fault]) => ({
  ...{ group: 'redis', name, cutsOff: name !== 'script-flush' },
  ...fault,
}));
