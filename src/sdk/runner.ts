import { type Server, type ServerUnaryCall, type sendUnaryData, status } from '@grpc/grpc-js';
import { type Clock, type Ids, type Random, systemIds, systemRandom } from '../domain/clock.js';
import { toError } from '../domain/errors.js';
import { formatAddress } from '../domain/worker.js';
import { Contract } from '../grpc/generated/muster/v1/common.js';
import {
  type AbortRequest,
  type AbortResponse,
  type ExecuteRequest,
  type ExecuteResponse,
  type ProbeResponse,
  type RunnerServiceServer,
  RunnerServiceService,
  RunnerStatus,
} from '../grpc/generated/muster/v1/runner.js';
import { WorkerInfo } from '../grpc/generated/muster/v1/worker.js';
import { TcpServer } from '../sockets/tcp-server.js';
import { Access, type Where } from './access.js';
import { ApiError } from './api-error.js';
import { Attempts, type Handler, Refusal } from './attempts.js';
import { sdkClock } from './clock.js';
import { type Api, connectBy } from './connect.js';
import { enroll } from './enroll.js';
import { retrying } from './retrying.js';
import { type ServerTlsOptions, serverTls } from './server-tls.js';

export { type Handler, PermanentError } from './attempts.js';

/** `tls` and `token` are for the way to the replicas; `serverTls` is for theirs back. */
export interface RunnerOptions extends Where {
  id: string;
  pool: string;
  /** Serves TLS. Default: plaintext, which replicas dial only where DIAL_PLAINTEXT says so. */
  serverTls?: ServerTlsOptions | undefined;
  /** The IP to listen on. */
  ip: string;
  /** 0: any. */
  port?: number;
  /** How many jobs at once. Default 1. */
  slots?: number;
  /** By kind (or by `/package.Service/Method`). */
  handlers: Readonly<Record<string, Handler>>;
  /** New in every life of the process; default: made. */
  boot?: string;
  /** The IP that replicas dial, where it is not the one listened on. */
  advertiseIp?: string;
  region?: string;
  labels?: Record<string, string>;
  version?: string;
  /** Told of refusals that a person should look at; the runner goes on trying. Default: nobody. */
  onError?: (error: Error) => void;
  /** Told each time that a replica took it on the roll. */
  onRegistered?: (replica: string) => void;
  /** After a refusal that will not pass by itself, in ms; twice that after the next ones. Default 10 s. */
  slowRetryMs?: number;
  /** What it takes in one message, in bytes. Default 32 MiB: more than any job has. */
  maxReceiveBytes?: number;
  /** How long `stop` waits for what runs. Default 5 min. */
  stopMs?: number;
  clock?: Clock;
  random?: Random;
  ids?: Ids;
}

export interface Runner {
  /** Where it listens, `ip:port`. */
  address: string;
  boot: string;
  /** Resolves true once it was taken on the roll for the first time, false when it was ended before. */
  registered: Promise<boolean>;
  /** Leaves the roll, finishes what runs (up to `stopMs`), then closes. Idempotent. */
  stop(): Promise<void>;
  /** Ends at once, aborting what runs and telling nobody. Idempotent. */
  close(): void;
}

const STOP_MS = 300_000;
const SLOW_RETRY_MS = 10_000;
const ABORT_WAIT_MS = 1_000;
const DEREGISTER_MS = 5_000;
const SHUTDOWN_MS = 2_000;
const MESSAGE_BYTES = 32 * 1024 * 1024;
const NO_BYTES = Buffer.alloc(0);

/**
 * A dialed worker of contract RUNNER within this process. Resolves when it listens; registration goes on from there (`registered`).
 * Rejects when it cannot listen, and with TypeError that names the option for what it cannot use.
 */
export async function startRunner(options: RunnerOptions): Promise<Runner> {
  const { clock = sdkClock, random = systemRandom, ids = systemIds, id, pool, ip, slots = 1, handlers } = options;
  const { boot = ids.jobId() } = options;
  const attempts = new Attempts(slots, handlers, clock, pool);
  const server = new TcpServer({
    'grpc.max_receive_message_length': options.maxReceiveBytes ?? MESSAGE_BYTES,
    'grpc.max_send_message_length': MESSAGE_BYTES,
    'grpc.max_concurrent_streams': slots * 4 + 64,
  });
  server.addService(RunnerServiceService, service({ id, boot }, attempts));
  const serving = serverTls(options.serverTls);
  const api = connectBy(new Access(options, clock), { clock });
  const port = await server.listen(formatAddress({ ip, port: options.port ?? 0 }), serving).catch((error: unknown) => {
    api.close();
    throw error;
  });
  const { region, labels, version, advertiseIp = ip } = options;
  const info = WorkerInfo.fromPartial({
    id,
    pool,
    ip: advertiseIp,
    port,
    slots,
    boot,
    region,
    labels,
    version,
    contract: Contract.CONTRACT_RUNNER,
    kinds: Object.keys(handlers),
  });
  const ended = new AbortController();
  const { onError = () => {}, onRegistered, slowRetryMs = SLOW_RETRY_MS, stopMs = STOP_MS } = options;
  const registered = new Promise<boolean>((resolve) => {
    ended.signal.addEventListener('abort', () => resolve(false), { once: true });
    const taken = (replica: string) => {
      resolve(true);
      onRegistered?.(replica);
    };
    enroll({ api, info, clock, random, onError, onRegistered: taken, slowRetryMs }, ended.signal).catch((error: unknown) => onError(toError(error)));
  });
  const close = () => {
    ended.abort();
    attempts.refuse('the worker stops');
    attempts.abortAll();
    server.forceShutdown();
    api.close();
  };
  let stopping: Promise<void> | undefined;
  const stop = () => {
    if (stopping === undefined && ended.signal.aborted) return Promise.resolve();
    stopping ??= leave({ api, info, attempts, server, ended, stopMs, clock, random, onError }).finally(close);
    return stopping;
  };
  return { address: formatAddress({ ip, port }), boot, registered, stop, close };
}

interface Leaving {
  api: Api;
  info: WorkerInfo;
  attempts: Attempts;
  server: Server;
  ended: AbortController;
  stopMs: number;
  clock: Clock;
  random: Random;
  onError: (error: Error) => void;
}

async function leave({ api, info, attempts, server, ended, stopMs, clock, random, onError }: Leaving): Promise<void> {
  ended.abort();
  attempts.refuse('the worker stops');
  const { pool, id, boot } = info;
  const goodbye = () => api.deregister({ pool, id, boot, drainTimeout: undefined }, { deadlineMs: DEREGISTER_MS });
  await retrying(goodbye, { clock, random, giveUpMs: DEREGISTER_MS }).catch((error: unknown) => {
    // Not on the roll is as good as off it.
    if (!(error instanceof ApiError && error.code === status.NOT_FOUND)) onError(toError(error));
  });
  await within(attempts.idle(), stopMs, clock);
  const closed = new Promise<void>((resolve) => server.tryShutdown(() => resolve()));
  await within(closed, SHUTDOWN_MS, clock);
}

async function within(promise: Promise<void>, ms: number, clock: Clock): Promise<void> {
  const over = new AbortController();
  await Promise.race([promise, clock.sleep(ms, over.signal)]);
  over.abort();
}

function service({ id, boot }: Pick<WorkerInfo, 'id' | 'boot'>, attempts: Attempts): RunnerServiceServer {
  return {
    execute: (call, callback) => void execute(attempts, call, callback),
    abort: (call, callback) => void abort(attempts, call, callback),
    probe: (_call, callback) => {
      const state = attempts.free ? RunnerStatus.RUNNER_STATUS_FREE : RunnerStatus.RUNNER_STATUS_BUSY;
      // Replicas read no progress here, and that of many attempts is more than they receive.
      const held = attempts.held().map((each) => ({ ...each, progress: NO_BYTES }));
      const answer: ProbeResponse = { workerId: id, boot, status: state, held };
      callback(null, answer);
    },
  };
}

type Call<Request, Response> = ServerUnaryCall<Request, Response>;

/** The attempt does not end with the call: another replica may come for its result. */
async function execute(attempts: Attempts, call: Call<ExecuteRequest, ExecuteResponse>, callback: sendUnaryData<ExecuteResponse>): Promise<void> {
  const { assignment } = call.request;
  if (assignment === undefined || assignment.jobId === '')
    return callback({ code: status.INVALID_ARGUMENT, details: 'assignment.job_id: must be set' });
  const { jobId, fence } = assignment;
  try {
    const result = await attempts.execute(assignment);
    if (call.cancelled) attempts.unfetched(jobId, fence);
    else attempts.fetched(jobId, fence);
    callback(null, { answer: { $case: 'result', value: result } });
  } catch (error) {
    if (error instanceof Refusal) callback({ code: error.code, details: error.message });
    else callback({ code: status.INTERNAL, details: toError(error).message });
  }
}

async function abort(attempts: Attempts, call: Call<AbortRequest, AbortResponse>, callback: sendUnaryData<AbortResponse>): Promise<void> {
  const { jobId, fence } = call.request;
  await attempts.abort(jobId, fence, ABORT_WAIT_MS);
  callback(null, {});
}
