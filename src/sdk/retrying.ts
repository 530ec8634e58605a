import { status } from '@grpc/grpc-js';
import type { Clock, Random } from '../domain/clock.js';
import { ApiError } from './api-error.js';

export interface RetryingOptions {
  clock: Clock;
  random: Random;
  /** Gives up when nothing was answered for so long, counted from the first call that broke; at least one call is made. */
  giveUpMs: number;
  /** How long the caller itself still has. Default: for ever. */
  leftMs?: () => number;
  signal?: AbortSignal;
  /** Told of each call that broke and will be made again. */
  onRetry?: (error: ApiError) => void;
}

const FIRST_MS = 50;
const MAX_MS = 2_000;

/**
 * Makes an idempotent call again, with jittered backoff, while it breaks (ApiError.broken). Any answer ends it, a refusal too.
 * Throws the last ApiError.
 */
export async function retrying<T>(call: () => Promise<T>, options: RetryingOptions): Promise<T> {
  const { clock, random, giveUpMs, leftMs = () => Number.POSITIVE_INFINITY, signal, onRetry } = options;
  let since: number | undefined;
  for (let backoffMs = FIRST_MS; ; backoffMs = Math.min(backoffMs * 2, MAX_MS)) {
    try {
      return await call();
    } catch (error) {
      if (!(error instanceof ApiError) || !error.broken || signal?.aborted) throw error;
      since ??= clock.monotonic();
      const patienceMs = Math.min(giveUpMs - (clock.monotonic() - since), leftMs());
      if (patienceMs <= 0) throw error;
      const waitMs = Math.max(error.details.retryAfterMs ?? 0, jittered(backoffMs, random));
      if (waitMs < patienceMs) onRetry?.(error);
      await clock.sleep(Math.min(waitMs, patienceMs), signal);
      if (signal?.aborted) throw new ApiError(status.CANCELLED, '', 'aborted between two calls', undefined, { cause: error });
      // A last call without time to be answered would only hide why the earlier ones broke.
      if (waitMs >= patienceMs) throw error;
    }
  }
}

/** Half to one and a half of it, so that callers who failed together do not come back together. */
export function jittered(ms: number, random: Random): number {
  return ms * (0.5 + random());
}
