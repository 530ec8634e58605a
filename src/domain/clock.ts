import { randomUUID } from 'node:crypto';

/** Time, as whatever needs it gets it through its constructor. Scripts do not: they ask Redis. */
export interface Clock {
  /** Wall time in ms since 1970. For people and for records, never for measuring. */
  now(): number;
  /** Monotonic time in ms. For measuring, never for records. */
  monotonic(): number;
  /**
   * Resolves after `ms`, or at once when the signal is or gets aborted. Never rejects. Does not keep
   * the process alive. Any length is waited out; what is negative or not a number is over at once. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /**
   * Calls `run` after `ms`, unless the function that it returns was called before. For what every job needs, where the AbortController that
   * ends a `sleep` shows in the profile. As `sleep` does, it keeps no process alive and waits for any length.
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

/** Node fires a longer timer at once, and so do libraries that count ms in 32 bits. */
export const LONGEST_TIMER_MS = 2 ** 31 - 1;

/**
 * The one timer under everything that waits: calls `run` after `ms`, unless the function that it returns was called before. A wait of any length is
 * waited out, Infinity for ever; what is negative or not a number is over at once. `isAwaited`: the process must not end before.
 */
export function startTimer(ms: number, run: () => void, isAwaited = false): () => void {
  let timer: NodeJS.Timeout | undefined;
  const arm = (leftMs: number) => {
    const stepMs = Math.min(leftMs, LONGEST_TIMER_MS);
    timer = setTimeout(() => (leftMs > stepMs ? arm(leftMs - stepMs) : run()), stepMs);
    if (!isAwaited) timer.unref();
  };
  arm(Number.isNaN(ms) ? 0 : Math.max(ms, 0));
  return () => clearTimeout(timer);
}

/** Resolves after `ms`, or at once when the signal is or gets aborted. Never rejects. */
export function sleepOn(ms: number, signal: AbortSignal | undefined, isAwaited: boolean): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const end = () => {
      stop();
      signal?.removeEventListener('abort', end);
      resolve();
    };
    const stop = startTimer(ms, end, isAwaited);
    signal?.addEventListener('abort', end, { once: true });
  });
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  sleep: (ms, signal) => sleepOn(ms, signal, false),
  after: (ms, run) => startTimer(ms, run),
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
