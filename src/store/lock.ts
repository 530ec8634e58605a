import Redlock, { ExecutionError, type Lock, ResourceLockedError } from 'redlock';
import { type Clock, type Random, startTimer } from '../domain/clock.js';
import { toError } from '../domain/errors.js';
import type { Connection } from './nodes.js';
import { redisError } from './runner.js';

export interface Held {
  /** Aborted when the lock has run out: what it protected may be someone else's now. */
  readonly signal: AbortSignal;
  /** Still ours for at least that long? */
  remainingMs(): number;
  release(): Promise<void>;
}

const RETRY_MS = 50;
/** Holders of one lock may be of two versions, with other times. */
const LONGEST_TTLS = 4;

/**
 * Mutual exclusion for what is more than one script. An efficiency, never what safety rests on: boot, link and fence checks are.
 * Redlock can hand out a lock that expired while it waited, so it never waits: the retries are here, and each lock is looked at.
 */
export class Locks {
  readonly #redis: Connection;
  readonly #redlock: Redlock;
  readonly #user: string;
  readonly #clock: Clock;
  readonly #random: Random;

  constructor(redis: Connection, user: string, clock: Clock, random: Random) {
    this.#redis = redis;
    this.#redlock = new Redlock([redis], { retryCount: 0, driftFactor: 0.01, automaticExtensionThreshold: 0 });
    // Failures of single servers are reported through each call.
    this.#redlock.on('error', () => undefined);
    this.#user = user;
    this.#clock = clock;
    this.#random = random;
  }

  /** The lock, or undefined when it was not had within `waitMs`. Rejects with MusterError while Redis is away. */
  async acquire(key: string, ttlMs: number, waitMs: number): Promise<Held | undefined> {
    const until = this.#clock.monotonic() + waitMs;
    for (;;) {
      const asked = this.#clock.monotonic();
      const lock = await this.#tryOnce(key, ttlMs);
      // The lock counts from when it was asked for, by our own monotonic clock: a slow answer may bring one that has run out.
      if (lock && this.#clock.monotonic() - asked < ttlMs * 0.9) return this.#hold(lock, asked + ttlMs);
      if (lock) lock.release().catch(() => undefined);
      if (this.#clock.monotonic() >= until) return undefined;
      await this.#clock.sleep(RETRY_MS * (0.5 + this.#random()));
    }
  }

  async #tryOnce(key: string, ttlMs: number): Promise<Lock | undefined> {
    try {
      return await this.#redlock.acquire([key], ttlMs);
    } catch (error) {
      const failure = await firstVote(error);
      if (failure instanceof ResourceLockedError) {
        await this.#bound(key, ttlMs);
        return undefined;
      }
      throw redisError(failure, 'a lock', this.#user);
    }
  }

  /** A lock that is further from its end than any is given out for was taken before the clock of Redis stepped back: its end follows the step. */
  async #bound(key: string, ttlMs: number): Promise<void> {
    try {
      if ((await this.#redis.pttl(key)) > LONGEST_TTLS * ttlMs) await this.#redis.pexpire(key, ttlMs);
    } catch (error) {
      throw redisError(toError(error), 'a lock', this.#user);
    }
  }

  #hold(lock: Lock, endsAt: number): Held {
    const controller = new AbortController();
    const remainingMs = () => endsAt - this.#clock.monotonic();
    const stopTimer = startTimer(remainingMs(), () => controller.abort(new Error('the lock ran out')));
    return {
      signal: controller.signal,
      remainingMs,
      release: async () => {
        stopTimer();
        // Not released means that it runs out by itself.
        await lock.release().catch(() => undefined);
      },
    };
  }
}

/** Why the one server of a quorum of one said no. */
async function firstVote(error: unknown): Promise<Error> {
  if (error instanceof ExecutionError) {
    const stats = await error.attempts[0];
    const against = stats && [...stats.votesAgainst.values()][0];
    if (against) return against;
  }
  return toError(error);
}
