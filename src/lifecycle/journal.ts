import type { Clock } from '../domain/clock.js';
import type { Assignment, JobSpec } from '../domain/job.js';
import type { LeaseRef } from '../domain/link.js';
import { type Happening, type JobEnd, type Observer, type TurnedAway, UNOBSERVED } from '../domain/observer.js';
import { traceOf } from '../domain/trace.js';
import type { Logger } from './log.js';
import { seldom } from './seldom.js';

type Level = 'debug' | 'info' | 'warn';

/** Whoever is meant stands in the same fields everywhere. Never a payload, a result or a token. */
interface Who {
  pool: string;
  job?: string;
  worker?: string;
  trace_id?: string;
}

/** How a happening is said. What is not here is said by whoever asked for it. */
const WORDS: Record<string, { level: Level; words: string }> = {
  'worker.registered': { level: 'debug', words: 'worker registered' },
  'worker.suspect': { level: 'warn', words: 'worker suspect' },
  'worker.dead': { level: 'warn', words: 'worker dead' },
  'worker.adopted': { level: 'info', words: 'worker adopted' },
  'worker.drained': { level: 'info', words: 'worker drained' },
  'worker.undrained': { level: 'info', words: 'worker takes jobs again' },
  'job.buried': { level: 'warn', words: 'dead letter' },
  'job.retried': { level: 'info', words: 'dead letter taken out' },
  'pool.paused': { level: 'info', words: 'pool paused' },
  'pool.resumed': { level: 'info', words: 'pool resumed' },
  'pool.forgotten': { level: 'info', words: 'the pool was empty for POOL_IDLE_MS and is forgotten' },
  'pool.deleted': { level: 'info', words: 'the pool is deleted' },
  'pool.clock': { level: 'warn', words: 'the clock of Redis stepped back: the pool keeps its time and follows within hours' },
  'pool.grace': { level: 'warn', words: 'nobody ticked for a while: nothing expires until the grace is over' },
};

/** A worker that went by its own wish, or to be replaced, is no news. */
const ORDINARY: ReadonlySet<string> = new Set(['deregistered', 'superseded']);

/** A fleet that falls silent at once must not bury the log: so many lines of a kind in a second, and then how many more there were. */
const LINES = 50;
const PERIOD_MS = 1_000;

/** The log of what happens: transitions at levels that a person wants to see; at debug each job's way through this replica. */
export function journal(log: Logger, clock: Clock): Observer {
  const limited = limiter(log, clock);
  const happened = (pool: string, { kind, subject, fields }: Happening) => {
    const known = WORDS[kind];
    if (known === undefined) return;
    const level = ORDINARY.has(fields['reason'] ?? '') ? 'info' : known.level;
    if (!log.isLevelEnabled(level)) return;
    const what = kind.slice(0, kind.indexOf('.'));
    const who: Who = { pool, ...(what === 'job' ? { job: subject } : what === 'worker' ? { worker: subject } : {}) };
    limited(kind, level, { ...fields, ...who }, known.words);
  };
  const always = { ...UNOBSERVED, happened, ...edge(log, clock) };
  if (!log.isLevelEnabled('debug')) return always;
  return {
    ...always,
    submitting: (spec: JobSpec) => {
      const who = { pool: spec.pool, job: spec.id, ...trace(spec.metadata) };
      return {
        accepted: (created) => log.debug({ ...who, created }, 'job submitted'),
        over: (error) => {
          if (error) log.debug({ ...who, err: error.message }, 'job refused');
        },
      };
    },
    assigned: ({ pool, jobId, worker, fence, attempt, waitedMs, metadata }: Assignment) =>
      log.debug({ pool, job: jobId, worker, ...trace(metadata), fence, attempt, waitedMs }, 'job assigned'),
    ended: ({ pool, jobId, worker, fence }: LeaseRef, { state, attempt, createdAt, finishedAt }: JobEnd) =>
      log.debug({ pool, job: jobId, worker, fence, attempt, state, tookMs: finishedAt - createdAt }, 'job ended'),
    linked: (pool, worker) => log.debug({ pool, worker }, 'link opened'),
    unlinked: (pool, worker, reason) => log.debug({ pool, worker, reason }, 'link closed'),
  };
}

const TURNED_AWAY: Record<TurnedAway, string> = {
  full: 'connections are closed as they come: MAX_CONNECTIONS are open',
  tls: 'connections are closed: no TLS came of them',
  silent: 'connections are closed: nobody spoke HTTP/2 on them within PREFACE_MS',
};

/** Less is left than a person may need to get another one. */
const EXPIRES_SOON_MS = 14 * 86_400_000;

function edge(log: Logger, clock: Clock): Pick<Observer, 'turnedAway' | 'certificate'> {
  const now = seldom(clock);
  return {
    turnedAway: (listener, why, peer) => now(`${listener} ${why}`, (times) => log.warn({ listener, reason: why, peer, times }, TURNED_AWAY[why])),
    certificate: (use, expiresAt) => {
      const leftMs = expiresAt - clock.now();
      if (leftMs >= EXPIRES_SOON_MS) return;
      const about = { use, setting: use === 'server' ? 'TLS_CERT' : 'DIAL_CERT', expires: new Date(expiresAt).toISOString() };
      log.warn(
        about,
        leftMs > 0
          ? 'a certificate expires soon: exchange its file, it is read again'
          : 'a certificate has expired: exchange its file, it is read again',
      );
    },
  };
}

function trace(metadata: Readonly<Record<string, string>>): { trace_id?: string } {
  const context = traceOf(metadata);
  return context === undefined ? {} : { trace_id: context.traceId };
}

function limiter(log: Logger, clock: Clock): (kind: string, level: Level, about: object, words: string) => void {
  const periods = new Map<string, { since: number; lines: number; unsaid: number }>();
  return (kind, level, about, words) => {
    const now = clock.monotonic();
    let period = periods.get(kind);
    if (!period || now - period.since >= PERIOD_MS) {
      if (period && period.unsaid > 0) log[level]({ unsaid: period.unsaid }, words);
      period = { since: now, lines: 0, unsaid: 0 };
      periods.set(kind, period);
    }
    if (period.lines < LINES) {
      period.lines++;
      log[level](about, words);
    } else period.unsaid++;
  };
}
