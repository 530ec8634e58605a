import type { Assignment } from './job.js';

const HEADER_NAME = /^[0-9a-z_.-]{1,128}$/;
const HEADER_VALUE = /^[\x20-\x7e]*$/;
/** What HTTP/2, gRPC and we ourselves say in headers is not for jobs to say; "-bin" names carry base64, which a text is not. */
const RESERVED =
  /^(grpc-|muster-)|-bin$|^(connection|content-length|content-type|host|keep-alive|proxy-connection|te|trailer|transfer-encoding|upgrade|user-agent)$/;

/**
 * The request headers of an attempt that is a call of a plain gRPC server: the job's metadata, as far as headers can carry it, and which
 * attempt of which job this is, so that the server can tell a repeated call.
 */
export function attemptHeaders({
  metadata,
  jobId,
  fence,
  attempt,
}: Pick<Assignment, 'metadata' | 'jobId' | 'fence' | 'attempt'>): [string, string][] {
  const headers: [string, string][] = [];
  for (const [key, value] of Object.entries(metadata)) {
    const name = key.toLowerCase();
    if (HEADER_NAME.test(name) && !RESERVED.test(name) && HEADER_VALUE.test(value)) headers.push([name, value]);
  }
  headers.push(['muster-job-id', jobId], ['muster-fence', fence], ['muster-attempt', String(attempt)]);
  return headers;
}
