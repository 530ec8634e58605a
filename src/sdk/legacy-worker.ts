import { Server, ServerCredentials, type ServerUnaryCall, type ServiceError, type sendUnaryData, status } from '@grpc/grpc-js';
import { type Clock, type Random, systemRandom } from '../domain/clock.js';
import { toError } from '../domain/errors.js';
import { formatAddress } from '../domain/worker.js';
import { JobRequest, JobResponse, type JobServiceServer, JobServiceService, WorkerStatus } from '../grpc/generated/job/job.js';
import { type RegisterAck, WorkerServiceClient } from '../grpc/generated/worker/worker.js';
import { Access, type Where } from './access.js';
import { toApiError } from './api-error.js';
import { sdkClock } from './clock.js';
import { retrying } from './retrying.js';

/** The contract serves plaintext; `tls` and `token` are for the way to the replicas. */
export interface LegacyWorkerOptions extends Where {
  id: string;
  /** The IP to listen on, and the one registered. */
  ip: string;
  /** 0: any. */
  port?: number;
  region?: string;
  /** Does the work; resolves with the `logs` of the response. Throwing makes it `success = false` with the message as `error`. */
  run: (request: JobRequest) => Promise<string>;
  /** Told why it was not registered; it is not tried again then. Default: nobody. */
  onError?: (error: Error) => void;
  clock?: Clock;
  random?: Random;
}

export interface LegacyWorker {
  /** Where it listens, `ip:port`. */
  address: string;
  /** Resolves true once it was taken on the roll, false when it was refused or ended before. */
  registered: Promise<boolean>;
  /** Takes no more calls, finishes the job that runs, then closes. The contract has no word for leaving the roll. Idempotent. */
  stop(): Promise<void>;
  /** Ends at once. Idempotent. */
  close(): void;
}

/** While no replica answers, the one registration is tried for so long. */
const REGISTER_GIVE_UP_MS = 60_000;
/** A replica dials and probes the worker before it answers. */
const REGISTER_DEADLINE_MS = 15_000;
const SHUTDOWN_MS = 2_000;
const ROUND_ROBIN = { 'grpc.service_config': JSON.stringify({ loadBalancingConfig: [{ round_robin: {} }] }) };

/**
 * A worker that speaks the first contract and nothing else: it serves `job.JobService` and registers by `worker.WorkerService`, once, when it
 * starts. One job at a time; a second call meanwhile is an error. Resolves when it listens; rejects when it cannot, and with TypeError that names
 * the option for what it cannot use.
 */
export async function startLegacyWorker(options: LegacyWorkerOptions): Promise<LegacyWorker> {
  const { id, ip, port: wanted = 0, run, onError = () => {}, clock = sdkClock } = options;
  const access = new Access(options, clock);
  const server = new Server();
  const job = new OneJob(run);
  const service: JobServiceServer = {
    ping: (_call, callback) => callback(null, { workerId: id, status: job.running === undefined ? WorkerStatus.FREE : WorkerStatus.BUSY }),
    runJob: (call, callback) => void job.run(call, callback),
  };
  server.addService(JobServiceService, service);
  const port = await listen(server, formatAddress({ ip, port: wanted }));
  const client = new WorkerServiceClient(access.target, access.credentials, { ...ROUND_ROBIN, ...access.channel });
  const ended = new AbortController();
  const registered = register(client, access, { ...options, port }, ended.signal).catch((error: unknown) => {
    if (!ended.signal.aborted) onError(toError(error));
    return false;
  });
  const close = () => {
    ended.abort();
    server.forceShutdown();
    client.close();
  };
  const stop = async () => {
    ended.abort();
    const over = new AbortController();
    const closed = new Promise<void>((resolve) => server.tryShutdown(() => resolve()));
    await job.running;
    // Replicas keep their connections; those that do not heed the goodbye are cut.
    await Promise.race([closed, clock.sleep(SHUTDOWN_MS, over.signal)]);
    over.abort();
    close();
  };
  return { address: formatAddress({ ip, port }), registered, stop, close };
}

/** The contract's one slot. */
class OneJob {
  running: Promise<void> | undefined;
  readonly #work: LegacyWorkerOptions['run'];

  constructor(work: LegacyWorkerOptions['run']) {
    this.#work = work;
  }

  async run({ request }: ServerUnaryCall<JobRequest, JobResponse>, callback: sendUnaryData<JobResponse>): Promise<void> {
    if (this.running !== undefined) return callback({ code: status.UNKNOWN, details: 'worker is busy' });
    const response = this.#respond(request);
    this.running = response.then(() => {
      this.running = undefined;
    });
    callback(null, await response);
  }

  /** Never rejects: a job that failed is an answer. */
  async #respond(request: JobRequest): Promise<JobResponse> {
    const { jobId } = request;
    try {
      return { jobId, success: true, logs: await this.#work(request), imageUrl: '', error: '' };
    } catch (error) {
      return { jobId, success: false, logs: '', imageUrl: '', error: toError(error).message };
    }
  }
}

/** Once, but until some replica has answered. */
async function register(
  client: WorkerServiceClient,
  access: Access,
  { id, ip, port = 0, region = '', clock = sdkClock, random = systemRandom }: LegacyWorkerOptions,
  signal: AbortSignal,
): Promise<boolean> {
  const once = async () => {
    const headers = await access.headers();
    return new Promise<RegisterAck>((resolve, reject) => {
      const settle = (error: ServiceError | null, ack: RegisterAck) => (error === null ? resolve(ack) : reject(toApiError(error)));
      client.register({ id, ip, port, region }, headers, { deadline: clock.now() + REGISTER_DEADLINE_MS }, settle);
    });
  };
  const ack = await retrying(once, { clock, random, giveUpMs: REGISTER_GIVE_UP_MS, signal });
  if (!ack.success) throw new Error(`worker ${id} was not registered: ${ack.message}`);
  return true;
}

function listen(server: Server, address: string): Promise<number> {
  return new Promise((resolve, reject) => {
    server.bindAsync(address, ServerCredentials.createInsecure(), (error, port) => (error === null ? resolve(port) : reject(error)));
  });
}

/** A `job.JobRequest` as the payload of a job whose method is `/job.JobService/RunJob`. */
export function legacyRequest(request: Partial<JobRequest>): Buffer {
  return Buffer.from(JobRequest.encode(JobRequest.fromPartial(request)).finish());
}

/** Reads the output of such a job. Throws for bytes that are no `job.JobResponse`. */
export function legacyResponse(output: Uint8Array): JobResponse {
  return JobResponse.decode(output);
}
