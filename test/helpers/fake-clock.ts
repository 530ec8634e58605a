import type { Clock } from '../../src/domain/clock.js';

interface Timer {
  at: number;
  run: () => void;
}

/** A clock that goes on only when it is told to. */
export class FakeClock implements Clock {
  #ms: number;
  readonly #timers = new Set<Timer>();

  constructor(startMs = 0) {
    this.#ms = startMs;
  }

  now(): number {
    return this.#ms;
  }

  monotonic(): number {
    return this.#ms;
  }

  after(ms: number, run: () => void): () => void {
    const timer = { at: this.#ms + ms, run };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (signal?.aborted) return resolve();
      const stop = this.after(ms, resolve);
      signal?.addEventListener('abort', () => {
        stop();
        resolve();
      });
    });
  }

  /** Goes on by `ms`, runs what became due in its order, and lets what was waiting for it go on. */
  async pass(ms: number): Promise<void> {
    const end = this.#ms + ms;
    for (;;) {
      const [next] = [...this.#timers].filter(({ at }) => at <= end).sort((a, b) => a.at - b.at);
      if (!next) break;
      this.#ms = Math.max(this.#ms, next.at);
      this.#timers.delete(next);
      next.run();
      await settled();
    }
    this.#ms = end;
    await settled();
  }
}

/** Everything that is ready to go on has gone on. */
export async function settled(): Promise<void> {
  for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve));
}
