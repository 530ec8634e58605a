import type { Clock } from './clock.js';

export interface LoopOptions {
  clock: Clock;
  everyMs: number;
  run: () => Promise<unknown> | unknown;
  onError: (error: unknown) => void;
}

/** Runs something again and again, one run at a time, until stopped. Stopping twice, or before starting, is fine. */
export class Loop {
  readonly #options: LoopOptions;
  readonly #stop = new AbortController();
  #running: Promise<void> | undefined;

  constructor(options: LoopOptions) {
    this.#options = options;
  }

  start(): void {
    if (!this.#stop.signal.aborted) this.#running ??= this.#loop();
  }

  /** Resolves when the run under way has ended. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #loop(): Promise<void> {
    const { clock, everyMs, run, onError } = this.#options;
    const { signal } = this.#stop;
    while (!signal.aborted) {
      try {
        await run();
      } catch (error) {
        onError(error);
      }
      await clock.sleep(everyMs, signal);
    }
  }
}
