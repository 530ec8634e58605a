import type { Job, JobRef, JobSpec } from '../grpc/generated/muster/v1/job.js';

/** One job under way. */
export interface Pending {
  /** Whether it was created; false: it was there. Rejects with ApiError when it was refused or no replica answered. */
  accepted: Promise<boolean>;
  /** Waits for the outcome until `end`. A job that nobody waits for may leave the window; waiting again asks for its outcome again. */
  wait(): Waiting;
}

export interface Waiting {
  /** Rejects with JobGone; ApiError as `accepted`, and when the client is closed. */
  outcome: Promise<Job>;
  /** Idempotent. */
  end(): void;
}

/**
 * `queued`: to be submitted. `sent`: submitted, not answered. `accepted`: the replica of the current stream sends its outcome. `unwatched`:
 * accepted, and a replica is to be asked for its outcome. `released`: accepted, and nobody waits for its outcome. `over`: settled or given up.
 *
 * queued → sent → accepted → over; sent → queued and accepted → unwatched when the stream breaks; accepted → released for the room in the
 * window; released → unwatched when somebody waits; unwatched → accepted.
 */
export interface Entry extends JobRef {
  /** undefined: it was accepted, and is not submitted again. */
  spec: JobSpec | undefined;
  /** On the wire, at the most. */
  bytes: number;
  state: 'queued' | 'sent' | 'accepted' | 'unwatched' | 'released' | 'over';
  /** Monotonic ms when the caller asked for it. */
  since: number;
  /** So many wait for the outcome. */
  waits: number;
  /** The job's outcome came before the answer to this submission. */
  early: Job | undefined;
  accept: (created: boolean) => void;
  end: (job: Job) => void;
  fail: (error: Error) => void;
  outcome: Promise<Job>;
}

/** The jobs of one session by (pool, id). One job may have been submitted twice: each submission is an entry of its own. */
export class Pendings {
  private readonly entries = new Map<string, Set<Entry>>();
  private count = 0;

  get size(): number {
    return this.count;
  }

  enter(entry: Entry): void {
    const there = this.entries.get(keyOf(entry));
    if (there === undefined) this.entries.set(keyOf(entry), new Set([entry]));
    else there.add(entry);
    this.count++;
  }

  remove(entry: Entry): void {
    const there = this.entries.get(keyOf(entry));
    if (!there?.delete(entry)) return;
    this.count--;
    if (there.size === 0) this.entries.delete(keyOf(entry));
  }

  has(entry: Entry): boolean {
    return this.entries.get(keyOf(entry))?.has(entry) ?? false;
  }

  of(ref: JobRef): Entry[] {
    return [...(this.entries.get(keyOf(ref)) ?? [])];
  }

  all(): Entry[] {
    return [...this.entries.values()].flatMap((there) => [...there]);
  }
}

export function entryOf(spec: JobSpec, bytes: number, since: number): { entry: Entry; accepted: Promise<boolean> } {
  const accepted = deferred<boolean>();
  const outcome = deferred<Job>();
  const entry: Entry = {
    pool: spec.pool,
    id: spec.id,
    spec,
    bytes,
    state: 'queued',
    since,
    waits: 0,
    early: undefined,
    accept: accepted.resolve,
    end: outcome.resolve,
    fail: (error) => {
      accepted.reject(error);
      outcome.reject(error);
    },
    outcome: outcome.promise,
  };
  return { entry, accepted: accepted.promise };
}

export function keyOf({ pool, id }: JobRef): string {
  return `${pool} ${id}`;
}

interface Deferred<T> {
  promise: Promise<T>;
  resolve: (value: T) => void;
  reject: (error: Error) => void;
}

/** Of no interest to anybody, perhaps: its rejection is not unhandled then. */
function deferred<T>(): Deferred<T> {
  let resolve = (_value: T) => {};
  let reject = (_error: Error) => {};
  const promise = new Promise<T>((resolveIt, rejectIt) => {
    resolve = resolveIt;
    reject = rejectIt;
  });
  promise.catch(() => undefined);
  return { promise, resolve, reject };
}
