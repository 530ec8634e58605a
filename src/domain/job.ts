/**
 * `scheduled` (waits for a time) → `waiting` → `running` → a terminal state, or back to `scheduled`/`waiting` for a retry or handover.
 * `failed` is a dead letter: only RetryJob takes it out again. Terminal states are never overwritten.
 */
export type JobState = 'scheduled' | 'waiting' | 'running' | 'succeeded' | 'failed' | 'cancelled' | 'expired';

const TERMINAL: ReadonlySet<JobState> = new Set(['succeeded', 'failed', 'cancelled', 'expired']);

export function isTerminal(state: JobState): boolean {
  return TERMINAL.has(state);
}

/** All times in ms. */
export interface RetryPolicy {
  maxAttempts: number;
  initialBackoffMs: number;
  maxBackoffMs: number;
  multiplier: number;
  /** google.rpc.Codes after which the job fails at once. */
  fatalCodes: number[];
}

/** A job as submitted, checked and with its defaults filled in. */
export interface JobSpec {
  pool: string;
  id: string;
  /** One of the two; the other is ''. */
  kind: string;
  method: string;
  payload: Buffer;
  metadata: Record<string, string>;
  priority: number;
  /** ms since 1970; 0: now. */
  notBefore: number;
  /** 0: none. */
  queueTimeoutMs: number;
  runTimeoutMs: number;
  /** 0: none. */
  totalTimeoutMs: number;
  retry: RetryPolicy;
  retentionMs: number;
}

/** A job that is to be submitted. */
export interface NewJob extends JobSpec {
  /** Of what the caller said: the same ID with the same digest is the same job, with another it is a conflict. */
  digest: string;
}

export interface Failure {
  /** A google.rpc.Code, never 0. */
  code: number;
  message: string;
  reason: string;
  retryable: boolean;
  details: Buffer;
}

export type Outcome = { ok: true; output: Buffer } | { ok: false; failure: Failure; retryAfterMs?: number };

/** One job as it stands in Redis. Times in ms since 1970, 0 for none. */
export interface JobRecord {
  spec: JobSpec;
  state: JobState;
  attempt: number;
  handovers: number;
  worker: string;
  output?: Buffer;
  failure?: Failure;
  createdAt: number;
  startedAt: number;
  finishedAt: number;
  nextAt: number;
  waitingReason: string;
  progress: Buffer;
}

/** One attempt on its way to a worker: what `match` hands to the worker's home. */
export interface Assignment {
  pool: string;
  jobId: string;
  fence: string;
  worker: string;
  link: string;
  kind: string;
  method: string;
  attempt: number;
  runTimeoutMs: number;
  payload: Buffer;
  metadata: Record<string, string>;
  progress: Buffer;
  /** How long the job had waited when it was leased, from its submission or its `notBefore`. */
  waitedMs: number;
}

/** A script's word on a result. `foreign`: that lease was another worker's; its sender is told `stale`. */
export type Verdict = 'accepted' | 'duplicate' | 'stale' | 'gone' | 'cancelled' | 'foreign';

/** google.rpc.Code, as far as Muster names them. */
export const Code = {
  OK: 0,
  CANCELLED: 1,
  UNKNOWN: 2,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  OUT_OF_RANGE: 11,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  DATA_LOSS: 15,
  UNAUTHENTICATED: 16,
} as const;
