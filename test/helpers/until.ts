import { setTimeout as pause } from 'node:timers/promises';

export interface UntilOptions {
  /** Default 10 s. */
  timeoutMs?: number;
  /** What is waited for, as the error says it. */
  what?: string;
}

const POLL_MS = 10;

/**
 * Resolves with the condition's first truthy value. A condition that throws is asked again; at the deadline its last error goes along.
 */
export async function until<T>(condition: () => T | Promise<T>, options: UntilOptions = {}): Promise<NonNullable<T>> {
  const { timeoutMs = 10_000, what = 'a condition' } = options;
  const end = performance.now() + timeoutMs;
  let last: unknown;
  for (;;) {
    try {
      const value = await condition();
      if (value) return value;
      last = undefined;
    } catch (error) {
      last = error;
    }
    if (performance.now() > end) throw new Error(`waited ${timeoutMs} ms for ${what}`, last === undefined ? undefined : { cause: last });
    await pause(POLL_MS);
  }
}
