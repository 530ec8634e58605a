import { codeName } from '../sdk/api-error.js';
import { fromDuration } from '../sdk/duration.js';
import {
  Contract,
  type Duration,
  type Failure,
  type Job,
  type JobSpec,
  JobState,
  type Pool,
  type Replica,
  type Worker,
  WorkerState,
} from '../sdk/messages.js';

/**
 * The documents of `-o json`: names as in the proto JSON mapping, but every field present, words of enums plain (`succeeded`), times in
 * RFC 3339 or null, lengths of time in ms (`…Ms`), bytes in base64, and beside them `…Text` when they are UTF-8. Counts are numbers; a
 * `fence` is a string, because it names a lease and may be larger than what JSON readers keep exact.
 */
export function plainJob(job: Job) {
  const { spec, outcome } = job;
  return {
    pool: spec?.pool ?? '',
    id: spec?.id ?? '',
    state: jobStateWord(job.state),
    ...(spec === undefined ? {} : plainSpec(spec)),
    attempt: job.attempt,
    handovers: job.handovers,
    worker: job.worker,
    waitingReason: job.waitingReason,
    createTime: plainTime(job.createTime),
    startTime: plainTime(job.startTime),
    finishTime: plainTime(job.finishTime),
    nextTime: plainTime(job.nextTime),
    ...(job.progress.length > 0 ? bytes('progress', job.progress) : {}),
    ...(outcome?.$case === 'output' ? bytes('output', outcome.value) : {}),
    ...(outcome?.$case === 'failure' ? { failure: plainFailure(outcome.value) } : {}),
  };
}

function plainSpec(spec: JobSpec) {
  const { work, retry } = spec;
  return {
    ...(work?.$case === 'method' ? { method: work.value } : { kind: work?.value ?? '' }),
    ...(spec.payload.length > 0 ? bytes('payload', spec.payload) : {}),
    metadata: spec.metadata,
    priority: spec.priority,
    notBefore: plainTime(spec.notBefore),
    queueTimeoutMs: plainSpan(spec.queueTimeout),
    runTimeoutMs: plainSpan(spec.runTimeout),
    totalTimeoutMs: plainSpan(spec.totalTimeout),
    retentionMs: plainSpan(spec.retention),
    retry:
      retry === undefined
        ? null
        : {
            maxAttempts: retry.maxAttempts,
            initialBackoffMs: plainSpan(retry.initialBackoff),
            maxBackoffMs: plainSpan(retry.maxBackoff),
            multiplier: retry.multiplier,
            fatalCodes: retry.fatalCodes.map(codeName),
          },
  };
}

function plainFailure({ code, reason, message, retryable, details }: Failure) {
  return { code: codeName(code), reason, message, retryable, ...(details.length > 0 ? bytes('details', details) : {}) };
}

export function plainWorker(worker: Worker) {
  const { contract, state, linkEpoch, lastSeenTime, registerTime, ...rest } = worker;
  return {
    ...rest,
    linkEpoch: Number(linkEpoch),
    contract: contractWord(contract),
    state: workerStateWord(state),
    lastSeenTime: plainTime(lastSeenTime),
    registerTime: plainTime(registerTime),
  };
}

export function plainPool(pool: Pool) {
  return {
    ...pool,
    family: pool.family === Contract.CONTRACT_UNSPECIFIED ? '' : contractWord(pool.family),
    waiting: Number(pool.waiting),
    scheduled: Number(pool.scheduled),
    running: Number(pool.running),
    buried: Number(pool.buried),
    succeededTotal: Number(pool.succeededTotal),
    failedTotal: Number(pool.failedTotal),
    retriedTotal: Number(pool.retriedTotal),
  };
}

export function plainReplica({ startTime, ...rest }: Replica) {
  return { ...rest, startTime: plainTime(startTime) };
}

export function jobStateWord(state: JobState): string {
  return word(JobState[state], 'JOB_STATE_');
}

export function workerStateWord(state: WorkerState): string {
  return word(WorkerState[state], 'WORKER_STATE_');
}

export function contractWord(contract: Contract): string {
  return word(Contract[contract], 'CONTRACT_');
}

export const JOB_STATES: Record<string, JobState> = words(JobState, 'JOB_STATE_');
export const WORKER_STATES: Record<string, WorkerState> = words(WorkerState, 'WORKER_STATE_');
export const CONTRACTS: Record<string, Contract> = words(Contract, 'CONTRACT_');

function word(name: string | undefined, prefix: string): string {
  return name === undefined ? 'unknown' : name.slice(name.startsWith(prefix) ? prefix.length : 0).toLowerCase();
}

function words<Value extends number>(names: Record<string, string | Value>, prefix: string): Record<string, Value> {
  const found: Record<string, Value> = {};
  for (const [name, value] of Object.entries(names)) {
    if (typeof value === 'number' && value > 0 && name.startsWith(prefix)) found[word(name, prefix)] = value;
  }
  return found;
}

/** The text of bytes that are UTF-8; undefined for others. */
export function textOf(value: Uint8Array): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(value);
  } catch {
    return undefined;
  }
}

function bytes(name: string, value: Buffer): Record<string, string> {
  const text = textOf(value);
  return { [name]: value.toString('base64'), ...(text === undefined ? {} : { [`${name}Text`]: text }) };
}

function plainTime(time: Date | undefined): string | null {
  return time?.toISOString() ?? null;
}

function plainSpan(duration: Duration | undefined): number | null {
  return fromDuration(duration) ?? null;
}
