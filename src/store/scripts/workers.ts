import { failpoint } from '../../domain/failpoints.js';
import { ANYBODY } from '../../domain/identity.js';
import type { AttachedInfo, WorkerInfo, WorkerRef, WorkerState } from '../../domain/worker.js';
import { formatAddress } from '../../domain/worker.js';
import { items, type Matched, matched, number, text } from '../parse.js';
import type { Reply, ScriptRunner } from '../runner.js';

export type Registered =
  | { kind: 'ok'; link: string; state: WorkerState; revoked: number; leases: AdoptedLease[] }
  | { kind: 'superseded' }
  | { kind: 'foreign' }
  | { kind: 'taken' }
  | { kind: 'attached' }
  | { kind: 'family'; family: string };

export type Attached =
  | { kind: 'ok'; link: string; state: WorkerState; kept: LeaseName[]; abandon: LeaseName[] }
  | { kind: 'superseded' }
  | { kind: 'foreign' }
  | { kind: 'exists'; home: string }
  | { kind: 'family'; family: string };

/** What becomes of a worker's own word: `foreign`: it is another identity's worker. */
export type BeatKnown = 'ok' | 'unknown' | 'dead' | 'superseded' | 'foreign';
/** What a worker's own heartbeat learns of a lease that it named: false: it is the worker's. `foreign`: it is another worker's. */
export type RevokedLease = boolean | 'foreign';
const REVOKED: readonly RevokedLease[] = [false, true, 'foreign'];
export type Deregistered = 'ok' | 'unknown' | 'superseded' | 'foreign';

export interface LeaseName {
  jobId: string;
  fence: string;
}

export interface BeatItem {
  /** ms since the worker's own last sign of life; undefined: `lease` is vouched for instead. */
  ageMs?: number;
  worker: string;
  link: string;
  lease?: { jobId: string; fence: string };
  /** ms since the lease was sent to the worker; its run timeout counts from then. */
  ranMs?: number;
  /** Its call is open here: the lease is kept, whoever owns the worker by now. */
  open?: boolean;
}
export type BeatAnswer = 'ok' | 'not_home' | 'gone' | 'cancelled' | 'foreign';

export interface AdoptedLease {
  jobId: string;
  fence: string;
  delivered: boolean;
  quarantined: boolean;
}
export type Adopted = { kind: 'ok'; link: string; leases: AdoptedLease[] } | { kind: 'stale' };

export interface ProbedLease {
  /** `lost`: delivered, no call open, and the worker does not have it; `idle`: it does not run that fence. */
  what: 'lost' | 'idle';
  jobId: string;
  fence: string;
}

/** What stands in Redis of a worker whose link the caller has (`lua/standing.lua`). */
export type Standing = 'moved' | 'idle' | 'holds' | 'unsettled';

export interface Orphan extends WorkerRef {
  home: string;
  /** ms since its last own sign of life. */
  ageMs: number;
}

function json(value: object): string {
  return Object.keys(value).length > 0 ? JSON.stringify(value) : '';
}

function toLease(reply: Reply): LeaseName {
  const [jobId, fence] = items(reply);
  return { jobId: text(jobId), fence: text(fence) };
}

function toAdopted(reply: Reply): AdoptedLease {
  const [jobId, fence, delivered, quarantined] = items(reply);
  return { jobId: text(jobId), fence: text(fence), delivered: number(delivered) === 1, quarantined: number(quarantined) === 1 };
}

/** The transitions of workers: one method a script, whose header (`lua/<name>.lua`) is its contract. */
export class WorkerScripts {
  readonly #run: ScriptRunner;

  constructor(runner: ScriptRunner) {
    this.#run = runner;
  }

  /** `again`: the worker is on the roll, so that even a full Redis takes it. `by`: whose word it is. */
  async register(info: WorkerInfo, again: boolean, by = ANYBODY): Promise<Matched<Registered>> {
    const args = {
      id: info.id,
      boot: info.boot,
      derived: info.bootDerived ? 1 : 0,
      address: formatAddress(info.address),
      contract: info.contract,
      region: info.region,
      slots: info.slots,
      labels: json(info.labels),
      kinds: json(info.kinds),
      version: info.version,
      by,
    };
    const reply = await this.#run.run('register', info.pool, args, [], again ? 'register again' : 'register');
    failpoint('register-reply');
    return this.#matched(info.pool, reply, (own): Registered => {
      const [status, link, state, revoked, leases] = items(own);
      const [kind, family = ''] = text(status).split(' ');
      if (kind === 'family') return { kind, family };
      if (kind === 'superseded' || kind === 'foreign' || kind === 'taken' || kind === 'attached') return { kind };
      return { kind: 'ok', link: text(link), state: text(state) as WorkerState, revoked: number(revoked), leases: items(leases).map(toAdopted) };
    });
  }

  async beat(pool: string, beats: readonly BeatItem[], leaving: boolean): Promise<Matched<BeatAnswer[]>> {
    const each = beats.map(({ ageMs, worker, link, lease, ranMs, open }) => ({
      what: lease ? (open ? 'call' : 'lease') : Math.max(0, Math.round(ageMs ?? 0)),
      worker,
      link,
      job: lease?.jobId ?? '',
      fence: lease?.fence ?? '',
      ran: ranMs === undefined ? '' : Math.max(0, Math.round(ranMs)),
    }));
    const reply = await this.#run.run('beat', pool, { leaving: leaving ? 1 : 0 }, each);
    failpoint('beat-reply');
    return this.#matched(pool, reply, (own) => items(own).map((answer) => text(answer) as BeatAnswer));
  }

  async workerBeat(
    pool: string,
    worker: string,
    boot: string,
    held: readonly { jobId: string; fence: string; done: boolean; progress: Buffer }[],
    by = ANYBODY,
  ): Promise<{ known: BeatKnown; revoked: RevokedLease[] }> {
    const each = held.map(({ jobId, fence, done, progress }) => ({ job: jobId, fence, finished: done ? 1 : 0, progress }));
    const { reply } = this.#matched(pool, await this.#run.run('worker_beat', pool, { worker, boot, by }, each), (own) => {
      const [known, revoked] = items(own);
      return { known: text(known) as BeatKnown, revoked: items(revoked).map((code) => REVOKED[number(code)] ?? true) };
    });
    return reply;
  }

  async probed(ref: WorkerRef, ageMs: number, busy: boolean, leases: readonly ProbedLease[]): Promise<Matched<'ok' | 'stale'>> {
    const args = { worker: ref.id, boot: ref.boot, link: ref.link, age: Math.max(0, Math.round(ageMs)), busy: busy ? 1 : 0 };
    const each = leases.map(({ what, jobId, fence }) => ({ what, job: jobId, fence }));
    failpoint('probed-before');
    return this.#matched(ref.pool, await this.#run.run('probed', ref.pool, args, each), (own) => text(items(own)[0]) as 'ok' | 'stale');
  }

  /** In the order asked for. One call: it is for pages, not for a whole fleet. */
  async standing(pool: string, workers: readonly WorkerRef[]): Promise<Standing[]> {
    const each = workers.map(({ id, boot, link }) => ({ worker: id, boot, link }));
    return items(await this.#run.run('standing', pool, {}, each)).map((reply) => text(reply) as Standing);
  }

  async suspect(ref: WorkerRef, misses: number, reason: string): Promise<Matched<'missed' | 'suspect' | 'stale'>> {
    const args = { worker: ref.id, boot: ref.boot, link: ref.link, limit: misses, reason };
    const reply = await this.#run.run('suspect', ref.pool, args);
    failpoint('suspect-reply');
    return this.#matched(ref.pool, reply, (own) => text(items(own)[0]) as 'missed' | 'suspect' | 'stale');
  }

  /** Without `evidenceMs` and with an empty boot: whatever stands there (an operator's word). `who`: the operator, '' for none. */
  async bury(ref: WorkerRef, evidenceMs: number, reason: string, who = ''): Promise<Matched<'buried' | 'stale' | 'unknown'>> {
    const args = { worker: ref.id, boot: ref.boot, link: ref.link, evidence: Math.max(0, Math.round(evidenceMs)), reason, who };
    failpoint('bury-before');
    return this.#matched(ref.pool, await this.#run.run('bury', ref.pool, args), (own) => text(own) as 'buried' | 'stale' | 'unknown');
  }

  /** `held`: what the worker says that it holds. `by`: whose word it is. */
  async attach(info: AttachedInfo, held: readonly { jobId: string; fence: string; done: boolean }[], by = ANYBODY): Promise<Matched<Attached>> {
    const args = {
      id: info.id,
      boot: info.boot,
      region: info.region,
      slots: info.slots,
      labels: json(info.labels),
      kinds: json(info.kinds),
      version: info.version,
      by,
    };
    const each = held.map(({ jobId, fence, done }) => ({ job: jobId, fence, finished: done ? 1 : 0 }));
    const reply = await this.#run.run('attach', info.pool, args, each);
    failpoint('attach-reply');
    return this.#matched(info.pool, reply, (own): Attached => {
      const [status, link, state, kept, abandon] = items(own);
      const [kind, detail = ''] = text(status).split(' ');
      if (kind === 'family') return { kind, family: detail };
      if (kind === 'exists') return { kind, home: detail };
      if (kind === 'superseded' || kind === 'foreign') return { kind };
      return {
        kind: 'ok',
        link: text(link),
        state: text(state) as WorkerState,
        kept: items(kept).map(toLease),
        abandon: items(abandon).map(toLease),
      };
    });
  }

  /** The worker has `graceMs` to attach again. */
  async detach(ref: WorkerRef, reason: string, graceMs: number): Promise<Matched<'ok' | 'stale'>> {
    failpoint('detach-before');
    const reply = await this.#run.run('detach', ref.pool, { worker: ref.id, boot: ref.boot, link: ref.link, reason, grace: graceMs });
    return this.#matched(ref.pool, reply, (own) => text(own) as 'ok' | 'stale');
  }

  async resize(ref: WorkerRef, slots: number): Promise<Matched<'ok' | 'stale'>> {
    const reply = await this.#run.run('resize', ref.pool, { worker: ref.id, boot: ref.boot, link: ref.link, slots });
    return this.#matched(ref.pool, reply, (own) => text(own) as 'ok' | 'stale');
  }

  async adopt(ref: WorkerRef): Promise<Matched<Adopted>> {
    const reply = await this.#run.run('adopt', ref.pool, { worker: ref.id, boot: ref.boot, link: ref.link });
    failpoint('adopt-reply');
    return this.#matched(ref.pool, reply, (own): Adopted => {
      const [status, link, leases] = items(own);
      if (text(status) !== 'ok') return { kind: 'stale' };
      return { kind: 'ok', link: text(link), leases: items(leases).map(toAdopted) };
    });
  }

  /** One page of the roll; cursor '0' again when all of it was seen. */
  async orphans(pool: string, cursor: string, page: number): Promise<{ cursor: string; orphans: Orphan[] }> {
    const { reply } = this.#matched(pool, await this.#run.run('orphans', pool, { cursor, page }), (own) => {
      const [next, found] = items(own);
      const orphans = items(found).map((item): Orphan => {
        const [id, boot, link, home, age] = items(item);
        return { pool, id: text(id), boot: text(boot), link: text(link), home: text(home), ageMs: number(age) };
      });
      return { cursor: text(next), orphans };
    });
    return reply;
  }

  async forgetHomes(pool: string, homes: readonly string[]): Promise<number> {
    return number(
      await this.#run.run(
        'forget_home',
        pool,
        {},
        homes.map((home) => ({ home })),
      ),
    );
  }

  /** The worker's state after; undefined when it is unknown. `who`: the operator, '' for none. */
  async drain(pool: string, worker: string, on: boolean, who = ''): Promise<Matched<WorkerState | undefined>> {
    const reply = await this.#run.run('drain', pool, { worker, on: on ? 1 : 0, who });
    return this.#matched(pool, reply, (own) => (text(own) || undefined) as WorkerState | undefined);
  }

  async deregister(
    pool: string,
    worker: string,
    boot: string,
    timeoutMs?: number,
    by = ANYBODY,
  ): Promise<Matched<{ status: Deregistered; held: number }>> {
    const reply = await this.#run.run('deregister', pool, { worker, boot, timeout: timeoutMs ?? '', by });
    failpoint('deregister-reply');
    return this.#matched(pool, reply, (own) => {
      const [status, held] = items(own);
      return { status: text(status) as Deregistered, held: number(held) };
    });
  }

  #matched<T>(pool: string, reply: Reply, own: (reply: Reply) => T): Matched<T> {
    const result = matched(pool, reply, own, this.#run.observer);
    for (const { fence } of result.assignments) this.#run.saw(pool, Number(fence));
    return result;
  }
}
