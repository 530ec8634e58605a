/** One call of a script with everything it needs, as plain data: a trace of them is a test. */
export interface SubmitJob {
  id: string;
  /** Another content under the same id is a conflict. */
  content: string;
  priority: number;
  /** ms since 1970; 0: now. */
  start: number;
  queueMs: number;
  totalMs: number;
  runMs: number;
  maxAttempts: number;
  initialMs: number;
  fatal: number[];
  kind: string;
  method: string;
}

export interface LeaseArg {
  worker: string;
  job: string;
  fence: string;
}

export interface ResultArg extends LeaseArg {
  boot: string;
  link: string;
  ok: boolean;
  code: number;
  retryable: boolean;
  delayMs?: number;
}

export type BeatArg = { worker: string; link: string; ageMs: number } | ({ link: string; ranMs?: number; open?: boolean } & LeaseArg);

interface Ref {
  home: string;
  worker: string;
  boot: string;
  link: string;
}

export type Contract = 'RUNNER' | 'METHOD' | 'LEGACY';

export type Call =
  /** The scripts' time from now on, in µs. */
  | { do: 'clock'; us: number }
  /** The retention of a job that has ended is over: its keys are gone. */
  | { do: 'expire'; job: string }
  | { do: 'submit'; home: string; max: number; jobs: SubmitJob[] }
  | { do: 'register'; home: string; worker: string; boot: string; derived: boolean; contract: Contract; address: string; slots: number }
  | { do: 'finish'; home: string; claims: boolean; results: ResultArg[] }
  | { do: 'release'; home: string; leases: (LeaseArg & { link: string; blocked: boolean; unreached: boolean })[] }
  | { do: 'beat'; home: string; leaving: boolean; beats: BeatArg[] }
  | { do: 'tick'; home: string; limit: number; kept: number }
  | ({ do: 'probed'; ageMs: number; busy: boolean; leases: { what: 'lost' | 'idle'; job: string; fence: string }[] } & Ref)
  | ({ do: 'suspect'; limit: number } & Ref)
  | ({ do: 'bury'; evidenceMs: number } & Ref)
  | ({ do: 'adopt' } & Ref)
  | { do: 'orphans'; home: string }
  | { do: 'forgetHomes'; home: string; homes: string[] }
  | { do: 'drain'; home: string; worker: string; on: boolean }
  | { do: 'deregister'; home: string; worker: string; boot: string; timeoutMs?: number }
  | { do: 'pause'; home: string; on: boolean }
  | { do: 'cancel'; home: string; jobs: string[] }
  | { do: 'retry'; home: string; jobs: { id: string; buriedAt?: number }[] }
  | { do: 'purge'; home: string; scope: 'queued' | 'buried'; limit: number }
  | { do: 'mine'; home: string }
  | { do: 'accept'; home: string; leases: (LeaseArg & { link: string })[] }
  | { do: 'workerBeat'; home: string; worker: string; boot: string; held: { job: string; fence: string }[] }
  | { do: 'match'; home: string };

export type CallOf<N extends Call['do']> = Extract<Call, { do: N }>;

/** What a call answered, in a form that the model can tell too. */
export interface Answer {
  /** The script's own reply, as text. */
  reply: unknown;
  /** `job fence worker link attempt` of each assignment in the reply. */
  assignments: string[];
}

export const HOMES = ['r1', 'r2', 'r3'];
export const WORKERS = ['w1', 'w2', 'w3', 'w4'];
export const JOBS = ['j1', 'j2', 'j3', 'j4', 'j5', 'j6', 'j7', 'j8', 'j9'];
export const ADDRESSES = ['10.0.0.1:1', '10.0.0.2:1', '10.0.0.3:1', '10.0.0.4:1'];
export const NAMES = { workers: WORKERS, jobs: JOBS, addresses: ADDRESSES };
/** A tick that leaves nothing undone and forgets nothing. */
export const WHOLE = { limit: 100, kept: 100 };
