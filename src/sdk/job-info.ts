import { type Job, JobState } from '../grpc/generated/muster/v1/job.js';
import { ApiError } from './api-error.js';
import { JobCancelled, JobExpired, JobFailed, type JobFailure } from './errors.js';

export type JobStateName = 'scheduled' | 'waiting' | 'running' | 'succeeded' | 'failed' | 'cancelled' | 'expired';

const NAMES: Partial<Record<JobState, JobStateName>> = {
  [JobState.JOB_STATE_SCHEDULED]: 'scheduled',
  [JobState.JOB_STATE_WAITING]: 'waiting',
  [JobState.JOB_STATE_RUNNING]: 'running',
  [JobState.JOB_STATE_SUCCEEDED]: 'succeeded',
  [JobState.JOB_STATE_FAILED]: 'failed',
  [JobState.JOB_STATE_CANCELLED]: 'cancelled',
  [JobState.JOB_STATE_EXPIRED]: 'expired',
};

/** A job as it stands. */
export interface JobInfo {
  pool: string;
  id: string;
  /** A kind, or a method as `/package.Service/Method`. */
  kind: string;
  state: JobStateName;
  /** Attempts begun. */
  attempt: number;
  /** Who runs it, or ran it last. */
  worker: string;
  metadata: Record<string, string>;
  /** What its attempt reported last; empty: nothing. */
  progress: Buffer;
  /** Not in lists. */
  output: Buffer | undefined;
  /** Of the job, or while it is retried of its last attempt. */
  failure: JobFailure | undefined;
  createdAt: Date | undefined;
  startedAt: Date | undefined;
  finishedAt: Date | undefined;
  /** When a scheduled job is due. */
  nextAt: Date | undefined;
  /** Why it waits, such as `no_free_worker`. */
  waitingReason: string;
}

export function toJobInfo(job: Job): JobInfo {
  const { spec, outcome } = job;
  return {
    pool: spec?.pool ?? '',
    id: spec?.id ?? '',
    kind: spec?.work?.value ?? '',
    state: NAMES[job.state] ?? 'waiting',
    attempt: job.attempt,
    worker: job.worker,
    metadata: spec?.metadata ?? {},
    progress: job.progress,
    output: outcome?.$case === 'output' ? outcome.value : undefined,
    failure: outcome?.$case === 'failure' ? failureOf(outcome.value) : undefined,
    createdAt: job.createTime,
    startedAt: job.startTime,
    finishedAt: job.finishTime,
    nextAt: job.nextTime,
    waitingReason: job.waitingReason,
  };
}

/** The number on the wire. Throws TypeError for a word that is no state. */
export function stateNumber(name: JobStateName | undefined): JobState {
  if (name === undefined) return JobState.JOB_STATE_UNSPECIFIED;
  const found = Object.entries(NAMES).find(([, known]) => known === name);
  if (found === undefined) throw new TypeError(`state: ${name} is none of ${Object.values(NAMES).join(', ')}`);
  return Number(found[0]);
}

/** The output of a job that has ended. Throws JobFailed, JobCancelled or JobExpired. */
export function outputOf(job: Job): Buffer {
  const { pool = '', id = '' } = job.spec ?? {};
  switch (job.state) {
    case JobState.JOB_STATE_SUCCEEDED:
      if (job.outcome?.$case === 'failure') throw new ApiError(job.outcome.value.code, job.outcome.value.reason, job.outcome.value.message);
      return job.outcome?.$case === 'output' ? job.outcome.value : Buffer.alloc(0);
    case JobState.JOB_STATE_CANCELLED:
      throw new JobCancelled(pool, id);
    case JobState.JOB_STATE_EXPIRED:
      throw new JobExpired(pool, id);
    default: {
      const failure = job.outcome?.$case === 'failure' ? failureOf(job.outcome.value) : UNKNOWN;
      throw new JobFailed(pool, id, job.attempt, failure);
    }
  }
}

const UNKNOWN: JobFailure = { code: 2, message: 'the job failed', reason: '', retryable: false, details: Buffer.alloc(0) };

function failureOf({ code, message, reason, retryable, details }: JobFailure): JobFailure {
  return { code, message, reason, retryable, details };
}
