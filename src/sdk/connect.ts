import { type Client, type ClientOptions, type CallOptions as GrpcCallOptions, Metadata, type ServiceError, status } from '@grpc/grpc-js';
import type { Clock } from '../domain/clock.js';
import { deadlineIn } from '../domain/deadline.js';
import { HealthService } from '../grpc/generated/grpc/health/v1/health.js';
import { AdminServiceService, type WatchEventsRequest, type WatchEventsResponse } from '../grpc/generated/muster/v1/admin.js';
import { JobServiceService } from '../grpc/generated/muster/v1/job.js';
import { WorkerServiceService } from '../grpc/generated/muster/v1/worker.js';
import { Access, type Where } from './access.js';
import { ApiError, toApiError } from './api-error.js';
import { sdkClock } from './clock.js';
import { traceEntries } from './tracing.js';

/** For one call. */
export interface CallOptions {
  /** The call ends with DEADLINE_EXCEEDED after so long; Infinity: never. Default: that of the connection. */
  deadlineMs?: number;
  /** The call ends with CANCELLED when it is aborted. What was asked may have happened. */
  signal?: AbortSignal;
}

interface CallingOptions {
  /** For calls that name none. Default 30 s. */
  deadlineMs?: number;
  clock?: Clock;
}

export interface ConnectOptions extends Omit<Where, 'target'>, CallingOptions {}

type UnaryOf<Method> = Method extends {
  responseStream: false;
  requestSerialize: (value: infer Request) => Buffer;
  responseDeserialize: (value: Buffer) => infer Response;
}
  ? (request: Request, options?: CallOptions) => Promise<Response>
  : never;

/** One promise-returning method for each unary RPC of a generated service definition. */
export type Unary<Service> = { [Name in keyof Service as Service[Name] extends { responseStream: false } ? Name : never]: UnaryOf<Service[Name]> };

/** Every unary RPC of the three services that replicas serve, and `check` of grpc.health.v1; all reject with ApiError. */
export interface Api
  extends Unary<typeof JobServiceService>,
    Unary<typeof WorkerServiceService>,
    Unary<typeof AdminServiceService>,
    Unary<typeof HealthService> {
  readonly target: string;
  /** Ends when the server ends it, the signal is aborted, or the loop is left; throws ApiError. No deadline unless given. */
  watchEvents(request: WatchEventsRequest, options?: CallOptions): AsyncIterable<WatchEventsResponse>;
  /** Ends the connections; open calls end with CANCELLED, later ones with FAILED_PRECONDITION CLOSED. Idempotent. */
  close(): void;
}

/** What every channel of ours sends and receives in one message, at the most. */
export const MESSAGE_BYTES = 32 * 1024 * 1024;
const DEADLINE_MS = 30_000;

/**
 * An Api over one channel that spreads its calls over every address behind the target. Opens no connection before the first call.
 * The channel retries nothing: a repeated call is the caller's own decision (see `retrying`). Throws TypeError that names the option for what
 * it cannot use.
 *
 * A connection that is asked to go, by a replica that stops or because it is old (CONNECTION_AGE_MS), takes no new calls; what still waits on it
 * at the next keepalive ping, within 10 s (RunJob, WaitJob), ends with UNAVAILABLE instead of its answer. Ask again under the job's id. Why,
 * and what else can be done, is in docs/clients.md, "Calls that wait".
 */
export function connect(target: string, options: ConnectOptions = {}): Api {
  const { deadlineMs, clock = sdkClock } = options;
  return connectBy(new Access({ ...options, target }, clock), { deadlineMs, clock });
}

/** As `connect`, by an access that was checked already. */
export function connectBy(access: Access, { deadlineMs = DEADLINE_MS, clock = sdkClock }: CallingOptions): Api {
  const { target } = access;
  const connection: Connection = { access, client: access.client(CHANNEL), open: new Set(), closed: false };
  const bounds = (call: CallOptions, fallbackMs: number): Bounded => {
    const ms = call.deadlineMs ?? fallbackMs;
    return { ms, grpc: deadlineIn(clock, ms) };
  };
  const methods: Record<string, unknown> = {};
  for (const service of [JobServiceService, WorkerServiceService, AdminServiceService, HealthService]) {
    for (const [name, method] of Object.entries<AnyMethod>(service))
      if (!method.responseStream) methods[name] = unary(connection, method, (call) => bounds(call, deadlineMs));
  }
  return {
    // The keys and types of the definitions just walked, which Object.entries forgets.
    ...(methods as unknown as Omit<Api, 'target' | 'watchEvents' | 'close'>),
    target,
    watchEvents: (request, callOptions) => watchEvents(connection, request, callOptions, (call) => bounds(call, Number.POSITIVE_INFINITY)),
    close: () => {
      connection.closed = true;
      // grpc-js lets open calls go on after a close.
      for (const call of connection.open) call.cancel();
      connection.client.close();
    },
  };
}

interface Connection {
  access: Access;
  client: Client;
  /** Calls without an answer yet. */
  open: Set<{ cancel(): void }>;
  closed: boolean;
}

/** What every channel of ours is made with. */
export const CHANNEL: ClientOptions = {
  'grpc.service_config': JSON.stringify({ loadBalancingConfig: [{ round_robin: {} }] }),
  'grpc.service_config_disable_resolution': 1,
  'grpc.enable_retries': 0,
  'grpc.max_receive_message_length': MESSAGE_BYTES,
  'grpc.max_send_message_length': MESSAGE_BYTES,
  // They cut off what waits on a connection that was asked to go (see KeptAlive), and yet: nothing else finds a peer that died before it
  // acknowledged a call, and the next calls would go the same way.
  'grpc.keepalive_time_ms': 10_000,
  'grpc.keepalive_timeout_ms': 5_000,
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 2_000,
  'grpc.dns_min_time_between_resolutions_ms': 5_000,
  // A connection that some other client of this process wedged must not be ours.
  'grpc.use_local_subchannel_pool': 1,
};

interface AnyMethod {
  path: string;
  responseStream: boolean;
  requestSerialize: (value: never) => Buffer;
  responseDeserialize: (value: Buffer) => unknown;
}

/** How long a call may take, in ms and as grpc-js takes it. */
interface Bounded {
  ms: number;
  grpc: GrpcCallOptions;
}

type Bounds = (options: CallOptions) => Bounded;

/** A job that is submitted by a call belongs to the trace of that call, unless it says otherwise. */
function traced(headers: Metadata, entries: Record<string, string>): Metadata {
  const metadata = headers.clone();
  for (const [name, value] of Object.entries(entries)) metadata.set(name, value);
  return metadata;
}

function unary(connection: Connection, method: AnyMethod, bounds: Bounds) {
  return (request: never, options: CallOptions = {}): Promise<unknown> =>
    new Promise((resolve, reject) => {
      const { signal } = options;
      const { ms, grpc } = bounds(options);
      // Of the caller's turn: what it is asked for may come in another.
      const trace = traceEntries();
      const begin = (headers: Metadata) => {
        if (connection.closed) return reject(closed());
        if (signal?.aborted) return reject(aborted());
        const abort = () => call.cancel();
        const settle = (error: ServiceError | null, response: unknown) => {
          connection.open.delete(call);
          signal?.removeEventListener('abort', abort);
          if (error === null) resolve(response);
          else reject(toApiError(error));
        };
        const { path, requestSerialize, responseDeserialize } = method;
        const call = connection.client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, traced(headers, trace), grpc, settle);
        connection.open.add(call);
        signal?.addEventListener('abort', abort, { once: true });
      };
      // Without a token to be asked for, in this turn: what is called one after the other is sent so.
      const headers = connection.access.headers(ms);
      if (headers instanceof Metadata) begin(headers);
      else headers.then(begin).catch(reject);
    });
}

async function* watchEvents(
  connection: Connection,
  request: WatchEventsRequest,
  options: CallOptions = {},
  bounds: Bounds,
): AsyncGenerator<WatchEventsResponse> {
  const { signal } = options;
  const { ms, grpc } = bounds(options);
  const headers = await connection.access.headers(ms);
  if (connection.closed) throw closed();
  if (signal?.aborted) throw aborted();
  const { path, requestSerialize, responseDeserialize } = AdminServiceService.watchEvents;
  const call = connection.client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, request, headers, grpc);
  connection.open.add(call);
  const abort = () => call.cancel();
  signal?.addEventListener('abort', abort, { once: true });
  try {
    for await (const event of call) yield event as WatchEventsResponse;
  } catch (error) {
    throw toApiError(error as ServiceError);
  } finally {
    connection.open.delete(call);
    signal?.removeEventListener('abort', abort);
    call.cancel();
  }
}

/** Not a code that is worth asking again after: the caller itself ended the connection. */
function closed(): ApiError {
  return new ApiError(status.FAILED_PRECONDITION, 'CLOSED', 'the connection was closed by its own side');
}

function aborted(): ApiError {
  return new ApiError(status.CANCELLED, '', 'aborted before it was sent');
}
