import { freePorts } from '../helpers/ports.js';
import { until } from '../helpers/until.js';
import { type Arena, type Fault, fires, freeze, hold } from './arena.js';
import { neverAnswers, tooLarge } from './faults-work.js';
import { pick } from './random.js';
import { type Contract, LEASE_MS, type WorkerSeat } from './seats.js';
import { POISON } from './work.js';

const POISON_MS = 60_000;

/** A worker that is in the middle of a job that takes a while. */
async function inTheMiddle(arena: Arena, contract: Contract): Promise<WorkerSeat> {
  const { fleet } = arena;
  const busy = () => {
    const open = new Map<string, string>();
    for (const { event, worker, jobId, fence } of fleet.notes()) {
      if (event === 'start') open.set(`${jobId} ${fence}`, worker);
      else open.delete(`${jobId} ${fence}`);
    }
    const workers = new Set(open.values());
    return fleet.workers.find((seat) => seat.contract === contract && workers.has(seat.id));
  };
  return until(busy, { what: `a ${contract} worker to run something` });
}

const onEach = (name: string, run: (arena: Arena, contract: Contract) => Promise<void>): Fault[] =>
  (['runner', 'attached', 'legacy'] as const).map((contract) => ({
    group: 'workers',
    name: `${contract}:${name}`,
    run: (arena) => run(arena, contract),
  }));

const twice: Fault[] = (['runner', 'attached'] as const).map((contract) => ({
  group: 'workers',
  name: `${contract}:same-id-twice`,
  run: async ({ fleet, draw }) => {
    const seat = pick(
      draw,
      fleet.workers.filter((one) => one.contract === contract),
    );
    const [port = 0] = await freePorts(1);
    const twin = fleet.twin(seat, port);
    await fires('its twin is refused', () => twin.lines.some((line) => line.includes('"error"')));
    await hold(LEASE_MS / 2);
    twin.signal('SIGKILL');
    await twin.ended();
  },
}));

export const workerFaults: Fault[] = [
  ...twice,
  ...onEach('restart-mid-job', async (arena, contract) => {
    const seat = await inTheMiddle(arena, contract);
    await arena.fleet.kill(seat);
    arena.fleet.startWorker(seat);
  }),
  ...onEach('never-answers', neverAnswers),
  ...(['runner', 'legacy'] as const).map(
    (contract): Fault => ({
      group: 'workers',
      name: `${contract}:too-large`,
      run: (arena) => tooLarge(arena, contract),
    }),
  ),
  ...onEach('hangs', async (arena, contract) => {
    const seat = await inTheMiddle(arena, contract);
    seat.child.signal('SIGSTOP');
    await hold(2 * LEASE_MS);
    await arena.fleet.kill(seat);
  }),
  ...onEach('answers-late', async (arena, contract) => {
    await freeze(await inTheMiddle(arena, contract), 1.5 * LEASE_MS);
  }),
  {
    group: 'workers',
    name: 'poison',
    run: async ({ fleet, load }) => {
      const [poison] = await load.more(1, POISON, '1');
      // Whatever ends is started anew, as a supervisor does.
      const buried = () => {
        for (const seat of fleet.workers) if (!seat.child.running) fleet.startWorker(seat);
        return poison?.end !== undefined;
      };
      await fires('the poison job is buried', buried, POISON_MS);
    },
  },
];
