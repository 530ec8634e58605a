import { type Ids, systemIds } from '../domain/clock.js';
import { checkId, checkPool } from '../domain/names.js';
import { JobSpec } from '../grpc/generated/muster/v1/job.js';
import { type Wire, wireOf } from './codec.js';
import { toDuration } from './duration.js';
import { type AnyJob, isMethod } from './job.js';

/** How a job is to be run. Times in ms; what is not set is the replica's default. */
export interface SubmitOptions {
  /** Default: made. Submitting the same id again is the same job. */
  id?: string;
  /** Over that of the definition. Default `default`. */
  pool?: string;
  /** Handed to the worker. ≤ 32 entries. */
  metadata?: Record<string, string>;
  /** 0 to 3; 3 goes first. */
  priority?: number;
  /** Not given to a worker before. */
  notBefore?: Date;
  queueTimeoutMs?: number;
  /** For one attempt. */
  runTimeoutMs?: number;
  totalTimeoutMs?: number;
  retry?: { maxAttempts?: number; initialBackoffMs?: number; maxBackoffMs?: number; multiplier?: number; fatalCodes?: number[] };
  /** How long it is kept after its end. */
  retentionMs?: number;
}

/** A job on its way out, encoded. */
export interface Submission {
  spec: JobSpec;
  /** On the wire, at the most. */
  bytes: number;
  output: Wire;
}

/** Names, times, and the frame around them. */
const ENVELOPE_BYTES = 1_024;
/** Of an entry of a map beside its key and value. */
const ENTRY_BYTES = 16;

/** Throws CodecError, or MusterError that names the field. */
export async function toSubmission(job: AnyJob, input: unknown, options: SubmitOptions, ids: Ids = systemIds): Promise<Submission> {
  const { kind } = job;
  const method = isMethod(kind);
  // A method's request and response are bytes unless a codec says otherwise.
  const fallback = method ? 'bytes' : undefined;
  const payload = await wireOf(job.input ?? fallback, `input of ${kind}`).toBytes(input === undefined && method ? Buffer.alloc(0) : input);
  const { metadata = {}, priority = 0, notBefore, queueTimeoutMs, runTimeoutMs, totalTimeoutMs, retry, retentionMs } = options;
  const spec = JobSpec.fromPartial({
    id: options.id === undefined ? ids.jobId() : checkId(options.id, 'id'),
    pool: checkPool(options.pool ?? job.pool ?? '', 'pool'),
    work: { $case: method ? 'method' : 'kind', value: kind },
    payload,
    metadata,
    priority,
    notBefore,
    queueTimeout: orUnset(queueTimeoutMs),
    runTimeout: orUnset(runTimeoutMs),
    totalTimeout: orUnset(totalTimeoutMs),
    retry: retry && {
      maxAttempts: retry.maxAttempts,
      initialBackoff: orUnset(retry.initialBackoffMs),
      maxBackoff: orUnset(retry.maxBackoffMs),
      multiplier: retry.multiplier,
      fatalCodes: retry.fatalCodes,
    },
    retention: orUnset(retentionMs),
  });
  let bytes = payload.length + ENVELOPE_BYTES;
  for (const [key, value] of Object.entries(metadata)) bytes += ENTRY_BYTES + 3 * (key.length + value.length);
  return { spec, bytes, output: wireOf(job.output ?? fallback, `output of ${kind}`) };
}

function orUnset(ms: number | undefined) {
  return ms === undefined ? undefined : toDuration(ms);
}
