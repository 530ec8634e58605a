import type { ApiError } from './api-error.js';

/**
 * What one worker is refused with, over and over, until somebody has acted: it is told once, and the tries after the second are twice as far
 * apart; with the default of 10 s, and the jitter on top, 30 s at the most.
 */
export class Refusals {
  private said = '';
  private tries = 0;

  /** `slowRetryMs`: how long to wait after the first one. */
  constructor(private readonly slowRetryMs: number) {}

  /** Is that a refusal that was not told yet? */
  isNews({ code, message }: Pick<ApiError, 'code' | 'message'>): boolean {
    const words = `${code} ${message}`;
    if (words === this.said) return false;
    this.said = words;
    return true;
  }

  /** How long to wait before the next try, in ms. */
  nextMs(): number {
    return this.slowRetryMs * (this.tries++ === 0 ? 1 : 2);
  }

  /** It was taken. */
  over(): void {
    this.said = '';
    this.tries = 0;
  }
}
