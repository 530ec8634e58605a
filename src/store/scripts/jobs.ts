import { failpoint } from '../../domain/failpoints.js';
import type { Failure, JobState, NewJob, Outcome, Verdict } from '../../domain/job.js';
import type { LeaseRef, Released } from '../../domain/link.js';
import { items, type Matched, matched, number, text } from '../parse.js';
import type { Reply, ScriptRunner } from '../runner.js';

export type Submitted =
  | { kind: 'created' }
  | { kind: 'exists'; state: JobState }
  | { kind: 'conflict' }
  | { kind: 'full' }
  | { kind: 'family'; family: string };

export interface FinishItem extends LeaseRef {
  boot: string;
  /** The link epoch under which the caller holds the worker; '' when the result came by another way. */
  link: string;
  outcome: Outcome;
}

export interface Finished {
  verdict: Verdict;
  /** '' when the job is not known. */
  state: JobState | '';
  attempt: number;
  startedAt: number;
  /** Redis' time when it was finished. */
  at: number;
  createdAt: number;
}

export interface TickLimits {
  limit: number;
  finishedKept: number;
  buriedKept: number;
}

/** JSON of a failure, as it stands in `…:error`. */
export function failureJson(failure: Failure): string {
  const { code, reason, message, retryable, details } = failure;
  return JSON.stringify({ code, reason, message, retryable, ...(details.length > 0 ? { details: details.toString('base64') } : {}) });
}

/** `more`: call again. */
export type PoolDeleted = 'deleted' | 'more' | 'unknown' | 'workers' | 'jobs';

/** The transitions of jobs: one method a script, whose header (`lua/<name>.lua`) is its contract. */
export class JobScripts {
  readonly #run: ScriptRunner;

  constructor(runner: ScriptRunner) {
    this.#run = runner;
  }

  /** `wait`: this replica wants to be told of the job's end. `now`: Redis' time at which it ran. */
  async submit(
    pool: string,
    jobs: readonly { spec: NewJob; wait: boolean }[],
    maxWaiting: number,
  ): Promise<Matched<{ now: number; statuses: Submitted[] }>> {
    const reply = await this.#run.run(
      'submit',
      pool,
      { max_waiting: maxWaiting, family: 'RUNNER' },
      jobs.map(({ spec, wait }) => {
        const { retry } = spec;
        const metadata = Object.keys(spec.metadata).length > 0 ? JSON.stringify(spec.metadata) : '';
        return {
          id: spec.id,
          digest: spec.digest,
          kind: spec.kind,
          method: spec.method,
          priority: spec.priority,
          start: spec.notBefore,
          run: spec.runTimeoutMs,
          keep: spec.retentionMs,
          queue: spec.queueTimeoutMs || '',
          total: spec.totalTimeoutMs || '',
          retry: `${retry.maxAttempts} ${retry.initialBackoffMs} ${retry.maxBackoffMs} ${retry.multiplier}`,
          fatal: retry.fatalCodes.join(','),
          waiter: wait ? 1 : 0,
          payload: spec.payload,
          metadata,
        };
      }),
    );
    failpoint('submit-reply');
    return this.#matched(pool, reply, (own) => {
      const [now, statuses] = items(own);
      return { now: number(now), statuses: items(statuses).map((status) => toSubmitted(text(status))) };
    });
  }

  async accept(pool: string, leases: readonly (LeaseRef & { link: string })[]): Promise<Matched<boolean[]>> {
    const each = leases.map(({ worker, link, jobId, fence }) => ({ worker, link, job: jobId, fence }));
    const reply = await this.#run.run('accept', pool, {}, each);
    failpoint('accept-reply');
    return this.#matched(pool, reply, (own) => items(own).map((valid) => number(valid) === 1));
  }

  /** The next offset, or -1. */
  async mine(pool: string, offset: number, limit: number): Promise<Matched<number>> {
    return this.#matched(pool, await this.#run.run('mine', pool, { offset, limit }), number);
  }

  async finish(pool: string, results: readonly FinishItem[], claims: boolean): Promise<Matched<Finished[]>> {
    const each = results.map(({ worker, boot, jobId, fence, link, outcome }) => {
      const base = { worker, boot, job: jobId, fence, link, delay: '' as string | number };
      if (outcome.ok) return { ...base, outcome: 'ok', code: 0, retryable: 0, reason: '', blob: outcome.output };
      const { failure, retryAfterMs } = outcome;
      return {
        ...base,
        outcome: 'failed',
        code: failure.code,
        retryable: failure.retryable ? 1 : 0,
        reason: failure.reason,
        blob: failureJson(failure),
        delay: retryAfterMs ?? '',
      };
    });
    const reply = await this.#run.run('finish', pool, { claims: claims ? 1 : 0 }, each);
    failpoint('finish-reply');
    return this.#matched(pool, reply, (own) => items(own).map(toFinished));
  }

  async release(pool: string, leases: readonly (LeaseRef & { link: string } & Released)[]): Promise<Matched<boolean[]>> {
    const each = leases.map(({ worker, jobId, fence, link, blocked, unreached, reason }) => ({
      worker,
      job: jobId,
      fence,
      link,
      blocked: unreached ? 2 : blocked ? 1 : 0,
      reason,
    }));
    failpoint('release-before');
    return this.#matched(pool, await this.#run.run('release', pool, {}, each), (own) => items(own).map((hit) => number(hit) === 1));
  }

  /** What is due by the clock. Answers with the homes that are dead, or that there is no such pool any more. */
  async tick(pool: string, { limit, finishedKept, buriedKept }: TickLimits): Promise<Matched<string[] | 'gone'>> {
    const reply = await this.#run.run('tick', pool, { limit, finished_kept: finishedKept, buried_kept: buriedKept });
    failpoint('tick-reply');
    return this.#matched(pool, reply, (own) => (Array.isArray(own) ? items(own).map(text) : 'gone'));
  }

  async match(pool: string): Promise<Matched<number>> {
    const reply = await this.#run.run('match', pool, {});
    failpoint('match-reply');
    return this.#matched(pool, reply, number);
  }

  /** The state of each; undefined when unknown. */
  async watch(pool: string, ids: readonly string[]): Promise<(JobState | undefined)[]> {
    const reply = await this.#run.run(
      'watch',
      pool,
      {},
      ids.map((job) => ({ job })),
    );
    return items(reply).map(toState);
  }

  /** The state in which each was found. */
  async cancel(pool: string, ids: readonly string[]): Promise<(JobState | undefined)[]> {
    const reply = await this.#run.run(
      'cancel',
      pool,
      {},
      ids.map((job) => ({ job })),
    );
    return items(reply).map(toState);
  }

  /** `who`: the operator who retries all of a pool, '' for none. */
  async retry(pool: string, jobs: readonly { id: string; buriedAt?: number }[], who = ''): Promise<Matched<string[]>> {
    const each = jobs.map(({ id, buriedAt }) => ({ job: id, buried: buriedAt ?? '' }));
    return this.#matched(pool, await this.#run.run('retry', pool, { who }, each), (own) => items(own).map(text));
  }

  /** `who`: the operator, '' for none. */
  async purge(pool: string, scope: 'queued' | 'buried', limit: number, who = ''): Promise<number> {
    return number(await this.#run.run('purge', pool, { scope, limit, who }));
  }

  /** Answers whether that changed something; undefined when there is no such pool. `who`: the operator, '' for none. */
  async pause(pool: string, on: boolean, who = ''): Promise<Matched<boolean | undefined>> {
    const reply = await this.#run.run('pause', pool, { on: on ? 1 : 0, who });
    return this.#matched(pool, reply, (own) => (text(own) === 'unknown' ? undefined : text(own) === '1'));
  }

  /** `count`: how many workers or unfinished jobs are in the way. `who`: the operator. */
  async deletePool(pool: string, limit: number, who: string): Promise<{ status: PoolDeleted; count: number }> {
    const { reply } = this.#matched(pool, await this.#run.run('delete_pool', pool, { limit, who }), (own) => {
      const [status, count] = items(own);
      return { status: text(status) as PoolDeleted, count: number(count) };
    });
    return reply;
  }

  #matched<T>(pool: string, reply: Reply, own: (reply: Reply) => T): Matched<T> {
    const result = matched(pool, reply, own, this.#run.observer);
    for (const { fence } of result.assignments) this.#run.saw(pool, Number(fence));
    return result;
  }
}

function toState(reply: Reply): JobState | undefined {
  const state = text(reply);
  return state === '' ? undefined : (state as JobState);
}

function toSubmitted(status: string): Submitted {
  const [kind, detail = ''] = status.split(' ');
  if (kind === 'created' || kind === 'conflict' || kind === 'full') return { kind };
  if (kind === 'exists') return { kind, state: detail as JobState };
  return { kind: 'family', family: detail };
}

function toFinished(reply: Reply): Finished {
  const [verdict, state, attempt, started, at, created] = items(reply);
  return {
    verdict: text(verdict) as Verdict,
    state: text(state) as JobState | '',
    attempt: number(attempt),
    startedAt: number(started),
    at: number(at),
    createdAt: number(created),
  };
}
