import type { Job, JobRef, JobSpec } from '../grpc/generated/muster/v1/job.js';

/** One job under way. */
export interface Pending {
  /** Whether it was created; false: it was there. Rejects with ApiError when it was refused or no replica answered. */
  accepted: Promise<boolean>;
  /** Rejects with JobGone; ApiError as above. */
  outcome: Promise<Job>;
}

/** queued → sent → accepted → (outcome); sent → queued when the stream breaks. */
export interface Entry extends JobRef {
  spec: JobSpec;
  /** On the wire, roughly. */
  bytes: number;
  state: 'queued' | 'sent' | 'accepted';
  accept: (created: boolean) => void;
  end: (job: Job) => void;
  fail: (error: Error) => void;
}

/** The jobs of one session by (pool, id). One job may have been submitted twice: each submission is an entry of its own. */
export class Pendings {
  private readonly entries = new Map<string, Set<Entry>>();
  private count = 0;

  get size(): number {
    return this.count;
  }

  enter(spec: JobSpec, bytes: number): { entry: Entry; pending: Pending } {
    const accepted = deferred<boolean>();
    const outcome = deferred<Job>();
    const fail = (error: Error) => {
      accepted.reject(error);
      outcome.reject(error);
    };
    const entry: Entry = { pool: spec.pool, id: spec.id, spec, bytes, state: 'queued', accept: accepted.resolve, end: outcome.resolve, fail };
    const there = this.entries.get(keyOf(entry));
    if (there === undefined) this.entries.set(keyOf(entry), new Set([entry]));
    else there.add(entry);
    this.count++;
    return { entry, pending: { accepted: accepted.promise, outcome: outcome.promise } };
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

  /** Jobs whose outcome is all that is missing, each once. */
  accepted(): JobRef[] {
    const refs: JobRef[] = [];
    for (const there of this.entries.values()) {
      for (const { state, pool, id } of there) {
        if (state !== 'accepted') continue;
        refs.push({ pool, id });
        break;
      }
    }
    return refs;
  }
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
