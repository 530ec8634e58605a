import type { Clock } from '../domain/clock.js';
import { MusterError } from '../domain/errors.js';
import type { Identity } from '../domain/identity.js';

export interface QuotaOptions {
  clock: Clock;
  /** Jobs that an identity may submit a second, and at once; 0: any number. */
  submissions: number;
  /**
   * Jobs of an identity that have not ended, as far as this replica knows: those that it took, until it is told of their end. Another replica
   * counts its own. 0: any number.
   */
  waiting: number;
}

/** One job, for as long as it is counted. */
export interface Counted {
  ended: Promise<unknown>;
  /** Idempotent. */
  end(): void;
}

interface Bucket {
  left: number;
  /** Monotonic ms. */
  at: number;
}

const WAITING_RETRY_MS = 1_000;
/** Beyond so many identities those that have their full bucket are forgotten: they get a full one again. */
const BUCKETS = 1_024;

/** How many jobs an identity may submit. */
export class Quotas {
  readonly #options: QuotaOptions;
  readonly #buckets = new Map<string, Bucket>();
  readonly #waiting = new Map<string, number>();

  constructor(options: QuotaOptions) {
    this.#options = options;
  }

  /** Not ended, as far as this replica knows. */
  waitingOf(name: string): number {
    return this.#waiting.get(name) ?? 0;
  }

  /**
   * Runs one submission of that identity's. `count` begins to count the job, and is called only when jobs are counted; `submit` is told then that
   * this replica must be told of the job's end. Rejects with `resource_exhausted` QUOTA_SUBMISSIONS or QUOTA_WAITING, and as `submit` does.
   */
  async submit<T extends { created: boolean }>(who: Identity | undefined, count: () => Counted, submit: (told: boolean) => Promise<T>): Promise<T> {
    if (who === undefined) return submit(false);
    this.#take(who.name);
    const leave = this.#enter(who.name, count);
    try {
      const answer = await submit(leave !== undefined);
      // There before: whoever submitted it then has it counted.
      if (!answer.created) leave?.();
      return answer;
    } catch (error) {
      leave?.();
      throw error;
    }
  }

  #take(name: string): void {
    const { submissions, clock } = this.#options;
    if (submissions === 0) return;
    const now = clock.monotonic();
    const { left, at } = this.#buckets.get(name) ?? { left: submissions, at: now };
    const present = Math.min(submissions, left + ((now - at) * submissions) / 1000);
    if (present < 1) {
      throw new MusterError(
        'resource_exhausted',
        'QUOTA_SUBMISSIONS',
        `${name} submits more than ${submissions} jobs a second (MUSTER_QUOTA_SUBMISSIONS): submit later`,
        { retryAfterMs: Math.ceil(((1 - present) * 1000) / submissions) },
      );
    }
    if (this.#buckets.size >= BUCKETS) this.#forgetFull(now);
    this.#buckets.set(name, { left: present - 1, at: now });
  }

  #forgetFull(now: number): void {
    const { submissions } = this.#options;
    for (const [name, { left, at }] of this.#buckets) {
      if (left + ((now - at) * submissions) / 1000 >= submissions) this.#buckets.delete(name);
    }
  }

  #enter(name: string, count: () => Counted): (() => void) | undefined {
    const { waiting } = this.#options;
    if (waiting === 0) return undefined;
    if (this.waitingOf(name) >= waiting) {
      throw new MusterError(
        'resource_exhausted',
        'QUOTA_WAITING',
        `${name} has ${waiting} jobs at this replica that have not ended (MUSTER_QUOTA_WAITING): submit more when some have`,
        { retryAfterMs: WAITING_RETRY_MS },
      );
    }
    const counted = count();
    this.#waiting.set(name, this.waitingOf(name) + 1);
    let left = false;
    const leave = () => {
      if (left) return;
      left = true;
      counted.end();
      const rest = this.waitingOf(name) - 1;
      if (rest > 0) this.#waiting.set(name, rest);
      else this.#waiting.delete(name);
    };
    void counted.ended.then(leave, leave);
    return leave;
  }
}
