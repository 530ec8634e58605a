import { createHash } from 'node:crypto';
import { withoutTrace } from '../domain/trace.js';
import { JobSpec, RetryPolicy } from './generated/muster/v1/job.js';

const DIGEST_LENGTH = 22;
const NO_BYTES = Buffer.alloc(0);

/**
 * What makes two submissions under one ID the same job: the first 132 bits, as base64url, of SHA-256 over all that the caller said, as the caller
 * said it. Defaults of this replica are not in it: another replica may have others. A field that is unset and one that names the default differ.
 *
 * The bytes are those of the spec in protobuf, fields by number, followed by the payload. `pool` is left out, `id` holds the payload's length.
 * Metadata goes by key, without the trace that the job belongs to: a job may be submitted again in another trace. Fatal codes go by number, and an
 * empty retry policy is none. A field that a later version adds changes no digest while it is unset. Where it is set, an older replica makes another
 * digest: use a new field when every replica knows it.
 *
 * Every waiting job keeps the digest, hence its length. A caller who finds a second spec for one only loses that spec to a job of their own.
 */
export function contentDigest(spec: JobSpec): string {
  const { payload, metadata, retry } = spec;
  const entries = Object.entries(withoutTrace(metadata)).sort(([a], [b]) => (a < b ? -1 : 1));
  const said: JobSpec = {
    ...spec,
    id: String(payload.length),
    pool: '',
    payload: NO_BYTES,
    metadata: Object.fromEntries(entries),
    retry: retry && sorted(retry),
  };
  return createHash('sha256').update(JobSpec.encode(said).finish()).update(payload).digest('base64url').slice(0, DIGEST_LENGTH);
}

function sorted(retry: RetryPolicy): RetryPolicy | undefined {
  const policy = { ...retry, fatalCodes: [...retry.fatalCodes].sort((a, b) => a - b) };
  return RetryPolicy.encode(policy).finish().length === 0 ? undefined : policy;
}
