import { Code } from '../domain/job.js';
import { codeName } from './api-error.js';

export interface AttemptErrorOptions {
  /** A google.rpc.Code, never OK. Default UNKNOWN. */
  code?: number;
  /** One word for machines, ≤ 64 bytes. */
  reason?: string;
  /** May the attempt be repeated? Default true. */
  retryable?: boolean;
  /** The next attempt not before so many ms; default: the job's own backoff. */
  retryAfterMs?: number;
  /** Opaque, ≤ 4 KiB; more is left out. */
  details?: Uint8Array;
  cause?: unknown;
}

/** Thrown by a handler: how its attempt failed, in the words that the job's Failure will carry. Any other error counts as retryable UNKNOWN. */
export class AttemptError extends Error {
  override readonly name: string = 'AttemptError';
  readonly code: number;
  readonly reason: string;
  readonly retryable: boolean;
  readonly retryAfterMs: number | undefined;
  readonly details: Uint8Array;

  constructor(message: string, options: AttemptErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = options.code ?? Code.UNKNOWN;
    this.reason = options.reason ?? 'handler_threw';
    this.retryable = options.retryable ?? true;
    this.retryAfterMs = options.retryAfterMs;
    this.details = options.details ?? Buffer.alloc(0);
  }
}

/** A handler's word that repeating the attempt is useless: the job fails at once. */
export class PermanentError extends AttemptError {
  override readonly name = 'PermanentError';

  constructor(message: string, options: Omit<AttemptErrorOptions, 'retryable' | 'retryAfterMs'> = {}) {
    super(message, { reason: 'permanent', ...options, retryable: false });
  }
}

/** A handler's wish to be tried again after so many ms (≤ 366 days). The attempt counts: out of attempts, the job fails. */
export class RetryLater extends AttemptError {
  override readonly name = 'RetryLater';

  constructor(retryAfterMs: number, message = `to be tried again in ${retryAfterMs} ms`) {
    if (!(retryAfterMs >= 0)) throw new TypeError(`RetryLater: ${retryAfterMs} is no number of ms from 0 on`);
    super(message, { code: Code.UNAVAILABLE, reason: 'retry_later', retryAfterMs });
  }
}

/**
 * Why an attempt's signal was aborted. `cancelled`: the job was cancelled. `deadline`: its run_timeout is over. `lease_lost`: it was given to
 * another worker, or a newer attempt came here. `draining`: the worker stops, and its grace is over.
 */
export type AbortWhy = 'cancelled' | 'deadline' | 'lease_lost' | 'draining';

const WORDS: Record<AbortWhy, string> = {
  cancelled: 'the job was cancelled',
  deadline: "the attempt's time is over",
  lease_lost: 'the job was given to another attempt',
  draining: 'the worker stops',
};

/** The reason of an attempt's AbortSignal. */
export class JobAborted extends Error {
  override readonly name = 'JobAborted';

  constructor(readonly why: AbortWhy) {
    super(WORDS[why]);
  }
}

/** A value that a codec refused: before it was sent, or after it came. `cause` is what the codec said. */
export class CodecError extends TypeError {
  override readonly name = 'CodecError';
}

/** A job that did not end with an output. */
export class JobError extends Error {
  override readonly name: string = 'JobError';

  constructor(
    readonly pool: string,
    readonly id: string,
    message: string,
  ) {
    super(message);
  }
}

export interface JobFailure {
  /** A google.rpc.Code. */
  code: number;
  message: string;
  reason: string;
  retryable: boolean;
  details: Buffer;
}

/** Its last attempt failed and there is no other: it is a dead letter now. `message` is the attempt's own. */
export class JobFailed extends JobError {
  override readonly name = 'JobFailed';
  /** A google.rpc.Code. */
  readonly code: number;
  readonly reason: string;
  readonly details: Buffer;

  constructor(
    pool: string,
    id: string,
    readonly attempt: number,
    { code, message, reason, details }: Omit<JobFailure, 'retryable'>,
  ) {
    super(pool, id, message);
    this.code = code;
    this.reason = reason;
    this.details = details;
  }

  /** The code's name, such as `INVALID_ARGUMENT`. */
  get codeName(): string {
    return codeName(this.code);
  }
}

/** Somebody cancelled it. */
export class JobCancelled extends JobError {
  override readonly name = 'JobCancelled';
  constructor(pool: string, id: string) {
    super(pool, id, `job ${id} was cancelled`);
  }
}

/** Its queue_timeout or total_timeout passed. */
export class JobExpired extends JobError {
  override readonly name = 'JobExpired';
  constructor(pool: string, id: string) {
    super(pool, id, `job ${id} expired: its queue timeout or total timeout passed`);
  }
}

/** It is not known any more: its retention passed, or it was purged, before its outcome was asked for. */
export class JobGone extends JobError {
  override readonly name = 'JobGone';
  constructor(pool: string, id: string) {
    super(pool, id, `job ${id} of pool ${pool} is not known any more: its outcome cannot be told`);
  }
}
