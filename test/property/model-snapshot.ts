import type { PoolState, Scores } from '../helpers/state.js';
import type { Model } from './model.js';
import type { Job } from './model-records.js';

/** The model as `readState` would show it, had it been Redis. */
export function snapshot(m: Model): PoolState {
  const scores = (map: Map<string, number>): Scores => Object.fromEntries([...map].sort((a, b) => a[1] - b[1] || (a[0] < b[0] ? -1 : 1)));
  const isTerminal = (j: Job) => ['succeeded', 'failed', 'cancelled', 'expired'].includes(j.state);
  const byId = <T extends { id: string }, V>(map: Map<string, T>, view: (item: T) => V) =>
    Object.fromEntries([...map.values()].sort((a, b) => (a.id < b.id ? -1 : 1)).map((item) => [item.id, view(item)]));
  return {
    fence: String(m.fence),
    paused: m.paused,
    family: m.family,
    tombstones: m.waiting.flat().length - m.waitingCount,
    ticked: m.ticked,
    clock: m.clock,
    shift: m.shift,
    grace: m.grace,
    workers: byId(m.workers, ({ id, link, ...w }) => ({ ...w, link: String(link), listed: m.free.includes(id) })),
    held: Object.fromEntries([...m.held].filter(([, jobs]) => jobs.size > 0).map(([id, jobs]) => [id, Object.fromEntries(jobs)])),
    addresses: Object.fromEntries(m.addresses),
    free: [...m.free],
    waiting: m.waiting.map((list) => [...list]),
    jobs: byId(m.jobs, (j) => {
      const running = j.state === 'running';
      return {
        state: j.state,
        attempt: j.attempt,
        handovers: j.handovers,
        priority: j.priority,
        fence: running ? String(j.fence) : '',
        worker: running ? j.worker : '',
        delivered: running && j.delivered,
        started: running ? j.started : 0,
        next: j.state === 'scheduled' ? j.next : 0,
        payload: !isTerminal(j) || j.state === 'failed',
        result: j.state === 'succeeded',
        error: j.error,
        expires: isTerminal(j),
        leaks: false,
      };
    }),
    leases: scores(m.leases),
    later: scores(m.later),
    deadlines: scores(m.deadlines),
    buried: scores(m.buried),
    finished: scores(m.finished),
    homes: scores(m.homes),
    seen: scores(m.seen),
    dead: scores(m.dead),
  };
}
