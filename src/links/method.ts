import { Metadata } from '@grpc/grpc-js';
import { attemptHeaders } from '../domain/headers.js';
import type { Assignment } from '../domain/job.js';
import type { ProbeAnswer } from '../domain/link.js';
import { isOwnMethod } from '../domain/names.js';
import {
  HealthCheckRequest,
  HealthCheckResponse,
  HealthCheckResponse_ServingStatus,
  HealthService,
} from '../grpc/generated/grpc/health/v1/health.js';
import type { Speech } from './speech.js';

/**
 * Contract METHOD: any gRPC server. A job's payload is the method's request, undecoded; its health is asked by grpc.health.v1. `credentials`: those
 * in a job's metadata go along.
 */
export const method = (credentials: boolean): Speech => ({
  contract: 'METHOD',
  anyAnswerLives: true,
  probe: { path: HealthService.check.path, bytes: Buffer.from(HealthCheckRequest.encode({ service: '' }).finish()) },

  order(assignment) {
    if (isOwnMethod(assignment.method)) return `${assignment.method} is a method of Muster's own, which no worker runs`;
    if (assignment.method === '') return `a METHOD worker runs methods; the job names the kind ${assignment.kind}`;
    return { path: assignment.method, bytes: assignment.payload, metadata: headersOf(assignment, credentials) };
  },

  readProbe(bytes): ProbeAnswer {
    const { status } = HealthCheckResponse.decode(bytes);
    return { workerId: '', boot: '', busy: status === HealthCheckResponse_ServingStatus.NOT_SERVING, held: undefined, tellsIdle: false };
  },
});

function headersOf(assignment: Assignment, credentials: boolean): Metadata {
  const headers = new Metadata();
  for (const [name, value] of attemptHeaders({ ...assignment, credentials })) headers.set(name, value);
  return headers;
}
