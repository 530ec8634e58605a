import type { Assignment } from './job.js';

const HEADER_NAME = /^[0-9a-z_.-]{1,128}$/;
const HEADER_VALUE = /^[\x20-\x7e]*$/;
/** What HTTP/2, gRPC and we ourselves say in headers is not for jobs to say; "-bin" names carry base64, which a text is not. */
const RESERVED =
  /^(grpc-|muster-)|-bin$|^(connection|content-length|content-type|host|keep-alive|proxy-connection|te|trailer|transfer-encoding|upgrade|user-agent)$/;

/**
 * What says who is asking. The caller of a worker is this replica, not the client that submitted the job: a header of the client's must not
 * speak for it.
 */
const CREDENTIALS =
  /^(authorization|proxy-authorization|cookie|x-api-key|api-key|x-auth-token|x-access-token|x-amz-security-token|x-forwarded-client-cert|x-client-cert)$/;

/** On every call that is an attempt of a job. Replicas let no such call in: they are no workers. */
export const JOB_ID_HEADER = 'muster-job-id';

/**
 * The request headers of an attempt that is a call of a plain gRPC server: the job's metadata, as far as headers can carry it, and which
 * attempt of which job this is, so that the server can tell a repeated call. `credentials`: those of the metadata go along.
 */
export function attemptHeaders({
  metadata,
  jobId,
  fence,
  attempt,
  credentials,
}: Pick<Assignment, 'metadata' | 'jobId' | 'fence' | 'attempt'> & { credentials: boolean }): [string, string][] {
  const headers: [string, string][] = [];
  for (const [key, value] of Object.entries(metadata)) {
    const name = key.toLowerCase();
    if (!credentials && CREDENTIALS.test(name)) continue;
    if (HEADER_NAME.test(name) && !RESERVED.test(name) && HEADER_VALUE.test(value)) headers.push([name, value]);
  }
  headers.push([JOB_ID_HEADER, jobId], ['muster-fence', fence], ['muster-attempt', String(attempt)]);
  return headers;
}
