import type { Unreached } from './answer.js';
import { MusterError } from './errors.js';
import type { Assignment, Outcome, Verdict } from './job.js';
import type { Address, Contract, WorkerRef } from './worker.js';

/** Which attempt on which worker. */
export interface LeaseRef {
  pool: string;
  worker: string;
  jobId: string;
  fence: string;
}

/** What a worker answers when asked who it is and what it runs. Its answer is a sign of life, whatever it says. */
export interface ProbeAnswer {
  /** The id it goes by; '' when its contract has no such answer (METHOD). */
  workerId: string;
  /** Which life of it answers; '' when its contract, or the worker, does not say. */
  boot: string;
  /** It takes no job now. Always false for METHOD workers that serve no health protocol. */
  busy: boolean;
  /**
   * What it holds, for contracts that can tell (RUNNER). `done`: that is a result which nobody came for, and runs no more. Undefined: it cannot; then FREE (LEGACY) means that it runs nothing,
   * and a METHOD answer says nothing about leases at all.
   */
  held: { jobId: string; fence: string; done: boolean }[] | undefined;
  /** May the absence of a lease in this answer be read as "it does not run that"? false for METHOD, and for a LEGACY worker that is busy. */
  tellsIdle: boolean;
}

/** Somebody else than that life of that worker answers there: the words for it. Undefined: nothing says so. */
export function otherThan({ id, boot }: Pick<WorkerRef, 'id' | 'boot'>, answer: Pick<ProbeAnswer, 'workerId' | 'boot'>): string | undefined {
  if (answer.workerId !== '' && answer.workerId !== id) return `answers as ${answer.workerId}`;
  if (answer.boot !== '' && answer.boot !== boot) return `answers with the boot ${answer.boot}`;
  return undefined;
}

/** Why a probe brought no answer. `answered_badly`: not as its contract has it. */
export class ProbeFailed extends Error {
  override readonly name = 'ProbeFailed';
  constructor(
    readonly kind: Unreached | 'answered_badly',
    message: string,
  ) {
    super(message);
  }
}

/** For the log: whoever is at that worker's address is not trusted, and someone should know. */
export function untrusted({ pool, id }: Pick<WorkerRef, 'pool' | 'id'>, { message }: ProbeFailed): MusterError {
  return new MusterError('failed_precondition', 'UNTRUSTED_WORKER', `worker ${pool}/${id}: ${message}`);
}

/** Why a lease never became an attempt. */
export interface Released {
  /** One sentence. */
  reason: string;
  /** The worker gets no jobs until a probe finds it free. */
  blocked: boolean;
  /** Nobody answered there, or whom nobody trusts: no doing of the job's. It is `blocked` then. */
  unreached?: boolean;
}

/** What an attempt's call came to, as the link reads it (`protocol`: how the answer of a call is read). */
export type Delivery =
  /** It ended; here is its result. */
  | { kind: 'result'; outcome: Outcome }
  /** The worker took it and reports later. Its run goes on without a call open. */
  | { kind: 'accepted' }
  /** It never began: back to the queue, no attempt spent. */
  | ({ kind: 'released' } & Released)
  /** We aborted it, and the call is over. `stopped`: and with it the run, as its worker said or as its contract has it; else it may go on. */
  | { kind: 'aborted'; stopped: boolean }
  /** The call broke after it was sent: it may run, may have ended, may be lost. Ask the worker. */
  | { kind: 'unknown'; outcome: Outcome };

/**
 * What flows up from a link. Frames and calls end here; whoever implements it must not throw.
 */
export interface LinkEvents {
  /** The call of one attempt came to something. Called at most once for each `assign`. */
  delivered(lease: LeaseRef, ref: WorkerRef, delivery: Delivery): void;
  /** The worker itself was heard: an answer, whatever it said. */
  heard(ref: WorkerRef): void;
  /**
   * The link is gone, not by our own close. `reset`: the worker's host closed it without a word, as it does for a process that was killed. For
   * links that the worker opens (ATTACHED); others are made anew when needed.
   */
  closed(link: Link, reason: string, reset: boolean): void;
}

/**
 * A replica's live connection to one worker. Nothing above `links/` knows of which kind it is.
 */
export interface Link {
  readonly ref: WorkerRef;
  readonly contract: Contract;
  readonly address: Address;
  /** Monotonic ms at which the worker was last heard; negative: never over this link. */
  readonly heardAt: number;
  /** Sends one attempt; its end comes through `LinkEvents.delivered`. Again with the same fence: a no-op while its call is open. */
  assign(assignment: Assignment): void;
  /** Tells the worker to stop that attempt. Resolves when it was told; a worker that does not listen goes on. Never rejects. */
  abort(jobId: string, fence: string): Promise<void>;
  /** Asks the worker; rejects with ProbeFailed. */
  probe(timeoutMs: number): Promise<ProbeAnswer>;
  /** Is a call for that lease open on this link now? */
  isOpen(jobId: string, fence: string): boolean;
  /** How many calls are open. */
  readonly openCalls: number;
  /** Redis has answered for a result that came over this link; undefined: it was given up. For links on which results are settled one by one (ATTACHED). */
  settled?(jobId: string, fence: string, verdict: Verdict | undefined): void;
  /** Tells the worker that a lease is not its any more: as `abort`, but without a result. For links that the worker opens (ATTACHED). */
  revoke?(jobId: string, fence: string): void;
  /** Asks the worker to come back over another link, here or at another replica. For links that the worker opens (ATTACHED). */
  reattach?(reason: string, withinMs: number): void;
  /** Ends the connection, cancelling what is open. Idempotent. */
  close(): void;
}

/** Makes links. The test of a worker that is not on the roll yet goes through it too. */
export interface Dialer {
  dial(target: DialTarget, events: LinkEvents): Link;
}

export interface DialTarget {
  ref: WorkerRef;
  address: Address;
  contract: Exclude<Contract, 'ATTACHED'>;
  slots: number;
}
