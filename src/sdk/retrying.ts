import { status } from '@grpc/grpc-js';
import type { Clock, Random } from '../domain/clock.js';
import { ApiError } from './api-error.js';
import { Backoff, type BackoffTimes } from './backoff.js';

export interface RetryingOptions {
  clock: Clock;
  random: Random;
  /**
   * Gives up when nothing was answered for so long. Counts from the moment at which the first call broke, or at which it was made if it ran into
   * its deadline: its replica hung all that time. At least one call is made.
   */
  giveUpMs: number;
  /** How long the caller itself still has. Default: for ever. */
  leftMs?: () => number;
  signal?: AbortSignal;
  /** Told of each call that broke and will be made again. */
  onRetry?: (error: ApiError) => void;
  /** The pauses, where several calls of one client share them. Default: of this call alone. */
  backoff?: Backoff;
}

export const RETRYING: BackoffTimes = { firstMs: 100, maxMs: 2_000 };

/**
 * Makes an idempotent call again, with growing pauses, while it breaks (ApiError.broken). Any answer ends it, a refusal too.
 * Throws the last ApiError.
 */
export async function retrying<T>(call: () => Promise<T>, options: RetryingOptions): Promise<T> {
  const { clock, random, giveUpMs, leftMs = () => Number.POSITIVE_INFINITY, signal, onRetry } = options;
  const { backoff = new Backoff(random, RETRYING) } = options;
  let since: number | undefined;
  for (;;) {
    const calledAt = clock.monotonic();
    try {
      const answer = await call();
      backoff.reset();
      return answer;
    } catch (error) {
      if (!(error instanceof ApiError) || !error.broken || signal?.aborted) throw error;
      since ??= error.code === status.DEADLINE_EXCEEDED ? calledAt : clock.monotonic();
      const patienceMs = Math.min(giveUpMs - (clock.monotonic() - since), leftMs());
      if (patienceMs <= 0) throw error;
      const waitMs = (error.details.retryAfterMs ?? 0) + backoff.nextMs();
      if (waitMs < patienceMs) onRetry?.(error);
      await clock.sleep(Math.min(waitMs, patienceMs), signal);
      if (signal?.aborted) throw new ApiError(status.CANCELLED, '', 'aborted between two calls', undefined, { cause: error });
      // A last call without time to be answered would only hide why the earlier ones broke.
      if (waitMs >= patienceMs) throw error;
    }
  }
}
