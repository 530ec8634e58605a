import type { CallOf } from './calls.js';
import type { Model } from './model.js';
import { MS, type Worker } from './model-records.js';

/** The transitions of workers, as protocol.md's "Scripts" has them. Each answers what the script should. */

const newer = (set: Map<string, number>, id: string, at: number) => set.set(id, Math.max(at, set.get(id) ?? Number.NEGATIVE_INFINITY));

function blank(id: string): Worker {
  const off = { blocked: false, drained: false, leaving: false };
  return { id, state: 'dead', ...off, slots: 0, home: '', boot: '', previous: '', link: 0, contract: '', address: '', misses: 0, suspected: 0 };
}

export function register(m: Model, call: CallOf<'register'>): unknown {
  const there = m.workers.get(call.worker);
  const known = there !== undefined && there.state !== 'dead';
  const family = m.family === '' && call.contract === 'LEGACY' && m.methods ? 'METHOD' : m.family;
  if (family !== '' && family !== call.contract) {
    const others = [...m.seen.keys()].some((id) => id !== call.worker);
    if (others || m.waitingCount > 0 || m.later.size > 0 || m.leases.size > 0) return { kind: 'family', family };
  }
  if (there && there.boot !== call.boot && !call.derived && there.previous === call.boot) return { kind: 'superseded' };
  const w = there ?? blank(call.worker);
  m.workers.set(w.id, w);
  const revoked = known && w.boot !== call.boot ? m.revokeAll(w) : 0;
  const other = m.workers.get(m.addresses.get(call.address) ?? '');
  if (other && other !== w) m.buryWorker(other);
  if (w.address !== '' && m.addresses.get(w.address) === w.id) m.addresses.delete(w.address);
  m.addresses.set(call.address, w.id);
  const moved = known && w.boot === call.boot && w.home !== call.home;
  const carried = moved && m.homeAlive(w.home);
  if (!known || w.boot !== call.boot || w.home !== call.home) w.link++;
  if (there && w.boot !== call.boot) w.previous = w.boot;
  const { boot, home, slots, contract, address } = call;
  Object.assign(w, { boot, home, slots, contract, address, blocked: false, leaving: false, misses: 0, suspected: 0 });
  m.family = contract;
  m.seen.set(w.id, m.now);
  m.dead.delete(w.id);
  m.deadlines.delete(`@${w.id}`);
  m.homes.set(home, m.now);
  const leases = moved ? takeOver(m, w, carried) : [];
  w.state = w.drained ? 'draining' : 'busy';
  m.settle(w);
  const { state } = w;
  m.match();
  return { kind: 'ok', link: String(w.link), state, revoked, leases: carried ? [] : leases };
}

export function beat(m: Model, { home, leaving, beats }: CallOf<'beat'>): unknown {
  m.homes.set(home, leaving ? 0 : m.now);
  const reply = beats.map((item) => {
    const w = m.workers.get(item.worker);
    const open = 'open' in item && item.open;
    if (!w || (!open && (w.home !== home || String(w.link) !== item.link))) return open ? m.lost(item) : 'not_home';
    if ('job' in item) {
      const j = m.leased(w.id, item.job, item.fence);
      if (j) {
        m.confirm(j, item.ranMs);
        return 'ok';
      }
      return m.lost(item);
    }
    if (w.state === 'dead') return 'gone';
    const at = m.now - item.ageMs;
    newer(m.seen, w.id, at);
    if (w.state === 'suspect' && (at > w.suspected || w.suspected > m.now)) m.restore(w);
    return 'ok';
  });
  m.match();
  return reply;
}

/** The worker that this life and link are of, at this home. */
function at(m: Model, { home, worker, boot, link }: { home: string; worker: string; boot: string; link: string }): Worker | undefined {
  const w = m.workers.get(worker);
  return w && w.state !== 'dead' && w.boot === boot && w.home === home && String(w.link) === link ? w : undefined;
}

export function probed(m: Model, call: CallOf<'probed'>): unknown {
  const w = at(m, call);
  if (!w) return 'stale';
  newer(m.seen, w.id, m.now - call.ageMs);
  w.misses = 0;
  for (const { what, job, fence } of call.leases) {
    const held = m.heldBy(w.id).get(job);
    if (held === `!${fence}`) m.unhold(w.id, job);
    if (held !== fence || what !== 'lost') continue;
    const j = m.leased(w.id, job, fence);
    m.unhold(w.id, job);
    if (!j) continue;
    j.delivered = true;
    m.revoke(j);
  }
  w.blocked = call.busy && m.heldBy(w.id).size === 0;
  if (w.state === 'suspect') m.restore(w);
  m.settleOrLeave(w);
  m.match();
  return 'ok';
}

export function suspect(m: Model, call: CallOf<'suspect'>): unknown {
  const w = at(m, call);
  if (!w) return 'stale';
  w.misses++;
  if (w.misses < call.limit) return 'missed';
  if (w.state !== 'suspect') m.suspect(w);
  return 'suspect';
}

export function bury(m: Model, { worker, boot, link, evidenceMs }: CallOf<'bury'>): unknown {
  const w = m.workers.get(worker);
  if (!w) return 'unknown';
  if (w.state === 'dead') return 'buried';
  if (boot !== '') {
    const saved = (m.seen.get(worker) ?? 0) > m.now - evidenceMs || m.now < m.grace;
    if (w.boot !== boot || String(w.link) !== link || saved) return 'stale';
  }
  m.buryWorker(w);
  m.match();
  return 'buried';
}

function takeOver(m: Model, w: Worker, carried: boolean): unknown[] {
  return [...m.heldBy(w.id)].map(([jobId, fence]) => {
    const j = m.leased(w.id, jobId, fence);
    const lease = { jobId, fence: fence.replace('!', ''), delivered: j?.delivered ?? false, quarantined: fence.startsWith('!') };
    if (j && (w.contract === 'RUNNER' || !(j.delivered || carried))) {
      m.assign(j, w);
    } else if (j && !j.delivered) {
      j.delivered = true;
      m.leases.set(j.id, m.now + MS.delivery);
    }
    return lease;
  });
}

export function adopt(m: Model, { home, worker, boot, link }: CallOf<'adopt'>): unknown {
  const w = m.workers.get(worker);
  if (!w || w.state === 'dead' || w.boot !== boot || String(w.link) !== link) return { kind: 'stale' };
  w.home = home;
  w.link++;
  w.misses = 0;
  newer(m.seen, worker, m.now);
  m.homes.set(home, m.now);
  const leases = takeOver(m, w, false);
  if (w.state === 'suspect') m.restore(w);
  else m.settle(w);
  const reply = { kind: 'ok', link: String(w.link), leases };
  m.match();
  return reply;
}

export function orphans(m: Model): unknown {
  const unseen = (id: string) => m.now >= m.grace && m.now - (m.seen.get(id) ?? m.now) > MS.silent;
  const found = [...m.workers.values()].filter((w) => m.seen.has(w.id) && w.state !== 'dead' && (!m.homeAlive(w.home) || unseen(w.id)));
  for (const w of found) if (w.state !== 'suspect') m.suspect(w);
  return found.map(({ id }) => id).sort();
}

export function forgetHomes(m: Model, { homes }: CallOf<'forgetHomes'>): unknown {
  return homes.filter((home) => m.homes.has(home) && !m.homeAlive(home) && m.homes.delete(home)).length;
}

export function drain(m: Model, { worker, on }: CallOf<'drain'>): unknown {
  const w = m.workers.get(worker);
  if (!w) return null;
  if (w.state === 'dead') return 'dead';
  w.drained = on;
  if (on && m.isActive(w)) {
    m.unlist(w);
    w.state = 'draining';
  } else if (!on && w.state === 'draining' && !w.leaving) {
    w.state = 'busy';
    m.settle(w);
  }
  const { state } = w;
  m.match();
  return state;
}

export function deregister(m: Model, { worker, boot, timeoutMs }: CallOf<'deregister'>): unknown {
  const w = m.workers.get(worker);
  if (!w || w.state === 'dead') return { status: 'unknown', held: 0 };
  if (boot !== '' && boot !== w.boot) return { status: 'superseded', held: 0 };
  const held = m.heldBy(worker).size;
  if (held === 0) {
    m.buryWorker(w);
  } else {
    const missed = w.state === 'suspect';
    w.leaving = true;
    m.unlist(w);
    w.state = 'draining';
    if (timeoutMs !== undefined) m.deadlines.set(`@${worker}`, m.now + timeoutMs);
    else if (!missed) m.deadlines.delete(`@${worker}`);
  }
  m.match();
  return { status: 'ok', held };
}

export function workerBeat(m: Model, { worker, boot, held }: CallOf<'workerBeat'>): unknown {
  const w = m.workers.get(worker);
  let known = 'ok';
  if (!w) known = 'unknown';
  else if (w.state === 'dead') known = 'dead';
  else if (boot !== '' && boot !== w.boot) known = 'superseded';
  if (known === 'ok') newer(m.seen, worker, m.now);
  const revoked = held.map(({ job, fence }) => {
    const j = known === 'ok' ? m.leased(worker, job, fence) : undefined;
    if (!j) return known === 'ok' && m.foreign(worker, job, fence) ? 'foreign' : true;
    m.confirm(j);
    return false;
  });
  return { known, revoked };
}
