import type { Clock } from '../domain/clock.js';

/** So many guesses end a stream. Honest workers make none; broken ones that send a result twice make a few. */
export const MAX_GUESSES = 64;
/** One guess is forgiven each time that this passes. */
export const FORGIVE_GUESS_MS = 1_000;
/** A worker holds no more leases than Hello may list. */
const MAX_CREDITS = 4_096;

/**
 * Counts the leases that a worker named on one stream and was never given.
 *
 * A result that Redis knows nothing of is no guess while the worker has a credit for it: one for each lease that it brought along in Hello or
 * was sent since. So results of leases that were revoked, given to others, trimmed, or lost with the data of Redis never count. A lease that
 * Redis knows as another worker's always counts.
 */
export class GuessBudget {
  readonly #clock: Clock;
  #credits = 0;
  #guesses = 0;
  #forgivenAt: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#forgivenAt = clock.monotonic();
  }

  /** The worker was given so many leases, or says that it has them from before. */
  given(leases: number): void {
    this.#credits = Math.min(MAX_CREDITS, this.#credits + leases);
  }

  /** A result that Redis knows nothing of. Returns whether it is a guess. */
  unknown(): boolean {
    if (this.#credits > 0) {
      this.#credits--;
      return false;
    }
    this.guess();
    return true;
  }

  /** The worker named a lease that is certainly not its own. */
  guess(): void {
    const now = this.#clock.monotonic();
    const forgiven = Math.floor((now - this.#forgivenAt) / FORGIVE_GUESS_MS);
    this.#forgivenAt += forgiven * FORGIVE_GUESS_MS;
    this.#guesses = Math.max(0, this.#guesses - forgiven) + 1;
  }

  get exceeded(): boolean {
    return this.#guesses > MAX_GUESSES;
  }
}
