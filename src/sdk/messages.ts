/** The words of the contracts, for what stands on the SDK and may not see generated code itself. */
export { Duration } from '../grpc/generated/google/protobuf/duration.js';
export { HealthCheckResponse_ServingStatus as ServingStatus } from '../grpc/generated/grpc/health/v1/health.js';
export type { Pool, Replica, Worker } from '../grpc/generated/muster/v1/admin.js';
export { PurgeScope, WorkerState } from '../grpc/generated/muster/v1/admin.js';
export type { Failure } from '../grpc/generated/muster/v1/common.js';
export { Contract } from '../grpc/generated/muster/v1/common.js';
export type { Job } from '../grpc/generated/muster/v1/job.js';
export { JobSpec, JobState } from '../grpc/generated/muster/v1/job.js';
export { WorkerInfo } from '../grpc/generated/muster/v1/worker.js';
