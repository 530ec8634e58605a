import { keys } from '../../src/store/keys.js';
import { until } from '../helpers/until.js';
import { type Arena, Broken, fires, hold } from './arena.js';
import type { Operation } from './history.js';
import { slotKept } from './leases.js';
import { type Contract, LEGACY_POOL, POOL, type WorkerSeat } from './seats.js';
import { LARGE, NEVER, NEVER_RUN_MS } from './work.js';

/** Of a legacy worker, whose job takes so many ms. */
const NEVER_MS = '2000000000';
const TRIES = 12;
const STARTED_MS = 20_000;
const TIMED_OUT_MS = NEVER_RUN_MS + 20_000;
/** Two sweeps, in which the worker says that it still runs the job. */
const KEPT_MS = 2_500;
/** What a worker takes that takes less than replicas do, and a job that is within theirs (MAX_PAYLOAD_BYTES). */
const RECEIVE_BYTES = 65_536;
const LARGE_BYTES = 200_000;
const LARGE_JOBS = 20;
const ON_ROLL_MS = 30_000;

const poolOf = (contract: Contract) => (contract === 'legacy' ? LEGACY_POOL : POOL);

interface Stuck {
  operation: Operation;
  seat: WorkerSeat;
}

/** A job that is begun and never ended, at the worker that took it. */
async function giveNever({ fleet, load }: Arena, pool: string): Promise<Stuck> {
  const [operation] = await load.more(1, NEVER, NEVER_MS, { pool });
  if (!operation) throw new Error('no job');
  const taker = async () => {
    if (!fleet.notes().some(({ event, jobId }) => event === 'start' && jobId === operation.id)) return undefined;
    const worker = await fleet.direct.hget(keys.job(pool, operation.id), 'worker');
    return fleet.workers.find((seat) => seat.pool === pool && seat.id === worker);
  };
  return { operation, seat: await until(taker, { timeoutMs: STARTED_MS, what: `${operation.id} to be begun` }) };
}

/** Its worker goes on answering probes and beats; the job is ended by its run timeout, and the slot stays taken as long as the worker has it. */
export async function neverAnswers(arena: Arena, contract: Contract): Promise<void> {
  const { direct } = arena.fleet;
  const pool = poolOf(contract);
  // The pool says who takes it: asked for until it is one of that contract.
  const stuck: Stuck[] = [];
  while (!stuck.some(({ seat }) => seat.contract === contract) && stuck.length < TRIES) stuck.push(await giveNever(arena, pool));
  const { operation, seat } = await until(() => stuck.find((one) => one.seat.contract === contract), { what: `a ${contract} worker to take it` });
  const { id } = operation;
  await fires(`${id} is ended`, () => operation.end !== undefined, TIMED_OUT_MS);
  const { code, reason } = await failureOf(arena, pool, id);
  if (reason !== 'run_timeout') throw new Broken(`${id} ended with ${code} ${reason}, and not by its run timeout`);
  await fires(`the slot of ${seat.id} is kept`, () => slotKept(direct, pool, seat.id, id));
  await hold(KEPT_MS);
  if (!(await slotKept(direct, pool, seat.id, id))) throw new Broken(`the slot of ${seat.id} is given out while it runs ${id}`);
  for (const one of stuck) await arena.fleet.kill(one.seat);
}

/** Workers of that contract take less than replicas do: such a job fails at once for good and says why, or runs at a worker that takes it. */
export async function tooLarge(arena: Arena, contract: Contract): Promise<void> {
  const { fleet, load } = arena;
  const pool = poolOf(contract);
  for (const seat of fleet.workers.filter((one) => one.contract === contract)) {
    seat.receiveBytes = RECEIVE_BYTES;
    await fleet.kill(seat);
    fleet.startWorker(seat);
  }
  await until(async () => (await fleet.revive()) && (await fleet.healthy()), { timeoutMs: ON_ROLL_MS, what: 'the workers to be on the roll' });
  const jobs = await load.more(LARGE_JOBS, LARGE, JSON.stringify('x'.repeat(LARGE_BYTES)), { pool });
  await fires('they end', () => jobs.every(({ end }) => end !== undefined));
  const failed = jobs.filter(({ end }) => end?.state === 'JOB_STATE_FAILED');
  await fires('one was too large', () => failed.length > 0);
  for (const { id } of failed) {
    const { code, reason } = await failureOf(arena, pool, id);
    const buried = (await fleet.direct.zscore(keys.buried(pool), id)) !== null;
    if (reason !== 'payload_too_large' || !buried) throw new Broken(`${id} failed with ${code} ${reason}, ${buried ? '' : 'not '}buried`);
  }
}

async function failureOf({ fleet }: Arena, pool: string, id: string): Promise<{ code: number; reason: string }> {
  return JSON.parse((await fleet.direct.get(keys.error(pool, id))) ?? '{}') as { code: number; reason: string };
}
