import { failed } from '../domain/answer.js';
import type { Clock } from '../domain/clock.js';
import { MusterError } from '../domain/errors.js';
import { type Assignment, Code, type Outcome, type Verdict } from '../domain/job.js';
import { type LeaseRef, type Link, type LinkEvents, type ProbeAnswer, ProbeFailed } from '../domain/link.js';
import type { Address, WorkerRef } from '../domain/worker.js';
import { GuessBudget, MAX_GUESSES } from './guess-budget.js';

/** What goes down to an attached worker; the stream behind it puts it into frames. */
export interface AttachedStream {
  assign(assignment: Assignment): void;
  cancel(jobId: string, fence: string): void;
  revoke(jobId: string, fence: string): void;
  settled(jobId: string, fence: string, verdict: Verdict): void;
  ping(nonce: number): void;
  reattach(reason: string, withinMs: number): void;
  /** The worker does not read, and so much waits for it that nothing large may be added. */
  readonly overfull: boolean;
  /** A result of so many bytes is on its way to Redis; Redis has answered for it. While there are too many of them the worker is not read. */
  resultTaken(bytes: number): void;
  resultSettled(bytes: number): void;
  /** Ends it; with an error: as that says. Idempotent. */
  end(error?: MusterError): void;
}

export interface AttachedOptions {
  clock: Clock;
  /** So many results may wait for their settlement. */
  maxUnsettled: number;
  /** A settlement waits so long for others, or for an assignment, to go along with. */
  settleMs: number;
  /** Told of each lease that the worker named and was never given (see GuessBudget). */
  onGuess: () => void;
  /** The largest message that the worker receives. */
  maxFrameBytes: number;
}

/** So many settlements wait for others, at the most. */
const SETTLED_AT_ONCE = 32;
/** An assignment takes along what has waited for that part of the time: a packet the less, for a worker that has few jobs. */
const RIPE = 0.25;

type Held = { jobId: string; fence: string; done: boolean }[];

/** Of an assignment beside its contents: names, times, and the frame around it. */
const ENVELOPE_BYTES = 1_024;
/** Of an entry of a map beside its key and value. */
const ENTRY_BYTES = 16;

/** On the wire, at the most. */
export function bytesOf({ payload, metadata, progress }: Pick<Assignment, 'payload' | 'metadata' | 'progress'>): number {
  let bytes = ENVELOPE_BYTES + payload.length + progress.length;
  for (const [key, value] of Object.entries(metadata)) bytes += ENTRY_BYTES + 3 * (key.length + value.length);
  return bytes;
}

const NOWHERE: Address = { ip: '', port: 0 };

/** The link to a worker that opened a stream to this replica. */
export class AttachedLink implements Link {
  readonly contract = 'ATTACHED';
  readonly address = NOWHERE;
  readonly ref: WorkerRef;
  readonly #stream: AttachedStream;
  readonly #events: LinkEvents;
  readonly #options: AttachedOptions;
  /** Each with its bytes. */
  readonly #unsettled = new Map<string, number>();
  readonly #guesses: GuessBudget;
  readonly #pings = new Map<number, (held: Held | undefined) => void>();
  readonly #settlements: { jobId: string; fence: string; verdict: Verdict }[] = [];
  #cancelSettling: (() => void) | undefined;
  /** Monotonic ms since when a settlement waits; while one does. */
  #settlingSince = 0;
  #leaving = false;
  #nonce = 0;
  #heardAt: number;
  #closed = false;

  /** `brought`: how many leases the worker says that it has from earlier streams. */
  constructor(ref: WorkerRef, stream: AttachedStream, events: LinkEvents, options: AttachedOptions, brought = 0) {
    this.ref = ref;
    this.#stream = stream;
    this.#events = events;
    this.#options = options;
    this.#heardAt = options.clock.monotonic();
    this.#guesses = new GuessBudget(options.clock);
    this.#guesses.given(brought);
  }

  get heardAt(): number {
    return this.#heardAt;
  }

  /** Results whose settlement is outstanding: nothing else is lost with the stream. */
  get openCalls(): number {
    return this.#unsettled.size;
  }

  /** What an attached worker runs is never bound to the stream: its word in `probe` counts. */
  isOpen(): boolean {
    return false;
  }

  assign(assignment: Assignment): void {
    const lease = this.#lease(assignment.jobId, assignment.fence);
    const bytes = bytesOf(assignment);
    if (bytes > this.#options.maxFrameBytes) {
      const message = `the job has ${bytes} bytes, and its worker receives ${this.#options.maxFrameBytes}`;
      queueMicrotask(() => this.#events.delivered(lease, this.ref, failed(Code.RESOURCE_EXHAUSTED, 'payload_too_large', message, false)));
      return;
    }
    const delivery = this.#refusal() ?? ({ kind: 'accepted' } as const);
    if (delivery.kind === 'accepted') {
      this.#guesses.given(1);
      this.#stream.assign(assignment);
      const { clock, settleMs } = this.#options;
      if (this.#cancelSettling && clock.monotonic() - this.#settlingSince >= settleMs * RIPE) this.#settle();
    }
    queueMicrotask(() => this.#events.delivered(lease, this.ref, delivery));
  }

  /** Why an assignment cannot be sent. A worker that does not read gets no jobs until it has answered a probe: it reads that after all before. */
  #refusal() {
    if (this.#closed) return { kind: 'released', reason: 'the stream had ended', blocked: false } as const;
    if (!this.#stream.overfull) return undefined;
    return { kind: 'released', reason: 'the worker does not read its stream', blocked: true, unreached: true } as const;
  }

  async abort(jobId: string, fence: string): Promise<void> {
    if (!this.#closed) this.#stream.cancel(jobId, fence);
  }

  probe(timeoutMs: number): Promise<ProbeAnswer> {
    if (this.#closed) return Promise.reject(new ProbeFailed('refused', 'the stream has ended'));
    const nonce = ++this.#nonce;
    const over = new AbortController();
    return new Promise((resolve, reject) => {
      const settle = (held: Held | undefined) => {
        this.#pings.delete(nonce);
        over.abort();
        if (held) resolve({ workerId: this.ref.id, boot: this.ref.boot, busy: false, held, tellsIdle: true });
        else reject(new ProbeFailed(this.#closed ? 'refused' : 'silent', this.#closed ? 'the stream has ended' : 'no pong in time'));
      };
      this.#pings.set(nonce, settle);
      void this.#options.clock.sleep(timeoutMs, over.signal).then(() => this.#pings.get(nonce)?.(undefined));
      this.#stream.ping(nonce);
    });
  }

  /** The worker only keeps the result a little longer: a frame a job, on a connection a worker, would be a third of what a job costs here. */
  settled(jobId: string, fence: string, verdict: Verdict | undefined): void {
    const bytes = this.#unsettled.get(`${jobId} ${fence}`);
    if (bytes === undefined) return;
    this.#unsettled.delete(`${jobId} ${fence}`);
    this.#stream.resultSettled(bytes);
    if (this.#closed || verdict === undefined) return;
    this.#settlements.push({ jobId, fence, verdict });
    if (verdict === 'foreign') this.guessed(1);
    else if ((verdict === 'stale' || verdict === 'gone') && this.#guesses.unknown()) this.#afterGuess();
    if (this.#closed) return;
    if (this.#leaving || this.#settlements.length >= SETTLED_AT_ONCE) this.#settle();
    else if (!this.#cancelSettling) {
      const { clock, settleMs } = this.#options;
      this.#settlingSince = clock.monotonic();
      this.#cancelSettling = clock.after(settleMs, () => this.#settle());
    }
  }

  /** From the stream: the worker waits for what is not settled, and for nothing else. */
  leaves(): void {
    this.#leaving = true;
    this.#settle();
  }

  /** The worker named so many leases that are other workers'. */
  guessed(leases: number): void {
    for (let i = 0; i < leases && !this.#closed; i++) {
      this.#guesses.guess();
      this.#afterGuess();
    }
  }

  revoke(jobId: string, fence: string): void {
    if (!this.#closed) this.#stream.revoke(jobId, fence);
  }

  reattach(reason: string, withinMs: number): void {
    this.#settle();
    if (!this.#closed) this.#stream.reattach(reason, withinMs);
  }

  close(): void {
    this.end();
  }

  /** Ends the stream: with an error as that says. */
  end(error?: MusterError): void {
    this.#settle();
    if (this.#closed) return;
    this.#closed = true;
    this.#stream.end(error);
    this.#over();
  }

  /** From the stream: the worker was heard. */
  heard(): void {
    this.#heardAt = this.#options.clock.monotonic();
    this.#events.heard(this.ref);
  }

  /** From the stream: a result. Throws `resource_exhausted` when too many wait for their settlement. */
  result(jobId: string, fence: string, outcome: Outcome): void {
    const name = `${jobId} ${fence}`;
    // Sent twice: the answer to the first is on its way.
    if (this.#unsettled.has(name)) return;
    if (this.#unsettled.size >= this.#options.maxUnsettled) {
      throw new MusterError(
        'resource_exhausted',
        'TOO_MANY_UNSETTLED',
        `results: ${this.#options.maxUnsettled} wait for their settlement: wait for Settled`,
      );
    }
    const bytes = outcome.ok ? outcome.output.length : outcome.failure.details.length;
    this.#unsettled.set(name, bytes);
    this.#stream.resultTaken(bytes);
    this.#events.delivered(this.#lease(jobId, fence), this.ref, { kind: 'result', outcome });
  }

  /** From the stream: the answer to a ping, and with it all that the worker holds. */
  pong(nonce: number, held: Held): void {
    this.#pings.get(nonce)?.(held);
  }

  /** From the stream: it is gone, not by our own end. `reset`: the worker's host closed it without a word. */
  gone(reason: string, reset = false): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#over();
    this.#events.closed(this, reason, reset);
  }

  /** Past the bound the worker is no honest one, or its state is another's: it is told, and has to attach anew. */
  #afterGuess(): void {
    this.#options.onGuess();
    if (!this.#guesses.exceeded || this.#closed) return;
    const { id } = this.ref;
    const message = `worker ${id} named more than ${MAX_GUESSES} leases that it was never given: send results and heartbeats of your own leases alone`;
    this.gone('guessed leases');
    this.#stream.end(new MusterError('permission_denied', 'LEASES_GUESSED', message));
  }

  #settle(): void {
    this.#cancelSettling?.();
    this.#cancelSettling = undefined;
    for (const { jobId, fence, verdict } of this.#settlements.splice(0)) if (!this.#closed) this.#stream.settled(jobId, fence, verdict);
  }

  #over(): void {
    this.#settle();
    for (const settle of [...this.#pings.values()]) settle(undefined);
    this.#unsettled.clear();
  }

  #lease(jobId: string, fence: string): LeaseRef {
    return { pool: this.ref.pool, worker: this.ref.id, jobId, fence };
  }
}
