import { type Job, MS, type Worker } from './model-records.js';

const MAX_HANDOVERS = 5;
const MAX_BACKOFF_MS = 60_000;

/** How far a pool's clock is ahead of Redis' at that time (ms). */
export function lostBy(raw: number, { ticked, clock, shift }: { ticked: number; clock: number; shift: number }): number {
  const latest = Math.max(ticked, clock);
  const ahead = raw + shift - latest;
  return ahead < 0 || (shift > 0 && ahead > MS.tickStale) ? Math.max(0, latest - raw) : shift;
}

/**
 * The pool as protocol.md describes it, without Redis: plain maps, and the steps that several transitions share.
 * It is exact: from one state and one call it tells the next state and the answer, the order of lists included.
 */
export class Model {
  us = 0;
  fence = 0;
  paused = false;
  family = '';
  /** A job for a method that no LEGACY worker has came before any family was settled. */
  methods = false;
  ticked = 0;
  clock = 0;
  shift = 0;
  grace = 0;
  free: string[] = [];
  waiting: string[][] = [[], [], [], []];
  readonly jobs = new Map<string, Job>();
  readonly workers = new Map<string, Worker>();
  /** worker → job → fence, or `!fence` in quarantine. */
  readonly held = new Map<string, Map<string, string>>();
  readonly addresses = new Map<string, string>();
  readonly leases = new Map<string, number>();
  readonly later = new Map<string, number>();
  readonly deadlines = new Map<string, number>();
  readonly buried = new Map<string, number>();
  readonly finished = new Map<string, number>();
  readonly homes = new Map<string, number>();
  readonly seen = new Map<string, number>();
  readonly dead = new Map<string, number>();
  /** Assignments of the call under way, for its caller. */
  assignments: string[] = [];
  caller = '';

  /** `exactList`: up to that length a list loses an entry at once; longer ones keep it as a tombstone. */
  constructor(readonly exactList: number) {}

  /** The pool's clock: that of Redis, which may step; it never runs back. */
  get now(): number {
    return this.raw + this.behind;
  }

  get raw(): number {
    return Math.floor(this.us / 1000);
  }

  /** What Redis' clock is behind the pool's. */
  get behind(): number {
    return lostBy(this.raw, this);
  }

  heldBy(worker: string): Map<string, string> {
    const held = this.held.get(worker) ?? new Map<string, string>();
    this.held.set(worker, held);
    return held;
  }

  room(w: Worker): number {
    return w.slots - this.heldBy(w.id).size;
  }

  homeAlive(home: string): boolean {
    const beat = this.homes.get(home);
    return beat !== undefined && this.now - beat < MS.homeTtl;
  }

  isActive(w: Worker): boolean {
    return w.state === 'free' || w.state === 'busy';
  }

  // The free list.

  unlist(w: Worker): void {
    if (this.free.length <= this.exactList) this.free = this.free.filter((id) => id !== w.id);
  }

  settle(w: Worker): void {
    if (!this.isActive(w)) return;
    if (!w.blocked && this.room(w) > 0) {
      w.state = 'free';
      if (!this.free.includes(w.id)) this.free.push(w.id);
    } else {
      w.state = 'busy';
      this.unlist(w);
    }
  }

  suspect(w: Worker): void {
    this.unlist(w);
    w.state = 'suspect';
    w.suspected = this.now;
  }

  restore(w: Worker): void {
    w.state = w.drained || w.leaving ? 'draining' : 'busy';
    w.misses = 0;
    this.settle(w);
  }

  // Jobs in and out of their queues.

  enqueue(j: Job, ahead: boolean): void {
    j.state = 'waiting';
    if (ahead) this.queue(j).unshift(j.id);
    else this.queue(j).push(j.id);
  }

  queue(j: Job): string[] {
    const list = this.waiting[j.priority];
    if (!list) throw new Error(`no queue of priority ${j.priority}`);
    return list;
  }

  schedule(j: Job, due: number): void {
    j.state = 'scheduled';
    j.next = due;
    this.later.set(j.id, due);
  }

  dequeue(j: Job): void {
    this.later.delete(j.id);
    const list = this.queue(j);
    if (j.state === 'waiting' && list.length <= this.exactList) list.splice(list.indexOf(j.id), 1);
  }

  end(j: Job, state: string): void {
    j.state = state;
    this.deadlines.delete(j.id);
    (state === 'failed' ? this.buried : this.finished).set(j.id, this.now);
  }

  isOverdue(j: Job): boolean {
    if (j.totalMs > 0 && this.now >= j.created + j.totalMs) return true;
    return j.queueMs > 0 && j.attempt === 0 && this.now >= j.from + j.queueMs;
  }

  /** The worker has it, or may have it: since `ranMs`, if the caller knows. */
  confirm(j: Job, ranMs?: number): void {
    if (!j.delivered && ranMs !== undefined) j.started = Math.max(j.started, this.now - ranMs);
    j.delivered = true;
    this.leases.set(j.id, Math.min(this.now + MS.lease, j.started + j.runMs));
  }

  /** When it must have started or, if that comes first, ended. */
  setDeadline(j: Job): void {
    const due = Math.min(
      j.queueMs > 0 ? j.from + j.queueMs : Number.POSITIVE_INFINITY,
      j.totalMs > 0 ? j.created + j.totalMs : Number.POSITIVE_INFINITY,
    );
    if (due < Number.POSITIVE_INFINITY) this.deadlines.set(j.id, due);
  }

  buryJob(j: Job): void {
    this.end(j, 'failed');
    j.error = true;
  }

  /** An attempt was spent and did not succeed. */
  attemptFailed(j: Job, code: number, retryable: boolean, delayMs?: number): void {
    if (!retryable || j.fatal.includes(code) || j.attempt >= j.maxAttempts) return this.buryJob(j);
    j.error = true;
    const backoff = Math.min(MAX_BACKOFF_MS, j.initialMs * 2 ** (j.attempt - 1));
    const delay = delayMs ?? Math.floor(backoff * (0.9 + (0.2 * (j.fence % 1000)) / 1000));
    if (delay > 0) this.schedule(j, this.now + delay);
    else this.enqueue(j, true);
  }

  /** A lease ended that never was an attempt. */
  handover(j: Job, delayMs: number): void {
    j.handovers++;
    if (j.handovers < MAX_HANDOVERS) return this.giveBack(j, delayMs);
    j.attempt--;
    this.buryJob(j);
  }

  /** The same, and no doing of the job's. */
  giveBack(j: Job, delayMs: number): void {
    j.attempt--;
    if (j.queueMs > 0 && j.attempt === 0) this.setDeadline(j);
    if (delayMs > 0) this.schedule(j, this.now + delayMs);
    else this.enqueue(j, true);
  }

  /** The lease of a worker that is gone, or anew. */
  revoke(j: Job): void {
    this.leases.delete(j.id);
    if (j.delivered) this.attemptFailed(j, 14, true);
    else this.handover(j, 0);
  }

  /** The job goes elsewhere, the slot stays taken. */
  quarantine(j: Job): void {
    this.leases.delete(j.id);
    this.heldBy(j.worker).set(j.id, `!${j.fence}`);
    if (this.workers.get(j.worker)?.contract === 'METHOD') this.leases.set(`!${j.fence} ${j.worker} ${j.id}`, this.now + MS.quarantine);
  }

  unhold(worker: string, job: string): void {
    this.leases.delete(`${this.heldBy(worker).get(job)} ${worker} ${job}`);
    this.heldBy(worker).delete(job);
  }

  /** The job that this lease is for, if the lease stands. */
  leased(worker: string, job: string, fence: string): Job | undefined {
    const j = this.jobs.get(job);
    return j?.state === 'running' && j.worker === worker && String(j.fence) === fence && this.heldBy(worker).get(job) === fence ? j : undefined;
  }

  /** The job's last lease, of that fence, is another worker's. */
  foreign(worker: string, job: string, fence: string): boolean {
    const j = this.jobs.get(job);
    return j !== undefined && j.fence > 0 && String(j.fence) === fence && j.worker !== worker;
  }

  /** What is said of a lease that cannot be kept. */
  lost({ worker, job, fence }: { worker: string; job: string; fence: string }): string {
    if (this.foreign(worker, job, fence)) return 'foreign';
    const j = this.jobs.get(job);
    return j?.state === 'cancelled' && String(j.fence) === fence ? 'cancelled' : 'gone';
  }

  // Workers that go.

  revokeAll(w: Worker, sent = false): number {
    const held = [...this.heldBy(w.id)];
    for (const [job, fence] of held) {
      const j = this.leased(w.id, job, fence);
      if (j && sent) j.delivered = true;
      if (j) this.revoke(j);
      this.unhold(w.id, job);
    }
    return held.length;
  }

  buryWorker(w: Worker): void {
    this.revokeAll(w, w.state !== 'suspect');
    this.unlist(w);
    w.state = 'dead';
    this.seen.delete(w.id);
    this.deadlines.delete(`@${w.id}`);
    this.dead.set(w.id, this.now);
    if (this.addresses.get(w.address) === w.id) this.addresses.delete(w.address);
  }

  settleOrLeave(w: Worker): void {
    if (w.leaving && w.state !== 'dead' && this.heldBy(w.id).size === 0) this.buryWorker(w);
    else this.settle(w);
  }

  // Match.

  assign(j: Job, w: Worker): void {
    j.given = true;
    this.assignments.push(`${j.id} ${j.fence} ${w.id} ${w.link} ${j.attempt}`);
  }

  lease(j: Job, w: Worker): void {
    this.fence = Math.max(this.fence + 1, this.us);
    Object.assign(j, {
      state: 'running',
      fence: this.fence,
      attempt: j.attempt + 1,
      worker: w.id,
      started: this.now,
      delivered: false,
      given: false,
    });
    this.heldBy(w.id).set(j.id, String(this.fence));
    this.leases.set(j.id, this.now + MS.delivery);
    if (j.queueMs > 0) this.deadlines.delete(j.id);
    if (j.totalMs > 0) this.deadlines.set(j.id, j.created + j.totalMs);
    if (w.home === this.caller) this.assign(j, w);
  }

  /** How many really wait. An id may stand in a list twice: its tombstone, and the job that came under it after retention. */
  get waitingCount(): number {
    return [...this.jobs.values()].filter(({ state }) => state === 'waiting').length;
  }

  /** The job whose turn it is, out of its list; entries of jobs that do not wait any more are dropped. Only if `to` has somebody for it. */
  nextJob<T>(to: (j: Job) => T | undefined): { j: Job; for: T } | undefined {
    for (const list of [...this.waiting].reverse()) {
      for (let id = list[0]; id !== undefined; id = list[0]) {
        const j = this.jobs.get(id);
        if (j?.state === 'waiting' && this.isOverdue(j)) {
          this.end(j, 'expired');
        } else if (j?.state === 'waiting') {
          const who = to(j);
          if (who === undefined) return undefined;
          list.shift();
          return { j, for: who };
        }
        list.shift();
      }
    }
    return undefined;
  }

  takeWorker(): Worker | undefined {
    for (let id = this.free.shift(); id !== undefined; id = this.free.shift()) {
      const w = this.workers.get(id);
      if (w?.state !== 'free') continue;
      if (this.homeAlive(w.home)) return w;
      this.suspect(w);
    }
    return undefined;
  }

  match(): void {
    while (!this.paused && this.free.length > 0) {
      const pair = this.nextJob(() => this.takeWorker());
      if (!pair) return;
      this.lease(pair.j, pair.for);
      this.settle(pair.for);
    }
  }
}
