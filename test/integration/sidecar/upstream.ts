import { Server, ServerCredentials, type ServerUnaryCall, type sendUnaryData, type UntypedHandleCall } from '@grpc/grpc-js';
import { descriptorFiles } from '../../../src/grpc/generated/descriptors.js';
import { HealthService as HealthDefinition } from '../../../src/grpc/generated/grpc/health/v1/health.js';
import type { ServerReflectionRequest } from '../../../src/grpc/generated/grpc/reflection/v1/reflection.js';
import { ServerReflectionService as Alpha } from '../../../src/grpc/generated/grpc/reflection/v1alpha/reflection.js';
import { type JobRequest, type JobResponse, JobResponse as JobResponseType, JobServiceService } from '../../../src/grpc/generated/job/job.js';
import { HealthService, HealthState } from '../../../src/grpc/health-service.js';
import { addReflection, ReflectionIndex } from '../../../src/grpc/reflection.js';

export type RunJob = (call: ServerUnaryCall<JobRequest, JobResponse>, done: sendUnaryData<JobResponse>) => void;

export interface UpstreamServer {
  target: string;
  port: number;
  health: HealthState;
  /** Every RunJob that came, in order. */
  calls: ServerUnaryCall<JobRequest, JobResponse>[];
  /** Cuts every connection and frees the port. */
  kill(): void;
}

export interface UpstreamServerOptions {
  runJob?: RunJob;
  port?: number;
  reflection?: 'both' | 'v1alpha' | 'none';
  /** Without it the server does not speak grpc.health.v1. */
  health?: boolean;
}

export const SERVED = ['grpc.health.v1.Health', 'job.JobService'];

/** Answers with what it was asked for. */
export const echo: RunJob = ({ request }, done) =>
  done(null, JobResponseType.fromPartial({ jobId: request.jobId, success: true, logs: request.repoUrl }));

/** A plain gRPC server that knows nothing of Muster, on loopback. */
export async function startUpstream({
  runJob = echo,
  port = 0,
  reflection = 'both',
  health = true,
}: UpstreamServerOptions = {}): Promise<UpstreamServer> {
  const server = new Server();
  const state = new HealthState();
  state.set('', true);
  const calls: UpstreamServer['calls'] = [];
  server.addService(JobServiceService, {
    runJob: (call: ServerUnaryCall<JobRequest, JobResponse>, done: sendUnaryData<JobResponse>) => {
      calls.push(call);
      runJob(call, done);
    },
    ping: (_: unknown, done: sendUnaryData<{ workerId: string; status: number }>) => done(null, { workerId: 'up', status: 1 }),
  });
  if (health) server.addService(HealthDefinition, new HealthService(state, { maxWatchers: 8 }).handlers);
  if (reflection === 'both') addReflection(server, SERVED);
  if (reflection === 'v1alpha') server.addService(Alpha, { serverReflectionInfo: reflectAlpha() });
  const bound = await new Promise<number>((resolve, reject) => {
    server.bindAsync(`127.0.0.1:${port}`, ServerCredentials.createInsecure(), (error, at) => (error === null ? resolve(at) : reject(error)));
  });
  return { target: `127.0.0.1:${bound}`, port: bound, health: state, calls, kill: () => server.forceShutdown() };
}

function reflectAlpha(): UntypedHandleCall {
  const index = new ReflectionIndex(SERVED, descriptorFiles);
  return (call: { on(event: string, listener: (request: ServerReflectionRequest) => void): void; write(answer: unknown): void; end(): void }) => {
    call.on('data', (request) => call.write(index.answer(request)));
    call.on('end', () => call.end());
    call.on('error', () => undefined);
  };
}
