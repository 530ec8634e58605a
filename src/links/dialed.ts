import type { Clock } from '../domain/clock.js';
import { type Assignment, Code } from '../domain/job.js';
import type { Delivery, DialTarget, LeaseRef, Link, LinkEvents, ProbeAnswer } from '../domain/link.js';
import type { Address, Contract, WorkerRef } from '../domain/worker.js';
import { readAnswer } from './answer.js';
import { readProbeAnswer, type Speech } from './speech.js';
import type { Answer, Wire, WireCall } from './wire.js';

export interface DialedOptions {
  clock: Clock;
  maxResultBytes: number;
  pingTimeoutMs: number;
}

/** So much longer than its run timeout an attempt's call may stay open: a worker that keeps time answers first. */
export const RUN_SLACK_MS = 1_000;

/** `heardAt` of a worker that this link has not heard yet: before everything, but finite, so that differences stay numbers. */
export const NEVER_HEARD = Number.MIN_SAFE_INTEGER;

interface OpenCall {
  lease: LeaseRef;
  work: string;
  call: WireCall;
  aborted: boolean;
  /** Of the timer after which an aborted call is cancelled. */
  stopTimer: (() => void) | undefined;
}

/** The link to one dialed worker, of whatever contract; `Speech` holds what differs. */
export class DialedLink implements Link {
  readonly ref: WorkerRef;
  readonly contract: Contract;
  readonly address: Address;
  readonly #speech: Speech;
  readonly #wire: Wire;
  readonly #events: LinkEvents;
  readonly #options: DialedOptions;
  readonly #open = new Map<string, OpenCall>();
  #heardAt = NEVER_HEARD;
  #closed = false;

  constructor(target: DialTarget, speech: Speech, wire: Wire, events: LinkEvents, options: DialedOptions) {
    this.ref = target.ref;
    this.address = target.address;
    this.contract = target.contract;
    this.#speech = speech;
    this.#wire = wire;
    this.#events = events;
    this.#options = options;
  }

  get heardAt(): number {
    return this.#heardAt;
  }

  get openCalls(): number {
    return this.#open.size;
  }

  isOpen(jobId: string, fence: string): boolean {
    return this.#open.has(keyOf(jobId, fence));
  }

  assign(assignment: Assignment): void {
    const { pool, worker, jobId, fence, kind, method, runTimeoutMs } = assignment;
    const key = keyOf(jobId, fence);
    if (this.#open.has(key)) return;
    const lease = { pool, worker, jobId, fence };
    const order = this.#closed ? 'the link is closed' : this.#speech.order(assignment);
    if (typeof order === 'string') {
      // Later, as every delivery is: the caller may still be in the middle of its own bookkeeping.
      queueMicrotask(() => this.#events.delivered(lease, this.ref, { kind: 'released', reason: order, blocked: false }));
      return;
    }
    const call = this.#wire.call({ ...order, timeoutMs: runTimeoutMs + RUN_SLACK_MS });
    const open: OpenCall = { lease, work: kind === '' ? method : kind, call, aborted: false, stopTimer: undefined };
    this.#open.set(key, open);
    void call.answer.then((answer) => this.#deliver(key, open, answer));
  }

  async abort(jobId: string, fence: string): Promise<void> {
    const open = this.#open.get(keyOf(jobId, fence));
    if (open !== undefined) open.aborted = true;
    if (this.#speech.abort === undefined) {
      open?.call.cancel();
      await open?.call.answer;
      return;
    }
    if (this.#closed) return;
    const { clock, pingTimeoutMs } = this.#options;
    // The worker ends the call itself, by CANCELLED or a result that was already on its way. If it does not, we do.
    if (open !== undefined && open.stopTimer === undefined) open.stopTimer = clock.after(pingTimeoutMs, () => open.call.cancel());
    const answer = await this.#wire.call({ ...this.#speech.abort(jobId, fence), timeoutMs: pingTimeoutMs }).answer;
    if (answer.spoke) this.#hear();
  }

  async probe(timeoutMs: number): Promise<ProbeAnswer> {
    const { clock } = this.#options;
    const startedAt = clock.monotonic();
    let answer = await this.#ask(timeoutMs);
    // A connection that broke under the probe was perhaps the one of a life before. A probe may be repeated; a fresh connection decides.
    if (answer.reach === 'sent' && !answer.spoke && answer.code === Code.UNAVAILABLE && !this.#closed) {
      this.#wire.drop();
      answer = await this.#ask(Math.max(1, timeoutMs - (clock.monotonic() - startedAt)));
    }
    return readProbeAnswer(this.#speech, answer);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    // In this order: what was not sent yet ends as not sent, and only the rest as cancelled.
    this.#wire.close();
    for (const { call } of this.#open.values()) call.cancel();
  }

  async #ask(timeoutMs: number): Promise<Answer> {
    const answer = await this.#wire.call({ ...this.#speech.probe, timeoutMs }).answer;
    if (answer.spoke) this.#hear();
    // An established connection that is mute may be dead at the other end without our knowing: the next call dials anew.
    else if (answer.reach === 'sent' && answer.code === Code.DEADLINE_EXCEEDED) this.#wire.drop();
    return answer;
  }

  #deliver(key: string, open: OpenCall, answer: Answer): void {
    this.#open.delete(key);
    open.stopTimer?.();
    if (answer.spoke) this.#hear();
    const { lease, work, aborted } = open;
    const { maxResultBytes } = this.#options;
    const delivery: Delivery = readAnswer({ contract: this.#speech.contract, answer, lease, work, aborted, maxResultBytes });
    this.#events.delivered(lease, this.ref, delivery);
  }

  #hear(): void {
    this.#heardAt = this.#options.clock.monotonic();
    this.#events.heard(this.ref);
  }
}

function keyOf(jobId: string, fence: string): string {
  return `${fence} ${jobId}`;
}
