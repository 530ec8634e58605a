import type { Assignment } from '../domain/job.js';
import type { ProbeAnswer } from '../domain/link.js';
import { AbortRequest, ExecuteRequest, ProbeRequest, ProbeResponse, RunnerServiceService, RunnerStatus } from '../grpc/generated/muster/v1/runner.js';
import type { Order, Speech } from './speech.js';

/** The same bytes, not a copy: they may be a large payload. */
function asBuffer({ buffer, byteOffset, byteLength }: Uint8Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength);
}

/** Contract RUNNER: muster.v1.RunnerService. */
export const runner: Speech = {
  contract: 'RUNNER',
  anyAnswerLives: false,
  probe: { path: RunnerServiceService.probe.path, bytes: Buffer.from(ProbeRequest.encode({}).finish()) },

  order({ jobId, fence, kind, method, payload, metadata, attempt, runTimeoutMs, progress }: Assignment): Order {
    const runTimeout = { seconds: String(Math.floor(runTimeoutMs / 1_000)), nanos: (runTimeoutMs % 1_000) * 1_000_000 };
    const request = ExecuteRequest.encode({ assignment: { jobId, fence, kind, method, payload, metadata, attempt, runTimeout, progress } });
    return { path: RunnerServiceService.execute.path, bytes: asBuffer(request.finish()) };
  },

  abort: (jobId, fence) => ({ path: RunnerServiceService.abort.path, bytes: Buffer.from(AbortRequest.encode({ jobId, fence }).finish()) }),

  readProbe(bytes): ProbeAnswer {
    const { workerId, boot, status, held } = ProbeResponse.decode(bytes);
    return {
      workerId,
      boot,
      busy: status === RunnerStatus.RUNNER_STATUS_BUSY,
      held: held.map(({ jobId, fence, done }) => ({ jobId, fence, done })),
      tellsIdle: true,
    };
  },
};
