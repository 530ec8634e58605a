import { MusterError, toError } from '../domain/errors.js';
import { ANYBODY } from '../domain/identity.js';
import { isTerminal, type JobRecord, type JobSpec, type JobState, type NewJob } from '../domain/job.js';
import type { Observer, Submitting } from '../domain/observer.js';
import { PAGE_BYTES } from '../store/nodes.js';
import { indexesOf } from '../store/read-jobs.js';
import { noSuchPool, type Store } from '../store/store.js';
import type { Matching } from './matching.js';
import { type Accepted, type Submission, type Submitter, wrongFamily } from './submit.js';
import type { Ended, Waiters, Waiting } from './waiters.js';

export interface JobsOptions {
  store: Store;
  matching: Matching;
  submitter: Submitter;
  waiters: Waiters;
  observer: Pick<Observer, 'submitting'>;
}

export interface JobPage {
  jobs: JobRecord[];
  /** Empty: that was the last page. */
  next: string;
}

/** A job that was accepted, and that somebody waits for. */
export interface Watched {
  created: boolean;
  /** It had ended before. */
  over: boolean;
  /** The job as it is when it has ended, or when the wait was over first. */
  ended: () => Promise<JobRecord>;
  /** Ends the wait: `ended` resolves with the job as it is now. Idempotent. */
  end: () => void;
  /** Ends the wait without a look at the job: `ended` never resolves. Idempotent. */
  drop: () => void;
}

const LISTED: JobState[] = ['running', 'waiting', 'scheduled', 'failed', 'succeeded'];
const BULK = 200;
/** Entries that one page of a list looks at, when few of them are in the state that was asked for. */
const SCANNED_A_PAGE = 2_000;
/** Entries read at once at the least: the last few jobs of a page must not cost a round trip each. */
const MIN_SCAN = 20;
/** Entries read at once at the most. */
const MAX_SCAN = 50;
const NO_BYTES = Buffer.alloc(0);

/** What clients ask of jobs. All rejections are MusterErrors. */
export class Jobs {
  readonly #options: JobsOptions;

  constructor(options: JobsOptions) {
    this.#options = options;
  }

  /** `told`: this replica is told of the job's end (see `untilEnded`). `by`: whose word it is (see `speakerOf`). */
  async submit(spec: NewJob, { told = false, by = ANYBODY } = {}): Promise<Accepted> {
    const seen = this.#options.observer.submitting(spec);
    const accepted = await this.#submit({ spec, wait: told, by }, seen);
    seen?.over();
    return accepted;
  }

  /**
   * Resolves when that job has ended, or `end` was called. Begin before it is submitted, here, with the word that this replica is told; end it in
   * every case. Throws `resource_exhausted` TOO_MANY_WAITERS.
   */
  untilEnded(pool: string, id: string): { ended: Promise<unknown>; end: () => void } {
    return this.#options.waiters.wait(pool, id);
  }

  /**
   * Submits, and waits for the job's end until `end`. Resolves when the job is accepted. Rejects as `submit` does; what was submitted stays so.
   */
  async submitAndWatch(spec: NewJob, { by = ANYBODY } = {}): Promise<Watched> {
    const { waiters, observer } = this.#options;
    // Listening begins before the job can end: its end may be known before its submission is answered.
    const waiting = waiters.wait(spec.pool, spec.id);
    const seen = observer.submitting(spec);
    try {
      const { created, state, createdAt } = await this.#submit({ spec, wait: true, by }, seen);
      if (created || !isTerminal(state)) {
        const ours = { spec, createdAt: created ? createdAt : 0 };
        const ended = async () => {
          const end = await waiting.ended;
          seen?.over();
          return this.#read(spec.pool, spec.id, end, ours);
        };
        return { created, over: false, ended, end: waiting.end, drop: waiting.drop };
      }
      seen?.over();
    } catch (error) {
      waiting.end();
      throw error;
    }
    waiting.end();
    return { ...waiting, created: false, over: true, ended: () => this.get(spec.pool, spec.id) };
  }

  /** Waits for the job's end until `end`. Resolves when it is known that the job is there. Rejects with `not_found`. */
  async watch(pool: string, id: string): Promise<Watched> {
    const [watched] = await this.watchAll(pool, [id]);
    if (!watched) throw notFound(pool, id);
    return watched;
  }

  /** Waits for the ends of many jobs; undefined for those that are not there. */
  async watchAll(pool: string, ids: string[]): Promise<(Watched | undefined)[]> {
    const { store, waiters } = this.#options;
    // Asked first: a call for a job that is not there must not make a pool.
    const records = await store.readJobs(pool, ids, { bodies: false });
    const there = ids.filter((_, i) => records[i]);
    if (there.length === 0) return ids.map(() => undefined);
    if (records.some((record) => record && !isTerminal(record.state))) await store.enter(pool);
    const waits = new Map<string, Waiting>();
    try {
      for (const id of there) if (!waits.has(id)) waits.set(id, waiters.wait(pool, id));
      const asked = [...waits.keys()];
      const states = await store.jobs.watch(pool, asked);
      const found = new Map<string, Watched>();
      for (const [i, id] of asked.entries()) {
        const [state, waiting] = [states[i], waits.get(id)];
        if (state === undefined || !waiting) continue;
        const over = isTerminal(state);
        const ended = over ? () => this.get(pool, id) : async () => this.#read(pool, id, await waiting.ended, undefined);
        found.set(id, { created: false, over, ended, end: waiting.end, drop: waiting.drop });
      }
      for (const [id, waiting] of waits) if (found.get(id)?.over ?? true) waiting.end();
      return ids.map((id) => found.get(id));
    } catch (error) {
      for (const waiting of waits.values()) waiting.end();
      throw error;
    }
  }

  async get(pool: string, id: string): Promise<JobRecord> {
    const [record] = await this.#options.store.readJobs(pool, [id], { bodies: true });
    if (!record) throw notFound(pool, id);
    await this.#explain(pool, [record]);
    return record;
  }

  /** The state of the job before: whatever was not terminal is cancelled now. Answers with the job after. */
  async cancel(pool: string, id: string): Promise<JobRecord> {
    const [before] = await this.#options.store.jobs.cancel(pool, [id]);
    if (before === undefined) throw notFound(pool, id);
    return this.get(pool, id);
  }

  /** Those of them that are there and not terminal are cancelled now. */
  async cancelAll(pool: string, ids: string[]): Promise<void> {
    await this.#options.store.jobs.cancel(pool, ids);
  }

  async retry(pool: string, id: string): Promise<JobRecord> {
    const { store, matching } = this.#options;
    const [answer] = await matching.call(pool, () => store.jobs.retry(pool, [{ id }]));
    if (answer === 'unknown') throw notFound(pool, id);
    if (answer === 'not_buried')
      throw new MusterError('failed_precondition', 'NOT_BURIED', `job ${id} is not a dead letter: only failed jobs can be retried`);
    const [what, family] = (answer ?? '').split(' ');
    if (what === 'family' && family) throw wrongFamily(pool, family, 'id');
    return this.get(pool, id);
  }

  /** One page, without payloads and outputs; `token` is from the page before. A page may hold fewer jobs than `size`, or none, and not be the last. */
  async list(pool: string, state: JobState | undefined, size: number, token: string): Promise<JobPage> {
    const { store } = this.#options;
    const indexes = (state ? [state] : LISTED).flatMap((one) => indexesOf(pool, one));
    const jobs: JobRecord[] = [];
    let { index, offset } = readToken(token);
    let bytes = 0;
    for (let scanned = 0; jobs.length < size && scanned < SCANNED_A_PAGE && bytes < PAGE_BYTES; ) {
      const at = indexes[index];
      if (!at) break;
      const want = Math.min(Math.max(size - jobs.length, MIN_SCAN), MAX_SCAN);
      const entries = await store.readJobIndex(at, offset, want);
      const ids = entries.filter((id) => !id.startsWith('!') && !id.startsWith('@'));
      const records = new Map((await store.readJobs(pool, ids, { bodies: false })).map((record) => [record?.spec.id, record]));
      let used = 0;
      while (used < entries.length && jobs.length < size && bytes < PAGE_BYTES) {
        const record = records.get(entries[used++] ?? '');
        if (!record || (state !== undefined && record.state !== state)) continue;
        jobs.push(record);
        bytes += bytesOf(record);
      }
      scanned += used;
      offset += used;
      if (used === entries.length && entries.length < want) {
        index++;
        offset = 0;
      }
    }
    if (jobs.length === 0) await store.requirePool(pool);
    await this.#explain(pool, jobs);
    return { jobs, next: index < indexes.length ? `${index}.${offset}` : '' };
  }

  /** `who`: the operator. */
  async pause(pool: string, on: boolean, who = ''): Promise<void> {
    const { store, matching } = this.#options;
    const changed = await matching.call(pool, () => store.jobs.pause(pool, on, who));
    if (changed === undefined) throw noSuchPool(pool);
  }

  /** A bounded part of the work: call until done. */
  async purge(pool: string, scope: 'queued' | 'buried', who = ''): Promise<{ purged: number; done: boolean }> {
    const { store } = this.#options;
    const purged = await store.jobs.purge(pool, scope, BULK, who);
    if (purged === 0) await store.requirePool(pool);
    return { purged, done: purged < BULK };
  }

  /** A bounded part of the work: call until done. */
  async retryBuried(pool: string, who = ''): Promise<{ retried: number; done: boolean }> {
    const { store, matching } = this.#options;
    const [index] = indexesOf(pool, 'failed');
    if (!index) return { retried: 0, done: true };
    const ids = await store.readJobIndex(index, 0, BULK);
    if (ids.length === 0) await store.requirePool(pool);
    if (ids.length === 0) return { retried: 0, done: true };
    const answers = await matching.call(pool, () =>
      store.jobs.retry(
        pool,
        ids.map((id) => ({ id })),
        who,
      ),
    );
    const retried = answers.filter((answer) => answer === 'retried').length;
    // What the workers of the pool cannot run stays where it is: a page of nothing else is the end.
    return { retried, done: ids.length < BULK || retried === 0 };
  }

  /** A bounded part of the work: call until done. Rejects with `not_found` and `failed_precondition` POOL_IN_USE. `who`: the operator. */
  async deletePool(pool: string, who = ''): Promise<{ done: boolean }> {
    return { done: await this.#options.store.deletePool(pool, BULK, who) };
  }

  async #submit(submission: Submission, seen: Submitting | undefined): Promise<Accepted> {
    try {
      const accepted = await this.#options.submitter.submit(submission);
      // It is in Redis. Whoever waits for the job keeps its spec, and may wait for long.
      submission.spec.payload = NO_BYTES;
      seen?.accepted(accepted.created);
      return accepted;
    } catch (error) {
      seen?.over(toError(error));
      throw error;
    }
  }

  async #read(pool: string, id: string, ended: Ended | undefined, ours: { spec: JobSpec; createdAt: number } | undefined): Promise<JobRecord> {
    if (ended?.kind === 'record') return ended.record;
    // The job was submitted by this call and ended by this replica: nothing about it needs to be read. Only of a dead letter: its payload.
    if (ended?.kind === 'end' && ended.end.state !== 'failed' && ours && ours.createdAt > 0) {
      return { spec: ours.spec, createdAt: ours.createdAt, handovers: 0, nextAt: 0, waitingReason: '', progress: NO_BYTES, ...ended.end };
    }
    return this.get(pool, id);
  }

  /** Fills in why those of the jobs that wait do so. */
  async #explain(pool: string, jobs: JobRecord[]): Promise<void> {
    const waiting = jobs.filter((job) => job.state === 'waiting');
    if (waiting.length === 0) return;
    const [state] = await this.#options.store.readPools([pool]);
    const reason = state?.paused ? 'pool_paused' : state?.workers === 0 ? 'no_worker' : 'no_free_worker';
    for (const job of waiting) job.waitingReason = reason;
  }
}

/** Of a job without its bodies, roughly. */
function bytesOf({ spec, failure }: JobRecord): number {
  let bytes = 512 + (failure ? failure.message.length + failure.details.length : 0);
  for (const [key, value] of Object.entries(spec.metadata)) bytes += key.length + value.length;
  return bytes;
}

function notFound(pool: string, id: string): MusterError {
  return new MusterError('not_found', 'NO_SUCH_JOB', `the pool ${pool} has no job ${id}: it was never submitted, or its retention has passed`);
}

function readToken(token: string): { index: number; offset: number } {
  if (token === '') return { index: 0, offset: 0 };
  const match = token.match(/^(\d{1,2})\.(\d{1,9})$/);
  if (!match)
    throw new MusterError('invalid_argument', 'INVALID_FIELD', 'page_token: must be the next_page_token of the page before', { field: 'page_token' });
  return { index: Number(match[1]), offset: Number(match[2]) };
}
