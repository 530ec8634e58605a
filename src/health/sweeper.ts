import type { Clock } from '../domain/clock.js';

export interface SweeperOptions {
  clock: Clock;
  intervalMs: number;
  checkAll: () => Promise<unknown>;
  onError: (error: unknown) => void;
}

/** After so many intervals without a sweep from the cluster, this replica looks after its own. */
const SILENT_INTERVALS = 3;

/** Looks at this replica's links when a sweep is hinted, one look at a time; and alone when no hint comes. */
export class Sweeper {
  readonly #options: SweeperOptions;
  readonly #stop = new AbortController();
  #hintedAt: number;
  #looking: Promise<void> | undefined;
  #loop: Promise<void> | undefined;

  constructor(options: SweeperOptions) {
    this.#options = options;
    this.#hintedAt = options.clock.monotonic();
  }

  start(): void {
    this.#loop ??= this.#watch();
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#loop;
    await this.#looking;
  }

  /** A sweep was hinted. */
  hinted(): void {
    this.#hintedAt = this.#options.clock.monotonic();
    void this.look();
  }

  /** Looks now; joins a look that is under way. Never rejects. */
  look(): Promise<void> {
    this.#looking ??= this.#options
      .checkAll()
      .catch((error: unknown) => this.#options.onError(error))
      .then(() => {
        this.#looking = undefined;
      });
    return this.#looking;
  }

  async #watch(): Promise<void> {
    const { clock, intervalMs } = this.#options;
    const { signal } = this.#stop;
    while (!signal.aborted) {
      await clock.sleep(intervalMs, signal);
      if (!signal.aborted && clock.monotonic() - this.#hintedAt >= SILENT_INTERVALS * intervalMs) await this.look();
    }
  }
}
