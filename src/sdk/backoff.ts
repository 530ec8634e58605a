import type { Random } from '../domain/clock.js';

export interface BackoffTimes {
  /** The first pause is at most so long, in ms. */
  firstMs: number;
  /** Every pause is at most so long, in ms. */
  maxMs: number;
}

/**
 * The pauses between tries: doubled each time up to a cap, and drawn from the whole range below (full jitter), so that clients that failed
 * together do not return together.
 */
export class Backoff {
  private tries = 0;

  constructor(
    private readonly random: Random,
    private readonly times: BackoffTimes,
  ) {}

  /** The next pause in ms. */
  nextMs(): number {
    const { firstMs, maxMs } = this.times;
    return this.random() * Math.min(maxMs, firstMs * 2 ** Math.min(this.tries++, 30));
  }

  /** A try succeeded. */
  reset(): void {
    this.tries = 0;
  }
}
