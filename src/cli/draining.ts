import type { Where } from '../sdk/access.js';
import { ApiError } from '../sdk/api-error.js';
import { Ended, Exit, explain } from './exit.js';
import type { Io } from './io.js';

/** A worker, of whatever sort, that a command runs until it is told to stop. */
export interface Drainable {
  /** No more jobs; resolves when nothing is held. */
  drain(): Promise<unknown>;
  /** Ends now; what runs is given to others. */
  stop(): Promise<unknown>;
  /** Rejects when the replicas refuse it for good. */
  refused: Promise<never>;
}

/** Resolves when the person, or a supervisor, has told it to stop and nothing is held any more. Told again, it stops at once: throws Ended. Rejects as `refused` does. */
export async function drainWhenTold(io: Io, where: Where, { drain, stop, refused }: Drainable): Promise<void> {
  const explained = refused.catch((error: unknown) => {
    throw error instanceof ApiError ? explain(error, where) : error;
  });
  await Promise.race([interrupted(io), explained]);
  // Who reads that line may say it again at once: we listen before we speak.
  const again = interrupted(io).then(() => true);
  io.tell('told to stop: finishing what runs; again to stop at once');
  const atOnce = await Promise.race([drain().then(() => false), again]);
  if (!atOnce) return io.tell('drained');
  await stop();
  throw new Ended(Exit.INTERRUPTED, 'stopped; what ran is given to others');
}

function interrupted(io: Io): Promise<void> {
  return new Promise((resolve) => {
    const release = io.onInterrupt(() => {
      release();
      resolve();
    });
  });
}
