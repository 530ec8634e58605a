import type { Answer, Call, CallOf } from './calls.js';
import type { Model } from './model.js';
import * as jobs from './model-jobs.js';
import { inOrder } from './model-jobs.js';
import { type Job, MS } from './model-records.js';
import * as workers from './model-workers.js';

/** What the clock does, and the table of all transitions. */

function lookAtClock(m: Model): void {
  const spoke = inOrder(m.homes).find(([, beat]) => beat > 0);
  const last = m.ticked || (spoke?.[1] ?? 0);
  if (m.ticked === 0) m.clock = Math.max(0, ...m.homes.values());
  const { now, behind } = m;
  m.ticked = now;
  m.clock = 0;
  m.shift = last > 0 ? Math.max(0, behind - Math.floor(Math.max(0, now - last) / 10)) : behind;
  if (last > 0 && now - last > MS.tickStale) m.grace = now + MS.grace;
}

function deadline(m: Model, id: string): void {
  m.deadlines.delete(id);
  if (id.startsWith('@')) {
    const w = m.workers.get(id.slice(1));
    if (!w || w.state === 'dead') return;
    if (m.now < m.grace) m.deadlines.set(id, m.grace);
    else m.buryWorker(w);
    return;
  }
  const j = m.jobs.get(id);
  if (!j) return;
  if (j.state === 'running' && j.totalMs > 0 && m.now >= j.created + j.totalMs) {
    m.quarantine(j);
    m.end(j, 'expired');
  } else if (j.state === 'waiting' || j.state === 'scheduled') {
    if (m.isOverdue(j)) {
      m.dequeue(j);
      m.end(j, 'expired');
    } else if (j.totalMs > 0) {
      m.deadlines.set(id, j.created + j.totalMs);
    }
  }
}

function leaseDue(m: Model, j: Job): void {
  m.leases.delete(j.id);
  if (j.delivered) {
    m.quarantine(j);
    m.attemptFailed(j, m.now >= j.started + j.runMs ? 4 : 14, true);
    return;
  }
  const w = m.workers.get(j.worker);
  const silent = w && m.now - (m.homes.get(w.home) ?? 0) >= MS.homeTtl / 2;
  if (silent && m.now < j.started + 2 * MS.homeTtl) {
    m.leases.set(j.id, m.now + MS.homeTtl / 2);
    return;
  }
  m.unhold(j.worker, j.id);
  // No home has had it: no worker was tried.
  if (!j.given) m.giveBack(j, 0);
  else m.handover(j, 0);
  if (w) m.settleOrLeave(w);
}

function quarantineOver(m: Model, member: string): void {
  const [fence = '', worker = '', job = ''] = member.split(' ');
  m.leases.delete(member);
  if (m.heldBy(worker).get(job) !== fence) return;
  m.unhold(worker, job);
  const w = m.workers.get(worker);
  if (w) m.settleOrLeave(w);
}

/** The oldest go when there are more than are kept. */
function trim(m: Model, kept: number, limit: number): void {
  const over = (set: Map<string, number>, most: number) => inOrder(set).slice(0, Math.max(0, Math.min(set.size - kept, most)));
  for (const [id] of over(m.finished, 1_000)) m.finished.delete(id);
  // What stands at the head and is gone: its retention has passed.
  for (const [id] of inOrder(m.finished).slice(0, limit)) {
    if (m.jobs.has(id)) break;
    m.finished.delete(id);
  }
  for (const [id] of over(m.buried, limit)) {
    m.buried.delete(id);
    if (m.jobs.get(id)?.state === 'failed') m.jobs.delete(id);
  }
}

function tick(m: Model, { limit, kept }: CallOf<'tick'>): unknown {
  lookAtClock(m);
  const due = (set: Map<string, number>) =>
    inOrder(set)
      .filter(([, at]) => at <= m.now)
      .slice(0, limit);
  for (const [id] of due(m.later)) {
    m.later.delete(id);
    const j = m.jobs.get(id);
    if (j?.state === 'scheduled') m.enqueue(j, false);
  }
  if (m.now >= m.grace) {
    for (const [member] of due(m.leases)) {
      const j = m.jobs.get(member);
      if (member.startsWith('!')) quarantineOver(m, member);
      else if (j?.state === 'running') leaseDue(m, j);
      else m.leases.delete(member);
    }
  }
  for (const [id] of due(m.deadlines)) deadline(m, id);
  for (const [id, died] of due(m.dead)) {
    if (m.now - died < MS.forget) continue;
    m.dead.delete(id);
    m.workers.delete(id);
    m.free = m.free.filter((entry) => entry !== id);
  }
  trim(m, kept, limit);
  const gone = m.now >= m.grace ? inOrder(m.homes).filter(([, beat]) => m.now - beat >= MS.homeTtl) : [];
  m.match();
  return gone.map(([home]) => home);
}

function run(m: Model, call: Call): unknown {
  switch (call.do) {
    case 'clock':
      m.us = call.us;
      return null;
    case 'expire':
      m.jobs.delete(call.job);
      return null;
    case 'submit':
      return jobs.submit(m, call);
    case 'finish':
      return jobs.finish(m, call);
    case 'release':
      return jobs.release(m, call);
    case 'cancel':
      return jobs.cancel(m, call);
    case 'retry':
      return jobs.retry(m, call);
    case 'purge':
      return jobs.purge(m, call);
    case 'mine':
      return jobs.mine(m);
    case 'accept':
      return jobs.accept(m, call);
    case 'tick':
      return tick(m, call);
    case 'match':
      m.match();
      return 0;
    case 'pause': {
      const changed = m.paused !== call.on;
      m.paused = call.on;
      m.match();
      return changed;
    }
    default:
      return runWorkers(m, call);
  }
}

type WorkerCall = CallOf<
  'register' | 'beat' | 'probed' | 'suspect' | 'bury' | 'adopt' | 'orphans' | 'forgetHomes' | 'drain' | 'deregister' | 'workerBeat'
>;

function runWorkers(m: Model, call: WorkerCall): unknown {
  switch (call.do) {
    case 'register':
      return workers.register(m, call);
    case 'beat':
      return workers.beat(m, call);
    case 'probed':
      return workers.probed(m, call);
    case 'suspect':
      return workers.suspect(m, call);
    case 'bury':
      return workers.bury(m, call);
    case 'adopt':
      return workers.adopt(m, call);
    case 'orphans':
      return workers.orphans(m);
    case 'forgetHomes':
      return workers.forgetHomes(m, call);
    case 'drain':
      return workers.drain(m, call);
    case 'deregister':
      return workers.deregister(m, call);
    case 'workerBeat':
      return workers.workerBeat(m, call);
  }
}

/** The model's next state and what the call should answer. */
export function step(m: Model, call: Call): Answer {
  m.assignments = [];
  m.caller = 'home' in call ? call.home : '';
  const reply = run(m, call);
  return { reply, assignments: m.assignments };
}
