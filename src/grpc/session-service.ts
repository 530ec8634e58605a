import type { handleBidiStreamingCall, ServerDuplexStream } from '@grpc/grpc-js';
import type { Clock, Ids, Random } from '../domain/clock.js';
import { invalid, MusterError, toError, unavailable } from '../domain/errors.js';
import { HEARTBEAT, Heartbeat } from '../domain/heartbeat.js';
import { allowPool, type Identity, speakerOf } from '../domain/identity.js';
import { Code, isTerminal } from '../domain/job.js';
import { checkId } from '../domain/names.js';
import type { Jobs, Watched } from '../jobs/jobs.js';
import { cutUtf8 } from './checks.js';
import { fromJobRecord, type JobLimits, toJobSpec } from './convert-job.js';
import type { Caller } from './fair-share.js';
import {
  type Job,
  type JobRef,
  type JobSpec,
  JobState,
  type Open,
  type Opened,
  SessionRequest,
  type SessionResponse,
  type SubmitResult,
} from './generated/muster/v1/job.js';
import { decoded, Intake, type RequestStream } from './intake.js';
import { Outbox } from './outbox.js';
import type { Pacer } from './pacer.js';
import type { Quotas } from './quotas.js';
import { toStatus, wordsOf } from './status.js';
import { toDuration } from './time.js';
import type { Identify } from './unary.js';

export interface SessionServiceOptions {
  jobs: Jobs;
  limits: JobLimits;
  clock: Clock;
  ids: Ids;
  random: Random;
  /** A session is asked to open anew when it is so old, less a random part: before its connection is so old that it is closed. */
  turnOverMs: number;
  /** So many jobs of one session may be under way. */
  window: number;
  /** The largest message that this replica receives. */
  maxFrameBytes: number;
  /** A heartbeat goes down each stream this often. */
  heartbeatMs: number;
  /** Aborted when this replica stops: sessions are asked to open elsewhere. */
  stopping: AbortSignal;
  replica: string;
  onError: (error: unknown) => void;
  /** A frame that nobody here knows, from a newer peer. */
  onUnknownFrame: () => void;
  /** undefined: nobody is asked who calls. */
  identify?: Identify;
  /** undefined: nobody has any. */
  quotas?: Quotas;
  pacer: Pacer;
}

const MAX_LIST = 64;
/** What gRPC receives by default. */
const DEFAULT_FRAME_BYTES = 4 * 1024 * 1024;
/** Of an outcome beside its contents: names, times, and the frame around it. */
const ENVELOPE_BYTES = 1_024;
/** Of an entry of a map beside its key and value. */
const ENTRY_BYTES = 16;
/** Of an ID that is refused: enough to recognize it. */
const MAX_ID_BYTES = 1_024;
const NO_BYTES = Buffer.alloc(0);
const TURN_JITTER = 0.2;
/** An outcome of that size does not need to wait in Redis for a client that does not read. */
const SMALL_BYTES = 1_024;
/** A client that announced heartbeats and sends nothing for so many intervals hangs: what it awaits is let go. */
const SILENT_INTERVALS = 10;

type SessionCall = ServerDuplexStream<SessionRequest, SessionResponse>;

interface Frames {
  opened: Opened;
  accepted: SubmitResult;
  outcomes: Job;
  reopen: string;
  heartbeat: Record<string, never>;
}

function frameOf<Kind extends keyof Frames & string>(kind: Kind, items: Frames[Kind][]): SessionResponse {
  return { frame: contentOf(kind, items) };
}

function contentOf(kind: keyof Frames & string, items: unknown[]): SessionResponse['frame'] {
  switch (kind) {
    case 'opened':
      return { $case: kind, value: items[0] as Opened };
    case 'accepted':
      return { $case: kind, value: { results: items as SubmitResult[] } };
    case 'outcomes':
      return { $case: kind, value: { jobs: items as Job[] } };
    case 'reopen':
      return { $case: kind, value: { reason: items[0] as string } };
    case 'heartbeat':
      return { $case: kind, value: {} };
  }
}

/** JobService.Session: one client's submissions and outcomes. */
export function createSession(options: SessionServiceOptions): handleBidiStreamingCall<SessionRequest, SessionResponse> {
  const open = new Set<Session>();
  // One listener for all of them: Node warns of a leak at the eleventh, and each would search the list when it leaves.
  options.stopping.addEventListener('abort', () => {
    for (const session of open) session.reopen('draining');
  });
  return (call) => {
    const session = new Session(call, options, () => open.delete(session));
    open.add(session);
    session.start();
  };
}

/** A job that counts against the window: submitted or awaited, and not acknowledged. */
interface UnderWay {
  /** Ends its wait; undefined: nobody waits for it (yet, or any more). */
  drop: (() => void) | undefined;
  /** Its caller's count of waits has it. */
  waits: boolean;
  /** Its outcome was sent. Submitted once more, it is sent again. */
  told: boolean;
}

class Session {
  readonly #call: SessionCall;
  readonly #options: SessionServiceOptions;
  readonly #outbox: Outbox<SessionResponse, Frames>;
  readonly #caller: Caller;
  readonly #intake: Intake<Buffer>;
  readonly #underWay = new Map<string, UnderWay>();
  /** Ended while the client did not read. Their outcomes stay in Redis until it does. */
  readonly #owed = new Map<string, JobRef>();
  #paying = false;
  /** The largest message that the client receives. */
  #maxOutcomeBytes = DEFAULT_FRAME_BYTES;
  readonly #over = new AbortController();
  readonly #identity: Identity | undefined;
  #open = false;
  #stopAging: (() => void) | undefined;
  #heartbeat: Heartbeat | undefined;
  readonly #onOver: () => void;

  constructor(call: SessionCall, options: SessionServiceOptions, onOver: () => void) {
    this.#onOver = onOver;
    this.#call = call;
    this.#options = options;
    this.#identity = options.identify?.(call.metadata);
    this.#outbox = new Outbox<SessionResponse, Frames>(call, frameOf, () => this.#room(), options.pacer.backlog);
    this.#caller = options.pacer.enter(call);
    // Its messages come undecoded (see Pacer).
    this.#intake = new Intake(call as unknown as RequestStream<Buffer>, this.#caller, {
      take: (message) => this.#take(message),
      full: () => this.#outbox.full,
    });
  }

  start(): void {
    for (const event of ['end', 'error', 'cancelled']) this.#call.on(event, () => this.#end());
    if (this.#options.stopping.aborted) this.reopen('draining');
    this.#age();
  }

  /** Its client opens another one elsewhere, and ends this one. */
  reopen(reason: 'draining' | 'age'): void {
    this.#outbox.push('reopen', reason);
  }

  #age(): void {
    const { clock, random, turnOverMs } = this.#options;
    this.#stopAging = clock.after(turnOverMs * (1 - TURN_JITTER * random()), () => {
      this.reopen('age');
      this.#age();
    });
  }

  #take(message: Buffer): void {
    try {
      this.#read(decoded(SessionRequest.decode, message));
    } catch (error) {
      this.#end(error);
    }
  }

  #room(): void {
    this.#intake.wake();
    if (this.#owed.size > 0) void this.#pay();
  }

  #read({ frame }: SessionRequest): void {
    if (this.#over.signal.aborted) return;
    this.#heartbeat?.received();
    if (frame === undefined) return this.#options.onUnknownFrame();
    if (frame.$case === 'open') return this.#opened(frame.value);
    if (!this.#open) throw invalid(frame.$case, 'the first frame is Open');
    switch (frame.$case) {
      case 'submit':
        if (frame.value.specs.length > MAX_LIST) throw invalid('submit.specs', `must be at most ${MAX_LIST} a frame`);
        for (const [i, spec] of frame.value.specs.entries()) void this.#submit(spec, `submit.specs[${i}]`);
        return;
      case 'cancel':
        for (const [pool, ids] of byPool(this.#refs(frame.value.jobs, 'cancel.jobs'))) void this.#cancel(pool, ids);
        return;
      case 'ack':
        for (const ref of this.#refs(frame.value.jobs, 'ack.jobs')) this.#forget(keyOf(ref));
        return;
      case 'awaitJobs':
        void this.#await(this.#refs(frame.value.jobs, 'await_jobs.jobs').filter((ref) => this.#enter(ref)));
        return;
    }
  }

  #opened({ awaiting, maxFrameBytes, capabilities }: Open): void {
    const { window, replica, limits, maxFrameBytes: ownFrameBytes, clock, heartbeatMs } = this.#options;
    if (this.#open) throw invalid('open', 'only the first frame is Open: open another stream for another session');
    const refs = this.#refs(awaiting, 'open.awaiting', window);
    this.#open = true;
    if (maxFrameBytes > 0) this.#maxOutcomeBytes = maxFrameBytes;
    const opened = {
      replica,
      window,
      maxPayloadBytes: limits.maxPayloadBytes,
      maxFrameBytes: ownFrameBytes,
      heartbeatInterval: toDuration(heartbeatMs),
    };
    this.#outbox.push('opened', opened, Number.MAX_SAFE_INTEGER);
    this.#heartbeat = new Heartbeat({
      clock,
      intervalMs: heartbeatMs,
      send: () => {
        // A frame that waits says as much.
        if (this.#outbox.idle) this.#outbox.push('heartbeat', {});
      },
      silentIntervals: SILENT_INTERVALS,
      ...(capabilities.includes(HEARTBEAT) ? { onSilent: () => this.#silent() } : {}),
    });
    void this.#await(refs.filter((ref) => this.#enter(ref)));
  }

  #silent(): void {
    // Its frames may wait because this side does not read them now.
    if (this.#intake.unread) return;
    this.#end(unavailable('SILENT', 'the client sent no heartbeat: open another stream'));
  }

  async #submit(spec: JobSpec, field: string): Promise<void> {
    const { jobs, limits, ids, clock, quotas } = this.#options;
    let ref: JobRef = { pool: spec.pool, id: spec.id };
    let watched: Watched | undefined;
    const bytes = spec.payload.length;
    this.#intake.hold('items');
    this.#intake.hold('bytes', bytes);
    // Another submission under that id may be under way: the outcome is sent once.
    let first = false;
    try {
      const job = toJobSpec(spec, limits, ids, clock, field);
      ref = { pool: job.pool, id: job.id };
      allowPool(this.#identity, job.pool, `${field}.pool`);
      first = this.#enter(ref);
      const by = speakerOf(this.#identity, true);
      const submit = async (told: boolean) => {
        if (!first) return jobs.submit(job, { told, by });
        watched = await jobs.submitAndWatch(job, { by });
        return watched;
      };
      const { created } = await (quotas ? quotas.submit(this.#identity, () => jobs.untilEnded(job.pool, job.id), submit) : submit(false));
      this.#outbox.push('accepted', { id: job.id, created, code: 0, message: '', reason: '' });
    } catch (error) {
      if (error instanceof MusterError && error.reason === 'WINDOW_FULL') return this.#end(error);
      if (first) this.#forget(keyOf(ref));
      const words = wordsOf(error);
      if (words.reason === 'INTERNAL') this.#options.onError(error);
      this.#outbox.push('accepted', { id: cutUtf8(spec.id, MAX_ID_BYTES), created: false, ...words });
    } finally {
      this.#intake.release('items');
      this.#intake.release('bytes', bytes);
    }
    if (watched) await this.#outcome(ref, watched);
  }

  /** The outcome and its bytes. What is larger than the client receives goes without its output, or else its payload: a stream that breaks over it would break again. */
  #fitting(job: Job): [job: Job, bytes: number] {
    const bytes = bytesOf(job);
    if (bytes <= this.#maxOutcomeBytes) return [job, bytes];
    const small = { ...job, spec: job.spec && { ...job.spec, payload: NO_BYTES } };
    if (bytesOf(small) > this.#maxOutcomeBytes) {
      const message = `the outcome has ${bytes} bytes, and this client receives ${this.#maxOutcomeBytes}: get the job with a larger receive limit`;
      const rest = { reason: 'outcome_too_large', retryable: false, details: NO_BYTES, retryDelay: undefined };
      small.outcome = { $case: 'failure', value: { code: Code.RESOURCE_EXHAUSTED, message, ...rest } };
    }
    return [small, bytesOf(small)];
  }

  /** Jobs that the client names, of pools that it may name. */
  #refs(list: JobRef[], field: string, most = MAX_LIST): JobRef[] {
    if (list.length > most) throw invalid(field, `must be at most ${most} a frame`);
    return list.map(({ pool, id }, i) => ({ pool: allowPool(this.#identity, pool, `${field}[${i}].pool`), id: checkId(id, `${field}[${i}].id`) }));
  }

  /** A few at a time: each of them costs Redis some calls. */
  async #await(all: JobRef[]): Promise<void> {
    try {
      for (const [pool, ids] of byPool(all)) {
        for (let i = 0; i < ids.length && !this.#over.signal.aborted; i += MAX_LIST) {
          const some = ids.slice(i, i + MAX_LIST);
          const watched = await this.#intake.during(this.#options.jobs.watchAll(pool, some));
          some.forEach((id, j) => {
            const one = watched[j];
            if (one) void this.#outcome({ pool, id }, one);
            else this.#tell({ pool, id }, gone({ pool, id }));
          });
        }
      }
    } catch (error) {
      // The client learns what it missed by opening anew.
      this.#end(error);
    }
  }

  /** Sends the outcome when it is there, unless the job is acknowledged before. */
  async #outcome(ref: JobRef, watched: Watched): Promise<void> {
    const under = this.#underWay.get(keyOf(ref));
    if (!under || under.drop || this.#over.signal.aborted) return watched.drop();
    if (watched.over) return this.#owe(ref);
    under.drop = watched.drop;
    try {
      const record = await watched.ended();
      under.drop = undefined;
      this.#endWait(under);
      if (!isTerminal(record.state)) return;
      const bytes = record.output?.length ?? 0;
      if (bytes > SMALL_BYTES && this.#outbox.full) this.#owe(ref);
      else this.#tell(ref, fromJobRecord(record));
    } catch (error) {
      this.#failed(ref, error);
    }
  }

  /** Its outcome is read when the client has read those before it. */
  #owe(ref: JobRef): void {
    this.#owed.set(keyOf(ref), ref);
    if (!this.#outbox.full) void this.#pay();
  }

  /** One at a time: what is not read stays in Redis. */
  async #pay(): Promise<void> {
    if (this.#paying) return;
    this.#paying = true;
    for (const [key, ref] of this.#owed) {
      if (this.#outbox.full || this.#over.signal.aborted) break;
      this.#owed.delete(key);
      try {
        const record = await this.#intake.during(this.#options.jobs.get(ref.pool, ref.id));
        this.#tell(ref, fromJobRecord(record));
      } catch (error) {
        this.#failed(ref, error);
      }
    }
    this.#paying = false;
  }

  /** A job that is gone comes with its name and no state. */
  #failed(ref: JobRef, error: unknown): void {
    if (error instanceof MusterError && error.code === 'not_found') this.#tell(ref, gone(ref));
    // The client learns what it missed by opening anew.
    else this.#end(error);
  }

  #tell(ref: JobRef, job: Job): void {
    const under = this.#underWay.get(keyOf(ref));
    if (!under) return;
    this.#endWait(under);
    under.told = true;
    this.#outbox.push('outcomes', ...this.#fitting(job));
  }

  async #cancel(pool: string, ids: string[]): Promise<void> {
    try {
      await this.#intake.during(this.#options.jobs.cancelAll(pool, ids));
    } catch (error) {
      this.#options.onError(error);
    }
  }

  /** false: it is under way already. Throws WINDOW_FULL and QUOTA_WAITS. */
  #enter(ref: JobRef): boolean {
    const key = keyOf(ref);
    const there = this.#underWay.get(key);
    if (there && !there.told) return false;
    if (!there && this.#underWay.size >= this.#options.window) {
      throw new MusterError(
        'resource_exhausted',
        'WINDOW_FULL',
        `submit: ${this.#options.window} jobs are under way: acknowledge outcomes before you submit more`,
        {
          field: 'submit',
        },
      );
    }
    this.#caller.wait();
    this.#underWay.set(key, { drop: undefined, waits: true, told: false });
    return true;
  }

  /** The job counts no more, and its outcome is not sent any more. */
  #forget(key: string): void {
    const under = this.#underWay.get(key);
    if (!under) return;
    this.#underWay.delete(key);
    this.#owed.delete(key);
    under.drop?.();
    this.#endWait(under);
  }

  #endWait(under: UnderWay): void {
    if (under.waits) this.#caller.endWait();
    under.waits = false;
  }

  #end(thrown?: unknown): void {
    if (this.#over.signal.aborted) return;
    this.#over.abort();
    this.#stopAging?.();
    this.#heartbeat?.stop();
    this.#onOver();
    for (const key of [...this.#underWay.keys()]) this.#forget(key);
    this.#intake.stop();
    this.#outbox.close();
    if (thrown === undefined) return void this.#call.end();
    if (!(thrown instanceof MusterError)) this.#options.onError(toError(thrown));
    this.#call.emit('error', toStatus(thrown));
  }
}

function keyOf({ pool, id }: JobRef): string {
  return `${pool} ${id}`;
}

/** On the wire, at the most. */
function bytesOf({ spec, outcome, progress }: Job): number {
  let bytes = ENVELOPE_BYTES + progress.length + (spec?.payload.length ?? 0);
  for (const [key, value] of Object.entries(spec?.metadata ?? {})) bytes += ENTRY_BYTES + 3 * (key.length + value.length);
  if (outcome?.$case === 'output') bytes += outcome.value.length;
  if (outcome?.$case === 'failure') bytes += 3 * outcome.value.message.length + outcome.value.details.length;
  return bytes;
}

function byPool(jobs: JobRef[]): Map<string, string[]> {
  const pools = new Map<string, string[]>();
  for (const { pool, id } of jobs) {
    const ids = pools.get(pool);
    if (ids) ids.push(id);
    else pools.set(pool, [id]);
  }
  return pools;
}

function gone({ pool, id }: JobRef): Job {
  return {
    spec: {
      id,
      pool,
      work: undefined,
      payload: Buffer.alloc(0),
      metadata: {},
      priority: 0,
      notBefore: undefined,
      queueTimeout: undefined,
      runTimeout: undefined,
      totalTimeout: undefined,
      retry: undefined,
      retention: undefined,
    },
    state: JobState.JOB_STATE_UNSPECIFIED,
    attempt: 0,
    worker: '',
    outcome: undefined,
    createTime: undefined,
    startTime: undefined,
    finishTime: undefined,
    nextTime: undefined,
    waitingReason: '',
    progress: Buffer.alloc(0),
    handovers: 0,
  };
}
