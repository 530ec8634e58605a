import type { Assignment } from '../domain/job.js';
import type { Happening, Observer } from '../domain/observer.js';
import type { Reply } from './runner.js';

/** Readers of script replies. A reply of another shape than its header says is a bug and throws. */
export function text(reply: Reply | undefined): string {
  if (Buffer.isBuffer(reply)) return reply.toString();
  if (typeof reply === 'number') return String(reply);
  if (reply === null) return '';
  throw new TypeError('a script answered another shape than its header says');
}

export function number(reply: Reply | undefined): number {
  return typeof reply === 'number' ? reply : Number(text(reply));
}

export function bytes(reply: Reply | undefined): Buffer {
  if (Buffer.isBuffer(reply)) return reply;
  throw new TypeError('a script answered another shape than its header says');
}

export function items(reply: Reply | undefined): Reply[] {
  if (Array.isArray(reply)) return reply;
  throw new TypeError('a script answered another shape than its header says');
}

/** An assignment by its name. */
export type Withheld = Pick<Assignment, 'pool' | 'jobId' | 'fence' | 'worker' | 'link'>;

export interface Matched<T> {
  reply: T;
  /** For workers of the caller's. */
  assignments: Assignment[];
  /** The same, but the reply was full: `accept` answers with them. undefined: none. */
  withheld?: Withheld[];
  /** It stopped at its bound with work left: run `match`. */
  more: boolean;
}

/** The reply of every script that ends in match: its own, the caller's assignments, `more`. What else it did is told to the observer. */
export function matched<T>(pool: string, reply: Reply, own: (reply: Reply) => T, observer: Pick<Observer, 'happened'>): Matched<T> {
  const [first, assigned, more, news] = items(reply);
  if (news !== undefined) for (const item of items(news)) observer.happened(pool, toHappening(item));
  const assignments: Assignment[] = [];
  const withheld: Withheld[] = [];
  for (const item of items(assigned)) {
    const assignment = toAssignment(pool, item);
    if ('payload' in assignment) assignments.push(assignment);
    else withheld.push(assignment);
  }
  const result = { reply: own(first ?? null), assignments, more: number(more) === 1 };
  return withheld.length > 0 ? { ...result, withheld } : result;
}

function toHappening(reply: Reply): Happening {
  const [kind, subject, ...flat] = items(reply);
  const fields: Record<string, string> = {};
  for (let i = 0; i < flat.length; i += 2) fields[text(flat[i])] = text(flat[i + 1]);
  return { kind: text(kind), subject: text(subject), fields };
}

function toAssignment(pool: string, reply: Reply): Assignment | Withheld {
  const [jobId, fence, worker, link, kind, method, attempt, run, payload, metadata, progress, waited] = items(reply);
  const name = { pool, jobId: text(jobId), fence: text(fence), worker: text(worker), link: text(link) };
  if (payload === null) return name;
  const meta = text(metadata);
  return {
    ...name,
    kind: text(kind),
    method: text(method),
    attempt: number(attempt),
    runTimeoutMs: number(run),
    payload: bytes(payload),
    metadata: meta === '' ? {} : (JSON.parse(meta) as Record<string, string>),
    progress: bytes(progress),
    waitedMs: number(waited),
  };
}
