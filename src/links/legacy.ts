import type { ProbeAnswer } from '../domain/link.js';
import { LEGACY_METHOD } from '../domain/names.js';
import { JobServiceService, PingRequest, PingResponse, WorkerStatus } from '../grpc/generated/job/job.js';
import type { Speech } from './speech.js';

/** Contract LEGACY: the first contract's job.JobService. A job's payload is its JobRequest, byte for byte; it gets no metadata. */
export const legacy: Speech = {
  contract: 'LEGACY',
  anyAnswerLives: false,
  probe: { path: JobServiceService.ping.path, bytes: Buffer.from(PingRequest.encode({}).finish()) },

  order({ kind, method, payload }) {
    if (method !== LEGACY_METHOD) return `a worker of the first contract runs ${LEGACY_METHOD} alone; the job names ${method || `the kind ${kind}`}`;
    return { path: LEGACY_METHOD, bytes: payload };
  },

  readProbe(bytes): ProbeAnswer {
    const { workerId, status } = PingResponse.decode(bytes);
    return { workerId, boot: '', busy: status === WorkerStatus.BUSY, held: undefined, tellsIdle: status === WorkerStatus.FREE };
  },
};
