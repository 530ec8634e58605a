import { randomUUID } from 'node:crypto';

/** Time, as whatever needs it gets it through its constructor. Scripts do not: they ask Redis. */
export interface Clock {
  /** Wall time in ms since 1970. For people and for records, never for measuring. */
  now(): number;
  /** Monotonic time in ms. For measuring, never for records. */
  monotonic(): number;
  /**
   * Resolves after `ms`, or at once when the signal is or gets aborted. Never rejects. Does not keep
   * the process alive. Ends after 24 days at the latest. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /**
   * Calls `run` after `ms`, unless the function that it returns was called before. For what every job needs, where the AbortController that
   * ends a `sleep` shows in the profile. As `sleep` does, it keeps no process alive and ends after 24 days.
   */
  after(ms: number, run: () => void): () => void;
}

/** Names for what is new. */
export interface Ids {
  jobId(): string;
  replicaId(host: string): string;
}

/** In [0, 1). */
export type Random = () => number;

/** Node fires a longer timer at once. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  sleep: (ms, signal) =>
    new Promise((resolve) => {
      if (signal?.aborted) return resolve();
      const end = () => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', end);
        resolve();
      };
      const timer = setTimeout(end, Math.min(ms, LONGEST_TIMER_MS));
      timer.unref();
      signal?.addEventListener('abort', end, { once: true });
    }),
  after: (ms, run) => {
    const timer = setTimeout(run, Math.min(ms, LONGEST_TIMER_MS));
    timer.unref();
    return () => clearTimeout(timer);
  },
};

export const systemIds: Ids = {
  jobId: () => randomUUID(),
  replicaId: (host) =>
    `${host
      .toLowerCase()
      .replace(/[^a-z0-9.-]/g, '-')
      .slice(0, 40)}-${randomUUID().slice(0, 8)}`,
};

export const systemRandom: Random = () => Math.random();
