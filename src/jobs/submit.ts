import { MusterError } from '../domain/errors.js';
import type { JobState, NewJob } from '../domain/job.js';
import { LEGACY_METHOD } from '../domain/names.js';
import type { Observer } from '../domain/observer.js';
import type { JobScripts, Submitted } from '../store/scripts/jobs.js';
import { PoolBatchers } from './batcher.js';
import type { Matching } from './matching.js';

export interface SubmitterOptions {
  jobs: JobScripts;
  matching: Matching;
  /** Around what may be the first thing of a pool (see Store). */
  within: <T>(pool: string, by: string, run: () => Promise<T>) => Promise<T>;
  maxWaiting: number;
  batchMax: number;
  batchBytes: number;
  maxQueue: number;
  observer: Pick<Observer, 'batch'>;
}

export interface Submission {
  spec: NewJob;
  /** This replica wants to be told of the job's end. */
  wait: boolean;
  /** Whose word it is (see `speakerOf`); a new pool is theirs. */
  by: string;
}

/** What became of a submission. `createdAt`: Redis' time in ms; meaningful when it was created. */
export interface Accepted {
  created: boolean;
  /** As it was found, when it was there already. */
  state: JobState;
  createdAt: number;
}

/** Takes jobs into their pools, by group commit. */
export class Submitter {
  readonly #options: SubmitterOptions;
  readonly #batches: PoolBatchers<Submission, { status: Submitted; now: number }>;

  constructor(options: SubmitterOptions) {
    this.#options = options;
    const { jobs, matching, maxWaiting, batchMax, batchBytes, maxQueue, observer } = options;
    this.#batches = new PoolBatchers((pool) => ({
      run: async (items) => {
        observer.batch('submit', items.length);
        const { now, statuses } = await matching.call(pool, () => jobs.submit(pool, items, maxWaiting));
        return statuses.map((status) => ({ status, now }));
      },
      sizeOf: ({ spec }) => spec.payload.length,
      maxItems: batchMax,
      maxBytes: batchBytes,
      maxQueue,
    }));
  }

  /**
   * Resolves once the job is in Redis. Rejects with MusterError: `already_exists` JOB_CONFLICT, `resource_exhausted` BACKLOG_FULL,
   * `failed_precondition` WRONG_FAMILY, `unavailable` (it may be there: submit it again under the same id).
   */
  async submit(submission: Submission): Promise<Accepted> {
    const { spec, by } = submission;
    const { status, now } = await this.#options.within(spec.pool, by, () => this.#batches.add(spec.pool, submission));
    switch (status.kind) {
      case 'created':
        return { created: true, state: spec.notBefore > now ? 'scheduled' : 'waiting', createdAt: now };
      case 'exists':
        return { created: false, state: status.state, createdAt: now };
      case 'conflict':
        throw new MusterError(
          'already_exists',
          'JOB_CONFLICT',
          `spec.id: the pool ${spec.pool} has a job ${spec.id} with other content: use a new id`,
          {
            field: 'spec.id',
          },
        );
      case 'full':
        throw new MusterError(
          'resource_exhausted',
          'BACKLOG_FULL',
          `the pool ${spec.pool} has ${this.#options.maxWaiting} jobs queued: try again later`,
          {
            retryAfterMs: 1000,
          },
        );
      case 'family':
        throw wrongFamily(spec.pool, status.family, spec.kind === '' ? 'spec.method' : 'spec.kind');
    }
  }
}

/** The workers of that pool cannot run such a job. */
export function wrongFamily(pool: string, family: string, field: string): MusterError {
  const remedy = family === 'LEGACY' ? `name method ${LEGACY_METHOD}` : 'name a method instead of a kind';
  return new MusterError('failed_precondition', 'WRONG_FAMILY', `${field}: the workers of pool ${pool} are ${family}: ${remedy}, or another pool`, {
    field,
  });
}
