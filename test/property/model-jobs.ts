import type { CallOf, ResultArg } from './calls.js';
import type { Model } from './model.js';
import { type Job, MS, type Worker } from './model-records.js';

/** The transitions of jobs, as protocol.md's "Scripts" has them. Each answers what the script should. */

const LEGACY_METHOD = '/job.JobService/RunJob';

function runs(family: string, { kind, method }: { kind: string; method: string }): boolean {
  if (family === '' || family === 'RUNNER') return true;
  return kind === '' && (family === 'METHOD' || method === LEGACY_METHOD);
}

export function submit(m: Model, { max, jobs }: CallOf<'submit'>): unknown {
  let room = Math.min(max - m.waitingCount - m.later.size, 2 * max - m.waiting.flat().length);
  const { family } = m;
  const reply = jobs.map((spec) => {
    const content = JSON.stringify(spec);
    const there = m.jobs.get(spec.id);
    if (there && there.content !== content) return 'conflict';
    if (there) {
      const w = m.workers.get(there.worker);
      if (there.state === 'running' && !there.delivered && w?.home === m.caller) m.assign(there, w);
      return `exists ${there.state}`;
    }
    if (!runs(family, spec)) return `family ${family}`;
    if (room <= 0) return 'full';
    room--;
    if (m.family === '' && spec.kind !== '') m.family = 'RUNNER';
    else if (m.family === '' && !runs('LEGACY', spec)) m.methods = true;
    const { id, priority, queueMs, totalMs, runMs, maxAttempts, initialMs, fatal } = spec;
    const from = spec.start > 0 ? Math.max(m.now, m.now + spec.start - m.raw) : m.now;
    const blank = {
      state: '',
      attempt: 0,
      handovers: 0,
      fence: -1,
      worker: '',
      delivered: false,
      given: false,
      started: 0,
      next: 0,
      done: -1,
      error: false,
    };
    const j: Job = { ...blank, id, content, priority, created: m.now, from, queueMs, totalMs, runMs, maxAttempts, initialMs, fatal };
    m.jobs.set(id, j);
    m.setDeadline(j);
    if (from > m.now) m.schedule(j, from);
    else m.enqueue(j, false);
    return 'created';
  });
  m.match();
  return reply;
}

/** What became of one result: its verdict, and whether a slot of the worker is free by it, or its reply may have been lost. */
function take(m: Model, r: ResultArg): { verdict: string; freed: boolean; again: boolean } {
  const answer = (verdict: string, freed: boolean, again = false) => ({ verdict, freed, again });
  const held = m.workers.get(r.worker)?.boot === r.boot ? m.heldBy(r.worker).get(r.job) : undefined;
  const j = m.jobs.get(r.job);
  if (j && held === r.fence && m.leased(r.worker, r.job, r.fence)) {
    m.unhold(r.worker, r.job);
    m.leases.delete(r.job);
    j.done = j.fence;
    if (r.ok) m.end(j, 'succeeded');
    else m.attemptFailed(j, r.code, r.retryable, r.delayMs);
    return answer('accepted', true);
  }
  if (held === `!${r.fence}` || (held === r.fence && !j)) {
    m.unhold(r.worker, r.job);
    if (!j) return answer('gone', true);
    return answer(j.state === 'cancelled' ? 'cancelled' : 'stale', true);
  }
  if (!j) return answer('gone', false);
  if (m.foreign(r.worker, r.job, r.fence)) return answer('foreign', false);
  if (String(j.done) === r.fence) return answer('duplicate', false, true);
  return answer(j.state === 'cancelled' && String(j.fence) === r.fence ? 'cancelled' : 'stale', false);
}

/** The worker's next job at once, for a caller that holds its link. */
function claim(m: Model, w: Worker, link: string): boolean {
  if (m.paused || !m.isActive(w) || w.blocked || w.home !== m.caller || String(w.link) !== link || m.room(w) <= 0) return false;
  const next = m.nextJob(() => w);
  if (next) m.lease(next.j, w);
  return next !== undefined;
}

export function finish(m: Model, { results, claims }: CallOf<'finish'>): unknown {
  const freed = new Map<string, { link: string; slots: number }>();
  const again = new Set<string>();
  const reply = results.map((r) => {
    const taken = take(m, r);
    const before = freed.get(r.worker);
    if (taken.freed) freed.set(r.worker, { link: before?.link ?? r.link, slots: (before?.slots ?? 0) + 1 });
    if (taken.again) again.add(r.worker);
    const j = m.jobs.get(r.job);
    return { verdict: taken.verdict, state: j?.state ?? '', attempt: j?.attempt ?? 0 };
  });
  for (const [id, { link, slots }] of freed) {
    const w = m.workers.get(id);
    if (!w) continue;
    again.delete(id);
    for (let i = 0; i < slots && claims && link !== '' && claim(m, w, link); i++);
    m.settleOrLeave(w);
  }
  for (const id of again) {
    const w = m.workers.get(id);
    if (w?.home !== m.caller) continue;
    for (const [job, fence] of m.heldBy(id)) {
      const j = m.leased(id, job, fence);
      if (j && !j.delivered) m.assign(j, w);
    }
  }
  m.match();
  return reply;
}

export function release(m: Model, { leases }: CallOf<'release'>): unknown {
  const reply = leases.map(({ worker, job, fence, link, blocked, unreached }) => {
    const j = m.leased(worker, job, fence);
    const w = m.workers.get(worker);
    if (!j || !w || String(w.link) !== link) return false;
    m.unhold(worker, job);
    m.leases.delete(job);
    if (blocked || unreached) w.blocked = true;
    if (unreached) m.giveBack(j, MS.handover);
    else m.handover(j, MS.handover * 2 ** j.handovers);
    m.settleOrLeave(w);
    return true;
  });
  m.match();
  return reply;
}

export function cancel(m: Model, { jobs }: CallOf<'cancel'>): unknown {
  return jobs.map((id) => {
    const j = m.jobs.get(id);
    const was = j?.state ?? null;
    if (j && (was === 'waiting' || was === 'scheduled')) m.dequeue(j);
    if (j && was === 'running') m.quarantine(j);
    if (j && ['waiting', 'scheduled', 'running'].includes(j.state)) m.end(j, 'cancelled');
    return was;
  });
}

export function retry(m: Model, { jobs }: CallOf<'retry'>): unknown {
  const reply = jobs.map(({ id, buriedAt }) => {
    const j = m.jobs.get(id);
    const at = m.buried.get(id);
    if (!j) {
      m.buried.delete(id);
      return 'unknown';
    }
    if (at === undefined || j.state !== 'failed' || (buriedAt !== undefined && buriedAt !== at)) return 'not_buried';
    if (!runs(m.family, JSON.parse(j.content))) return `family ${m.family}`;
    m.buried.delete(id);
    Object.assign(j, { attempt: 0, handovers: 0, queueMs: 0, totalMs: 0, error: false });
    m.enqueue(j, false);
    return 'retried';
  });
  m.match();
  return reply;
}

export function purge(m: Model, { scope, limit }: CallOf<'purge'>): unknown {
  let n = 0;
  if (scope === 'buried') {
    for (const [id] of inOrder(m.buried).slice(0, limit)) {
      n++;
      m.buried.delete(id);
      if (m.jobs.get(id)?.state === 'failed') m.jobs.delete(id);
    }
    return n;
  }
  for (const list of m.waiting) {
    for (; n < limit && list.length > 0; n++) {
      const j = m.jobs.get(list.shift() ?? '');
      if (j?.state === 'waiting') m.end(j, 'cancelled');
    }
  }
  for (const [id] of inOrder(m.later).slice(0, limit - n)) {
    n++;
    m.later.delete(id);
    const j = m.jobs.get(id);
    if (j?.state === 'scheduled') m.end(j, 'cancelled');
  }
  return n;
}

export function mine(m: Model): unknown {
  for (const [id, due] of inOrder(m.leases)) {
    const j = m.jobs.get(id);
    const w = j && m.workers.get(j.worker);
    if (due <= m.now + MS.delivery && j?.state === 'running' && !j.delivered && w?.home === m.caller) m.assign(j, w);
  }
  return -1;
}

export function accept(m: Model, { leases }: CallOf<'accept'>): unknown {
  return leases.map(({ worker, link, job, fence }) => {
    const j = m.leased(worker, job, fence);
    const w = m.workers.get(worker);
    if (!j || !w || w.home !== m.caller || (link !== '' && String(w.link) !== link)) return false;
    m.assign(j, w);
    return true;
  });
}

/** A sorted set from its lowest score on; equal ones by name. */
export function inOrder(set: Map<string, number>): [string, number][] {
  return [...set].sort((a, b) => a[1] - b[1] || (a[0] < b[0] ? -1 : 1));
}
