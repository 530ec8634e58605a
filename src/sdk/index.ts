/**
 * For workers and clients. Pulls in neither Redis nor BullMQ.
 *
 * `Worker` attaches outward and runs jobs; `Client` submits them and waits; `defineJob` gives both sides their types; `testWorker` runs handlers
 * in a test. Below them: `startRunner`, a worker that replicas dial, and `connect`, every unary call of the contracts.
 */
export type { TlsOptions, Token, Where } from './access.js';
export { AccessError, ApiError, PermissionDenied, Unauthenticated } from './api-error.js';
export { Client, type ClientOptions, type Item, type JobHandle, type ListOptions, type WaitOptions } from './client.js';
export type { Codec, Coder, Received, Sent, StandardSchema } from './codec.js';
export { type Api, type ConnectOptions, connect } from './connect.js';
export {
  type AbortWhy,
  AttemptError,
  type AttemptErrorOptions,
  CodecError,
  JobAborted,
  JobCancelled,
  JobError,
  JobExpired,
  JobFailed,
  type JobFailure,
  JobGone,
  PermanentError,
  RetryLater,
} from './errors.js';
export type { JobContext, JobHandler } from './handlers.js';
export { type AnyJob, type Codecs, defineJob, type JobDefinition } from './job.js';
export type { JobInfo, JobStateName } from './job-info.js';
export * from './messages.js';
export { runToEnd } from './run.js';
export { type Handler, type Runner, type RunnerOptions, startRunner } from './runner.js';
export type { Pem, ServerTlsOptions } from './server-tls.js';
export type { SubmitOptions } from './submission.js';
export type { Ended, ManyOptions } from './submit-many.js';
export { type TestRun, type TestRunOptions, type TestWorker, testWorker } from './test-worker.js';
export { type StopOptions, Worker, type WorkerEvents, type WorkerOptions } from './worker.js';
