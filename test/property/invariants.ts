import type { JobView, PoolState } from '../helpers/state.js';
import type { Call, CallOf } from './calls.js';

/** Properties that need no model: of one state, and of two states with the call between them. Numbers are those of protocol.md. */

export class Broken extends Error {
  override readonly name = 'Broken';
}

function hold(condition: boolean, property: number, what: () => string): void {
  if (!condition) throw new Broken(`property ${property}: ${what()}`);
}

const MS = { delivery: 5_000, lease: 30_000, homeTtl: 6_000, tickStale: 5_000 };
const MAX_HANDOVERS = 5;
export const isTerminal = ({ state }: JobView) => ['succeeded', 'failed', 'cancelled', 'expired'].includes(state);
const heldEntries = (s: PoolState) =>
  Object.entries(s.held).flatMap(([worker, jobs]) => Object.entries(jobs).map(([job, fence]) => ({ worker, job, fence })));
const heldCount = (s: PoolState, worker: string) => Object.keys(s.held[worker] ?? {}).length;
const times = <T>(list: readonly T[], item: T) => list.filter((one) => one === item).length;

/** 4: the list has each free worker once; other entries are tombstones. */
function freeList(s: PoolState): void {
  for (const [id, w] of Object.entries(s.workers)) {
    const active = w.state === 'free' || w.state === 'busy';
    const room = active && !w.blocked && heldCount(s, id) < w.slots;
    hold(!active || (w.state === 'free') === room, 4, () => `${id} is ${w.state} with ${heldCount(s, id)} of ${w.slots} slots taken`);
    hold(times(s.free, id) === (w.listed ? 1 : 0), 4, () => `${id} stands ${times(s.free, id)} times in the free list, listed=${w.listed}`);
    hold(w.state !== 'free' || w.listed, 4, () => `${id} is free and not listed`);
  }
  hold(
    s.free.every((id) => s.workers[id] !== undefined),
    4,
    () => 'the free list names a worker that nobody knows',
  );
}

/** 5: for a pool that is not paused, no free worker stands beside a waiting job. */
function conserving(s: PoolState, now: number): void {
  if (s.paused) return;
  const waits = s.waiting.flat().find((id) => s.jobs[id]?.state === 'waiting');
  const idle = Object.entries(s.workers).find(([, w]) => w.state === 'free' && now - (s.homes[w.home] ?? 0) < MS.homeTtl);
  hold(waits === undefined || idle === undefined, 5, () => `${waits} waits while ${idle?.[0]} is free`);
}

/** 7: each job is where its state says, and nowhere else; nothing is held or leased that no job knows of. */
function placed(s: PoolState): void {
  for (const [id, j] of Object.entries(s.jobs)) {
    const lists = s.waiting.map((list) => times(list, id));
    const leased = heldEntries(s).filter(({ job, fence }) => job === id && !fence.startsWith('!'));
    if (j.state === 'waiting') hold((lists[j.priority] ?? 0) >= 1, 7, () => `${id} waits in no list`);
    hold(id in s.later === (j.state === 'scheduled'), 7, () => `${id} is ${j.state}, in later: ${id in s.later}`);
    hold(id in s.leases === (j.state === 'running'), 7, () => `${id} is ${j.state}, in leases: ${id in s.leases}`);
    const [only] = leased;
    const right = j.state === 'running' ? leased.length === 1 && only?.fence === j.fence && only.worker === j.worker : leased.length === 0;
    hold(right, 7, () => `${id} is ${j.state} under fence ${j.fence} on ${j.worker}, leased: ${JSON.stringify(leased)}`);
    if (j.state === 'failed') hold(id in s.buried, 7, () => `${id} failed and is not buried`);
    hold(!j.leaks, 7, () => `${id} will expire, and something of it will not`);
    if (!isTerminal(j)) hold(!j.expires && j.payload, 7, () => `${id} is ${j.state} and its keys expire or are gone`);
  }
  for (const { worker, job, fence } of heldEntries(s)) {
    hold(fence.startsWith('!') || s.jobs[job]?.state === 'running', 7, () => `${worker} holds ${job}, which does not run`);
  }
  const entries = s.waiting.flat();
  const real = new Set(entries.filter((id) => s.jobs[id]?.state === 'waiting')).size;
  hold(s.tombstones === entries.length - real, 7, () => `${s.tombstones} tombstones counted, ${entries.length - real} there`);
}

/** 4, 5 and 7, once no script says that there is more to match. */
export function checkState(s: PoolState, now: number): void {
  freeList(s);
  placed(s);
  conserving(s, now);
}

/** What was issued in the life of one pool. */
export class Ledger {
  /** fence → `job worker`. */
  readonly #issued = new Map<string, string>();
  #highest = 0;
  /** Leases of a job since it was submitted or retried. */
  readonly #runs = new Map<string, number>();
  readonly #maxAttempts = new Map<string, number>();

  /** 1, 6 and 8, over what the call changed. */
  record(before: PoolState, call: Call, after: PoolState): void {
    if (call.do === 'submit') {
      for (const { id } of call.jobs) {
        // An id may stand in a batch more than once, and only one of its items is taken: whichever it is, no more attempts than the most.
        const named = call.jobs.filter((job) => job.id === id).map(({ maxAttempts }) => maxAttempts);
        if (!(id in before.jobs)) this.#fresh(id, Math.max(...named));
      }
    }
    if (call.do === 'retry') for (const { id } of call.jobs) if (before.jobs[id]?.state === 'failed' && !(id in after.buried)) this.#runs.set(id, 0);
    // A delivery that no worker was tried for does not count.
    if (call.do === 'tick' || call.do === 'release') {
      for (const [id, was] of Object.entries(before.jobs)) {
        const is = after.jobs[id];
        const ended = was.state === 'running' && is !== undefined && (is.fence !== was.fence || is.state !== 'running');
        if (ended && is.handovers === was.handovers && !was.delivered) this.#runs.set(id, (this.#runs.get(id) ?? 1) - 1);
      }
    }
    const fresh = heldEntries(after).filter(({ worker, job, fence }) => !fence.startsWith('!') && before.held[worker]?.[job] !== fence);
    for (const { worker, job, fence } of fresh.sort((a, b) => Number(a.fence) - Number(b.fence))) {
      hold(!this.#issued.has(fence), 1, () => `fence ${fence} was issued for ${this.#issued.get(fence)} and again for ${job} ${worker}`);
      hold(Number(fence) > this.#highest, 1, () => `fence ${fence} after ${this.#highest}`);
      this.#highest = Number(fence);
      this.#issued.set(fence, `${job} ${worker}`);
      const slots = after.workers[worker]?.slots ?? 0;
      hold(heldCount(after, worker) <= slots, 1, () => `${worker} was given ${job} and holds ${heldCount(after, worker)} of ${slots}`);
      const runs = (this.#runs.get(job) ?? 0) + 1;
      this.#runs.set(job, runs);
      const bound = (this.#maxAttempts.get(job) ?? 0) + MAX_HANDOVERS - 1;
      hold(runs <= bound, 8, () => `${job} was given out ${runs} times`);
    }
    for (const [id, was] of Object.entries(before.jobs)) {
      const is = after.jobs[id];
      if (!isTerminal(was) || !is || (was.state === 'failed' && call.do === 'retry')) continue;
      hold(JSON.stringify(was) === JSON.stringify(is), 6, () => `${id} was ${JSON.stringify(was)} and is ${JSON.stringify(is)}`);
    }
  }

  #fresh(id: string, maxAttempts: number): void {
    this.#runs.set(id, 0);
    this.#maxAttempts.set(id, maxAttempts);
  }
}

/** Does the call name another life, link or lease than stands there, in all that it names? Then it must write nothing. */
function isStale(s: PoolState, call: Call): boolean {
  const worker = (id: string) => s.workers[id];
  switch (call.do) {
    case 'finish':
      return call.results.every(({ worker: id, boot, job, fence }) => {
        const held = worker(id)?.boot === boot ? s.held[id]?.[job] : undefined;
        return held !== fence && held !== `!${fence}`;
      });
    case 'release':
      return call.leases.every(({ worker: id, job, fence, link }) => worker(id)?.link !== link || s.held[id]?.[job] !== fence);
    case 'probed':
    case 'suspect':
      return worker(call.worker)?.boot !== call.boot || worker(call.worker)?.link !== call.link || worker(call.worker)?.home !== call.home;
    case 'adopt':
      return worker(call.worker)?.boot !== call.boot || worker(call.worker)?.link !== call.link;
    case 'bury':
      return call.boot !== '' && (worker(call.worker)?.boot !== call.boot || worker(call.worker)?.link !== call.link);
    case 'workerBeat':
      return call.boot !== '' && worker(call.worker)?.boot !== call.boot;
    case 'deregister':
      return call.boot !== '' && worker(call.worker)?.boot !== call.boot;
    case 'beat':
      return call.beats.every(
        (item) => !('open' in item && item.open) && (worker(item.worker)?.link !== item.link || worker(item.worker)?.home !== call.home),
      );
    case 'accept':
    case 'mine':
      return true;
    default:
      return false;
  }
}

/** 9: a stale call writes nothing but what time it is. A beat is always the beat of its home, whatever it says of workers. */
export function checkStale(before: PoolState, call: Call, after: PoolState): void {
  if (!isStale(before, call)) return;
  const text = (s: PoolState) => JSON.stringify({ ...s, clock: 0, shift: 0, homes: call.do === 'beat' ? {} : s.homes });
  hold(text(before) === text(after), 9, () => `stale, and it changed ${text(before)} to ${text(after)}`);
}

/** 10: in the grace after an outage no lease expires and nobody dies; after a tick no lease is looked at later than in 30 s, and what passed since the tick before, if time ran back. */
export function checkTick(before: PoolState, call: Call, after: PoolState, now: number): void {
  if (call.do !== 'tick') return;
  for (const [member, at] of Object.entries(after.leases))
    hold(member.startsWith('!') || at <= now + MS.lease + MS.tickStale, 10, () => `${member} is due at ${at}`);
  hold(after.ticked === now, 10, () => `ticked ${after.ticked} at ${now}`);
  hold(now >= before.ticked, 10, () => `the pool's clock ran back from ${before.ticked} to ${now}`);
  const gap = before.ticked > 0 && now - before.ticked > 5_000;
  if (!gap && now >= after.grace) return;
  for (const [id, w] of Object.entries(after.workers))
    hold(w.state !== 'dead' || before.workers[id]?.state === 'dead', 10, () => `${id} died in the grace`);
  for (const [id, j] of Object.entries(before.jobs)) {
    const is = after.jobs[id];
    hold(j.state !== 'running' || is?.state === 'expired' || is?.fence === j.fence, 10, () => `the lease of ${id} expired in the grace`);
  }
}

/** 3: what a home is told to send stands: the job runs under that fence on that worker, which is its own, over that link. */
export function checkGiven(s: PoolState, home: string, assignments: readonly string[]): void {
  for (const text of assignments) {
    const [job = '', fence, worker = '', link] = text.split(' ');
    const w = s.workers[worker];
    const stands = s.jobs[job]?.state === 'running' && s.held[worker]?.[job] === fence && w?.home === home && w.link === link;
    hold(stands, 3, () => `${home} is told to send ${text}, which does not stand`);
  }
}

/** 3: an asked-for assignment is sent only if all that was said of it is still so. */
export function checkAccepted(s: PoolState, { home, leases }: CallOf<'accept'>, valid: readonly unknown[]): void {
  leases.forEach(({ worker, link, job, fence }, i) => {
    const w = s.workers[worker];
    const stands = s.held[worker]?.[job] === fence && w?.home === home && (link === '' || w.link === link);
    hold(valid[i] === stands, 3, () => `accept says ${valid[i]} to ${JSON.stringify(leases[i])}, of ${JSON.stringify(w)}`);
  });
}

/**
 * 3: what a lost reply held is asked for by its home: all undelivered leases, and nothing else.
 */
export function checkMine(s: PoolState, home: string, assignments: readonly string[], now: number): void {
  const found = (id: string) => (s.leases[id] ?? 0) <= now + MS.delivery;
  const asked = assignments.map((text) => text.split(' ').slice(0, 3).join(' ')).sort();
  const due = Object.entries(s.jobs)
    .filter(([id, j]) => j.state === 'running' && !j.delivered && s.workers[j.worker]?.home === home && found(id))
    .map(([id, j]) => `${id} ${j.fence} ${j.worker}`)
    .sort();
  hold(JSON.stringify(asked) === JSON.stringify(due), 3, () => `mine(${home}) has ${JSON.stringify(asked)}, undelivered are ${JSON.stringify(due)}`);
}
