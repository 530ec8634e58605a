import { FAILPOINTS, type FailpointName } from '../../src/domain/failpoints.js';
import { FAILPOINT_EXIT } from '../../src/lifecycle/failpoint.js';
import { until } from '../helpers/until.js';
import { type Arena, type Fault, hold, NotFired } from './arena.js';
import { between, pick } from './random.js';
import { LEASE_MS, type ReplicaSeat, TIME_SCALE, type WorkerSeat } from './seats.js';

/** Makes a replica pass a place that the load alone would not, or not soon. */
type Stimulus = (arena: Arena, seat: ReplicaSeat) => Promise<void>;

const STOP_MS = 6_000 * TIME_SCALE;
const FIRE_MS = 30_000;
const EACH_MS = 1_500;
/** Who came is left alone for so long: what is passed often is passed by its work. */
const BUSY_MS = 8_000;
/** A worker whose replica stands still takes its SDK's two tries to say goodbye. */
const LEAVE_MS = 20_000;
/** So long a worker that died is away: two sweeps, the probes, and a check. */
const DEAD_MS = 35_000 * TIME_SCALE;
/** More than one page of a tick. */
const DUE_AT_ONCE = 450;
const LARGE_SLOTS = 200;
const UNKNOWN_JOBS = 12;

const ofContract = ({ fleet }: Arena, contract: WorkerSeat['contract']) => fleet.workers.filter((seat) => seat.contract === contract);

/** A worker of that contract begins another life, at this replica alone. */
const comes =
  (contract: WorkerSeat['contract'], by: 'SIGTERM' | 'SIGKILL' = 'SIGKILL'): Stimulus =>
  async (arena, seat) => {
    const worker = pick(arena.draw, ofContract(arena, contract));
    await leaves(worker, by);
    arena.fleet.startWorker(worker, seat);
  };

/** One of this replica's workers ends without a word, and comes back there. */
const dies =
  (contract: WorkerSeat['contract']): Stimulus =>
  async (arena, seat) => {
    for (const worker of ofContract(arena, contract)) {
      if ((await arena.fleet.homeOf(worker))?.name !== seat.name) continue;
      await arena.fleet.kill(worker);
      await hold(DEAD_MS);
      return arena.fleet.startWorker(worker, seat);
    }
    await comes(contract)(arena, seat);
  };

async function leaves({ child }: WorkerSeat, by: 'SIGTERM' | 'SIGKILL'): Promise<void> {
  if (!child.running) return;
  child.signal(by);
  await child.ended(LEAVE_MS);
}

/** A worker of whichever replica ends without a word, and comes back after it was checked. */
const oneDies: Stimulus = async ({ fleet, draw }) => {
  const worker = pick(
    draw,
    fleet.workers.filter(({ contract }) => contract === 'runner'),
  );
  await fleet.kill(worker);
  await hold(DEAD_MS);
  fleet.startWorker(worker);
};

/** Another replica dies, and what it had is taken over. */
const otherDies: Stimulus = async (arena, seat) => {
  const { fleet, draw } = arena;
  const other = pick(
    draw,
    fleet.replicas.filter((one) => one !== seat),
  );
  await comes('runner')(arena, other);
  const has = async () => (await Promise.all(ofContract(arena, 'runner').map((worker) => fleet.homeOf(worker)))).includes(other);
  await until(has, { timeoutMs: DEAD_MS }).catch(() => {});
  await fleet.kill(other);
  await hold(EACH_MS);
  fleet.startReplica(other);
  await fleet.ready(other);
};

/** All others die: what one replica of the cluster does, this one does. */
const othersDie: Stimulus = async ({ fleet }, seat) => {
  const others = fleet.replicas.filter((one) => one !== seat);
  await Promise.all(others.map((other) => fleet.kill(other)));
  await hold(EACH_MS);
  for (const other of others) fleet.startReplica(other);
  await Promise.all(others.map((other) => fleet.ready(other)));
};

const manyDue: Stimulus = async ({ load }) => {
  await load.more(DUE_AT_ONCE, 'slow', '1', { delayMs: EACH_MS });
};

/** More pairs at once than one script call makes. */
const manyPairs: Stimulus = async (arena, seat) => {
  const worker = pick(arena.draw, ofContract(arena, 'runner'));
  worker.slots = LARGE_SLOTS;
  await arena.fleet.kill(worker);
  arena.fleet.startWorker(worker);
  await manyDue(arena, seat);
};

/** Nobody takes them, wherever they are given: each comes back five times, from this replica's worker too. */
const unknown: Stimulus = async (arena, seat) => {
  const has = async () => (await Promise.all(ofContract(arena, 'runner').map((worker) => arena.fleet.homeOf(worker)))).includes(seat);
  if (!(await has())) await comes('runner')(arena, seat);
  await until(has, { timeoutMs: DEAD_MS }).catch(() => {});
  await arena.load.more(UNKNOWN_JOBS, 'nobody-knows-it', '1');
};

const nothing: Stimulus = async () => {};
const dialed = comes('runner');
const attached = comes('attached');

/** `busy`: passed so often that it may be a later passing. */
const STIMULI: Record<FailpointName, { by: Stimulus; busy?: true }> = {
  'submit-reply': { by: nothing, busy: true },
  'match-reply': { by: manyPairs },
  'accept-reply': { by: dialed, busy: true },
  'assign-unsent': { by: dialed, busy: true },
  'confirm-before': { by: dialed },
  'received-before': { by: attached, busy: true },
  'result-unfinished': { by: attached, busy: true },
  'finish-reply': { by: dialed, busy: true },
  'settle-before': { by: attached, busy: true },
  'release-before': { by: unknown },
  'register-reply': { by: dialed },
  'register-linked': { by: dialed },
  'attach-reply': { by: attached },
  'attach-installed': { by: attached },
  'detach-before': { by: dies('attached') },
  'deregister-reply': { by: comes('runner', 'SIGTERM') },
  'adopt-reply': { by: otherDies },
  'bury-before': { by: oneDies },
  'suspect-reply': { by: dies('runner') },
  'probed-before': { by: attached },
  'beat-reply': { by: dialed, busy: true },
  'orphans-page': { by: othersDie },
  'forget-before': { by: othersDie },
  'sweep-taken': { by: othersDie },
  'check-taken': { by: oneDies },
  'tick-page': { by: manyDue },
  'tick-reply': { by: nothing, busy: true },
  'stop-left': {
    by: async (_, { child }) => {
      if (child.running) child.signal('SIGTERM');
    },
  },
};

function fault(name: FailpointName, action: 'exit' | 'stop'): Fault {
  return {
    group: 'failpoints',
    name: `${name}:${action}`,
    cutsOff: action === 'stop',
    run: async (arena) => {
      const { fleet, draw } = arena;
      const { by, busy } = STIMULI[name];
      const seat = pick(draw, fleet.replicas);
      seat.child.signal('SIGTERM');
      await seat.child.ended(LEAVE_MS);
      fleet.startReplica(seat, `${name}:${action}:${between(draw, 1, busy ? 20 : 1)}`);
      const { child } = seat;
      const said = (words: string) => child.lines.some((line) => line.includes(words));
      const reached = () => said('"failpoint reached"') || !child.running;
      await until(() => said('"ready"') || reached(), { timeoutMs: FIRE_MS, what: `${seat.name} to start` });
      const over = performance.now() + FIRE_MS;
      while (!reached()) {
        if (performance.now() > over) throw new NotFired(`${name} was not passed within ${FIRE_MS} ms`);
        await by(arena, seat);
        await until(reached, { timeoutMs: busy ? BUSY_MS : EACH_MS }).catch(() => {});
      }
      if (!said('"failpoint reached"')) throw new NotFired(`${seat.name} ended before ${name}:\n${child.tail()}`);
      if (action === 'exit') {
        const code = await child.ended();
        if (code !== FAILPOINT_EXIT) throw new NotFired(`${seat.name} ended with ${code}`);
      } else {
        await hold(draw() < 0.5 ? STOP_MS : LEASE_MS);
        child.signal('SIGCONT');
      }
    },
  };
}

export const failpointFaults: Fault[] = (Object.keys(FAILPOINTS) as FailpointName[]).flatMap((name) => [fault(name, 'exit'), fault(name, 'stop')]);
