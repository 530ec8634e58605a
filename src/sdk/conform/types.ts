/** What a worker under test must do for the kind `muster.conform`: the JSON of its payload. */
export interface Work {
  /** Takes so long; ends early, as a failure, when the attempt is aborted. */
  sleep_ms?: number;
  /** Then fails, in a way that may be repeated. */
  fail?: boolean;
  /** With `fail`: in a way that is not worth repeating. */
  permanent?: boolean;
  /** The answer is `<echo> <attempt> <runs>`: runs counts how often the process has begun this kind. */
  echo?: string;
}

export interface Lease {
  jobId: string;
  /** Decimal. */
  fence: string;
}

export interface Order extends Lease {
  kind: string;
  work: Work;
  attempt: number;
  /** 0: no limit. */
  runTimeoutMs: number;
}

/** How one attempt ended, as far as the tester saw. */
export type End =
  | { how: 'output'; output: string }
  | { how: 'failure'; code: number; reason: string; retryable: boolean; message: string }
  /** A status instead of a result: nothing ran. */
  | { how: 'refused'; code: number; message: string }
  /** The call or the worker went away. */
  | { how: 'broken'; message: string }
  /** Answered `accepted`, and nobody here is told of the result. */
  | { how: 'elsewhere' };

export interface Attempt extends Lease {
  /** Never rejects. */
  readonly end: Promise<End>;
  /** Breaks off the call that waits for it, where there is one. */
  cut(): void;
}

/** What a worker says of itself when asked. */
export interface Sight {
  /** '' where the contract does not say it. */
  workerId: string;
  /** '' where the contract, or the worker, does not say it. */
  boot: string;
  /** undefined where the contract does not say it. */
  busy: boolean | undefined;
  held: (Lease & { done: boolean })[];
}

/** The worker under test, over whichever link. */
export interface Subject {
  readonly contract: 'RUNNER' | 'ATTACHED';
  readonly slots: number;
  /** With which it registered; '' when that was elsewhere, or it named none. */
  readonly boot: string;
  assign(order: Order): Attempt;
  /** Asks it to stop that attempt. Rejects when it does not take the request. */
  abort(lease: Lease): Promise<void>;
  /** Rejects when it does not answer. */
  look(): Promise<Sight>;
  /** It said that it leaves (Deregister, Goodbye); undefined: that would be said elsewhere. */
  readonly leaving: boolean | undefined;
  /** Nobody answers there any more. */
  gone(): Promise<boolean>;
  close(): void;
}

export type Level = 'basic' | 'full';

export interface CheckReport {
  name: string;
  level: Level;
  outcome: 'passed' | 'failed' | 'skipped';
  /** What was seen instead; '' when passed. */
  found: string;
  /** What to do about it; '' when passed. */
  remedy: string;
  ms: number;
}

export interface ConformReport {
  contract: 'RUNNER' | 'ATTACHED';
  worker: string;
  level: Level;
  passed: boolean;
  checks: CheckReport[];
}

/** No worker was there to be tested. */
export class Unreachable extends Error {
  override readonly name = 'Unreachable';
}
