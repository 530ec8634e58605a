import { Server, ServerCredentials, type ServiceDefinition, status, type UntypedServiceImplementation } from '@grpc/grpc-js';
import { afterAll } from 'vitest';
import {
  type HealthCheckResponse,
  type HealthServer,
  HealthService,
  HealthCheckResponse_ServingStatus as Serving,
} from '../../../src/grpc/generated/grpc/health/v1/health.js';
import { JobRequest, type JobResponse, type JobServiceServer, JobServiceService, WorkerStatus } from '../../../src/grpc/generated/job/job.js';
import { type Assignment, Contract } from '../../../src/grpc/generated/muster/v1/common.js';
import { type ExecuteResponse, type RunnerServiceServer, RunnerServiceService, RunnerStatus } from '../../../src/grpc/generated/muster/v1/runner.js';
import { WorkerInfo } from '../../../src/grpc/generated/muster/v1/worker.js';
import type { Api } from '../../../src/sdk/connect.js';
import { type Handler, type Runner, type RunnerOptions, startRunner } from '../../../src/sdk/runner.js';
import { handlers, type Note } from '../../helpers/handlers.js';
import { until } from '../../helpers/until.js';

const open: (() => void)[] = [];

afterAll(() => {
  for (const close of open.splice(0)) close();
});

export interface TestRunner extends Runner {
  notes: Note[];
}

/** A worker of the SDK with the tests' handlers, on the roll. */
export async function runnerWorker(
  target: string,
  pool: string,
  id: string,
  options: Partial<RunnerOptions> & { more?: Record<string, Handler> } = {},
): Promise<TestRunner> {
  const notes: Note[] = [];
  const { more, ...rest } = options;
  const all = handlers(id, (note) => void notes.push(note), more);
  const runner = await startRunner({ id, pool, target, ip: '127.0.0.1', handlers: all, slowRetryMs: 200, ...rest });
  open.push(() => runner.close());
  await runner.registered;
  return Object.assign(runner, { notes });
}

export interface Served {
  port: number;
  /** Ends it as a crash does: nobody listens there any more. */
  kill(): void;
}

type Service = [ServiceDefinition, UntypedServiceImplementation];

export async function serve(services: Service[], port = 0): Promise<Served> {
  const server = new Server();
  for (const [definition, implementation] of services) server.addService(definition, implementation);
  const bound = await new Promise<number>((resolve, reject) => {
    server.bindAsync(`127.0.0.1:${port}`, ServerCredentials.createInsecure(), (error, at) => (error ? reject(error) : resolve(at)));
  });
  const kill = () => server.forceShutdown();
  open.push(kill);
  return { port: bound, kill };
}

export interface LegacyWorker extends Served {
  id: string;
  /** Requests that it was given, in order. */
  jobs: JobRequest[];
  /** The job ends with this; undefined: it hangs until one is set. */
  answer: ((request: JobRequest) => JobResponse) | undefined;
  /** The id under which it answers Ping. */
  name: string;
  pings: number;
  /** Pings are not answered while it is set; afterwards they are, late. */
  mute: boolean;
  /** Somebody else than Muster gives it a job. Resolves when that is over. */
  runElsewhere(): Promise<void>;
}

/** A worker of the first contract, as such fleets do it: one job at a time, an error while busy. It registers nowhere by itself. */
export async function legacyWorker(id: string, port = 0): Promise<LegacyWorker> {
  const worker = {
    id,
    name: id,
    jobs: [] as JobRequest[],
    pings: 0,
    mute: false,
    answer: ({ jobId, contextDir }: JobRequest): JobResponse => ({ jobId, success: true, logs: `built ${contextDir}`, imageUrl: '', error: '' }),
  } as LegacyWorker;
  let busy = false;
  const run = async (request: JobRequest): Promise<JobResponse> => {
    busy = true;
    const answer = await until(() => worker.answer, { timeoutMs: 60_000, what: 'an answer' });
    busy = false;
    return answer(request);
  };
  worker.runElsewhere = async () => void (await run(JobRequest.fromPartial({ jobId: 'theirs' })));
  const service: JobServiceServer = {
    runJob: (call, callback) => {
      if (busy) return callback({ code: status.UNKNOWN, details: 'worker is busy' });
      worker.jobs.push(call.request);
      run(call.request).then(
        (answer) => callback(null, answer),
        (error: Error) => callback({ code: status.INTERNAL, details: error.message }),
      );
    },
    ping: async (_call, callback) => {
      await until(() => !worker.mute, { timeoutMs: 60_000, what: 'it to speak' });
      worker.pings++;
      callback(null, { workerId: worker.name, status: busy ? WorkerStatus.BUSY : WorkerStatus.FREE });
    },
  };
  return Object.assign(worker, await serve([[JobServiceService, service]], port));
}

export interface MethodWorker extends Served {
  /** Payloads of the calls, in order. */
  calls: string[];
  serving: boolean;
  /** Calls hang while it is set. */
  hold: boolean;
}

const identity = (bytes: Buffer) => bytes;
export const SAY = '/test.Echo/Say';

/** Any gRPC server with a health service: says back in capitals what it is told. */
export async function methodWorker(): Promise<MethodWorker> {
  const worker = { calls: [] as string[], serving: true, hold: false } as MethodWorker;
  const health: Pick<HealthServer, 'check'> = {
    check: (_call, callback) => {
      const answer: HealthCheckResponse = { status: worker.serving ? Serving.SERVING : Serving.NOT_SERVING };
      callback(null, answer);
    },
  };
  const shape = { requestStream: false, responseStream: false } as const;
  const bytes = { requestSerialize: identity, requestDeserialize: identity, responseSerialize: identity, responseDeserialize: identity };
  const echo = { say: { path: SAY, ...shape, ...bytes } };
  const say = {
    say: (call: { request: Buffer }, callback: (error: null, answer: Buffer) => void) => {
      worker.calls.push(call.request.toString());
      const timer = setInterval(() => {
        if (worker.hold) return;
        clearInterval(timer);
        callback(null, Buffer.from(call.request.toString().toUpperCase()));
      }, 5);
    },
  } as unknown as UntypedServiceImplementation;
  const { check } = HealthService;
  return Object.assign(
    worker,
    await serve([
      [echo, say],
      [{ check }, { check: health.check } as UntypedServiceImplementation],
    ]),
  );
}

export interface AcceptingWorker extends Served {
  assignments: Assignment[];
  /** The id under which it answers Probe. */
  name: string;
  /** The boot that it says there; '' as a worker that does not tell. */
  boot: string;
  aborted: { jobId: string; fence: string }[];
  /** What it says of itself when asked. */
  held: { jobId: string; fence: string }[];
}

/** A RUNNER worker that takes every job at once and reports when the test does it. */
export async function acceptingWorker(id: string): Promise<AcceptingWorker> {
  const worker = { name: id, boot: '', assignments: [] as Assignment[], aborted: [], held: [] } as unknown as AcceptingWorker;
  const accepted: ExecuteResponse = { answer: { $case: 'accepted', value: {} } };
  const service: RunnerServiceServer = {
    execute: (call, callback) => {
      const { assignment } = call.request;
      if (!assignment) return callback({ code: status.INVALID_ARGUMENT });
      const { jobId, fence } = assignment;
      if (!worker.held.some((lease) => lease.fence === fence)) {
        worker.assignments.push(assignment);
        worker.held.push({ jobId, fence });
      }
      callback(null, accepted);
    },
    abort: (call, callback) => {
      worker.aborted.push(call.request);
      callback(null, {});
    },
    probe: (_call, callback) => {
      const held = worker.held.map((lease) => ({ ...lease, done: false, progress: Buffer.alloc(0) }));
      callback(null, { workerId: worker.name, boot: worker.boot, status: RunnerStatus.RUNNER_STATUS_FREE, held });
    },
  };
  return Object.assign(worker, await serve([[RunnerServiceService, service]]));
}

export interface HoldingWorker extends Served {
  /** What it was sent, in order. */
  jobs: string[];
  /** Calls that its replica has ended. */
  cancelled: string[];
  probes: number;
  /** The first job runs on, whatever is said to it; afterwards its result waits to be fetched. */
  runs: boolean;
}

/** A RUNNER that takes one job and heeds no abort of it; others it answers at once. It registers nowhere by itself. */
export async function holdingWorker(id: string): Promise<HoldingWorker> {
  const worker = { jobs: [] as string[], cancelled: [] as string[], probes: 0, runs: true };
  let first: Assignment | undefined;
  const service: RunnerServiceServer = {
    execute: (call, callback) => {
      const { assignment } = call.request;
      if (!assignment) return callback({ code: status.INVALID_ARGUMENT });
      const { jobId, fence, payload } = assignment;
      worker.jobs.push(jobId);
      first ??= assignment;
      call.on('cancelled', () => worker.cancelled.push(jobId));
      if (first.jobId !== jobId)
        callback(null, { answer: { $case: 'result', value: { jobId, fence, outcome: { $case: 'output', value: payload } } } });
    },
    abort: (_call, callback) => callback(null, {}),
    probe: (_call, callback) => {
      worker.probes++;
      const { jobId = '', fence = '' } = first ?? {};
      const held = first ? [{ jobId, fence, done: !worker.runs, progress: Buffer.alloc(0) }] : [];
      callback(null, {
        workerId: id,
        boot: '',
        status: first && worker.runs ? RunnerStatus.RUNNER_STATUS_BUSY : RunnerStatus.RUNNER_STATUS_FREE,
        held,
      });
    },
  };
  return Object.assign(worker, await serve([[RunnerServiceService, service]]));
}

/** Puts a served worker on the roll. */
export function register(api: Api, info: Partial<WorkerInfo> & { id: string; port: number }) {
  return api.register(WorkerInfo.fromPartial({ ip: '127.0.0.1', contract: Contract.CONTRACT_RUNNER, ...info }));
}
