import { Metadata } from '@grpc/grpc-js';
import type { Assignment } from '../domain/job.js';
import type { ProbeAnswer } from '../domain/link.js';
import {
  HealthCheckRequest,
  HealthCheckResponse,
  HealthCheckResponse_ServingStatus,
  HealthService,
} from '../grpc/generated/grpc/health/v1/health.js';
import type { Speech } from './speech.js';

/** Contract METHOD: any gRPC server. A job's payload is the method's request, undecoded; its health is asked by grpc.health.v1. */
export const method: Speech = {
  contract: 'METHOD',
  anyAnswerLives: true,
  probe: { path: HealthService.check.path, bytes: Buffer.from(HealthCheckRequest.encode({ service: '' }).finish()) },

  order(assignment) {
    if (assignment.method === '') return `a METHOD worker runs methods; the job names the kind ${assignment.kind}`;
    return { path: assignment.method, bytes: assignment.payload, metadata: headersOf(assignment) };
  },

  readProbe(bytes): ProbeAnswer {
    const { status } = HealthCheckResponse.decode(bytes);
    return { workerId: '', busy: status === HealthCheckResponse_ServingStatus.NOT_SERVING, held: undefined, tellsIdle: false };
  },
};

const HEADER_NAME = /^[0-9a-z_.-]{1,128}$/;
const HEADER_VALUE = /^[\x20-\x7e]*$/;
/** What HTTP/2, gRPC and we ourselves say in headers is not for jobs to say; "-bin" names carry base64, which a text is not. */
const RESERVED =
  /^(grpc-|muster-)|-bin$|^(connection|content-length|content-type|host|keep-alive|proxy-connection|te|trailer|transfer-encoding|upgrade|user-agent)$/;

/**
 * A job's metadata as request headers, as far as headers can carry it, and which attempt of which job this is, so that a plain server
 * can tell a repeated call.
 */
function headersOf({ metadata, jobId, fence, attempt }: Assignment): Metadata {
  const headers = new Metadata();
  for (const [key, value] of Object.entries(metadata)) {
    const name = key.toLowerCase();
    if (HEADER_NAME.test(name) && !RESERVED.test(name) && HEADER_VALUE.test(value)) headers.set(name, value);
  }
  headers.set('muster-job-id', jobId);
  headers.set('muster-fence', fence);
  headers.set('muster-attempt', String(attempt));
  return headers;
}
