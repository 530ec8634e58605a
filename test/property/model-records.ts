/** What the model keeps of jobs and workers, and its times. Times in ms; boots, links and fences as protocol.md has them. */
export interface Job {
  id: string;
  content: string;
  state: string;
  attempt: number;
  handovers: number;
  priority: number;
  fence: number;
  worker: string;
  delivered: boolean;
  /** A home has had its present lease. */
  given: boolean;
  started: number;
  next: number;
  created: number;
  from: number;
  queueMs: number;
  totalMs: number;
  runMs: number;
  maxAttempts: number;
  initialMs: number;
  fatal: number[];
  /** The fence whose result was taken last. */
  done: number;
  error: boolean;
}

export interface Worker {
  id: string;
  state: 'free' | 'busy' | 'draining' | 'suspect' | 'dead';
  blocked: boolean;
  drained: boolean;
  leaving: boolean;
  slots: number;
  home: string;
  boot: string;
  previous: string;
  link: number;
  contract: string;
  address: string;
  misses: number;
  suspected: number;
}

export const MS = {
  delivery: 5_000,
  lease: 30_000,
  silent: 60_000,
  homeTtl: 6_000,
  tickStale: 5_000,
  grace: 15_000,
  quarantine: 60_000,
  handover: 100,
  forget: 3_600_000,
};
