import { type ServerOptions, type ServiceDefinition, status as Status, type UntypedServiceImplementation } from '@grpc/grpc-js';
import { LONGEST_TIMER_MS, startTimer, systemClock } from '../domain/clock.js';
import { DEFAULT_POOL } from '../domain/names.js';
import { type Listener, type Observer, UNOBSERVED } from '../domain/observer.js';
import type { WorkerManager } from '../fleet/worker-manager.js';
import { DOOR_LIMITS } from '../sockets/door.js';
import { type TcpOptions, TcpServer } from '../sockets/tcp-server.js';
import type { AdminService } from './admin-service.js';
import type { AttachCall } from './attach-stream.js';
import type { Guard } from './auth.js';
import { FairShare } from './fair-share.js';
import { ExternalScalerService } from './generated/externalscaler/externalscaler.js';
import { HealthService as HealthDefinition } from './generated/grpc/health/v1/health.js';
import { AdminServiceService } from './generated/muster/v1/admin.js';
import { JobServiceService } from './generated/muster/v1/job.js';
import { WorkerServiceService } from './generated/muster/v1/worker.js';
import { WorkerServiceService as LegacyWorkerService } from './generated/worker/worker.js';
import type { HealthService } from './health-service.js';
import type { JobService } from './job-service.js';
import { observed } from './observed.js';
import { Pacer } from './pacer.js';
import { addReflection } from './reflection.js';
import type { ScalerService } from './scaler-service.js';
import { createUnary } from './unary.js';
import { OrchestratorGrpcServer, type WorkerServiceOptions } from './worker-service.js';

export interface ServerLimits {
  /** The largest message taken: a job's payload and what is around it. */
  maxReceiveBytes: number;
  maxSendBytes: number;
  /** Concurrent calls a connection. */
  maxStreams: number;
  /** A connection is asked to renew itself after so long, so that balancers can level out. */
  connectionAgeMs: number;
  /** What is under way on it may take so long after. */
  connectionGraceMs: number;
  /** Connections open at once at one listener; more are closed unanswered. */
  maxConnections: number;
  /** A connection on which HTTP/2 has not begun by then is cut off. */
  prefaceMs: number;
}

/** What a replica serves beside its workers. Without them a server keeps a roll and nothing more. */
export interface Services {
  jobs?: JobService;
  admin?: AdminService;
  health?: HealthService;
  scaler?: ScalerService;
  workers?: Omit<WorkerServiceOptions, 'manager'>;
  limits?: Partial<ServerLimits>;
  /** Who is let in; undefined: everybody, to everything. */
  guard?: Guard;
  /** Makes calls wait for their turn; default: one of its own. Streams of `jobs` and `workers` must have the same. */
  pacer?: Pacer;
  /** Default: nobody. */
  observer?: Pick<Observer, 'rpc' | 'connections' | 'turnedAway'>;
}

const MIB = 1024 * 1024;
const AGE_MS = 300_000;
/** The age at which a connection is asked to go is drawn from around CONNECTION_AGE_MS, up to a tenth away. */
const AGE_JITTER = 0.1;
/** What has had its grace is gone by then, unless its peer does not close its side. */
const END_MS = 5_000;

function optionsOf(limits: Partial<ServerLimits> = {}): ServerOptions {
  return {
    'grpc.max_receive_message_length': limits.maxReceiveBytes ?? MIB,
    'grpc.max_send_message_length': limits.maxSendBytes ?? MIB,
    'grpc.enable_channelz': 0,
    'grpc.max_concurrent_streams': limits.maxStreams ?? 10_000,
    // grpc-js adds its jitter and counts in 32 bits.
    'grpc.max_connection_age_ms': Math.min(limits.connectionAgeMs ?? AGE_MS, LONGEST_TIMER_MS / (1 + AGE_JITTER)),
    'grpc.max_connection_age_grace_ms': Math.min(limits.connectionGraceMs ?? AGE_MS, LONGEST_TIMER_MS),
  };
}

function doorOf(listener: Listener, { limits = {}, observer = UNOBSERVED }: Services): TcpOptions {
  const { connectionAgeMs = AGE_MS, connectionGraceMs = AGE_MS } = limits;
  const { maxConnections, prefaceMs } = { ...DOOR_LIMITS, ...limits };
  const lifeMs = (1 + AGE_JITTER) * connectionAgeMs + connectionGraceMs + END_MS;
  return { listener, limits: { maxConnections, prefaceMs, lifeMs }, clock: systemClock, observer };
}

function workersOf(manager: WorkerManager, { workers }: Services): OrchestratorGrpcServer {
  const alone = { limits: { maxSlots: 256, legacyPool: DEFAULT_POOL, maxResultBytes: MIB }, pingIntervalMs: 10_000, onGuess: () => undefined };
  const unary = createUnary({ clock: systemClock, onInternal: () => undefined });
  const attach = (call: AttachCall) => void call.emit('error', { code: Status.UNIMPLEMENTED, details: 'this server takes dialed workers only' });
  return new OrchestratorGrpcServer({ manager, ...(workers ?? { ...alone, unary, attach }) });
}

export type GrpcServer = TcpServer;

/** A gRPC server for that manager's workers, and the given services beside it; reflection is on. It listens nowhere yet. */
export function newServer(manager: WorkerManager, services: Services = {}): TcpServer {
  const pacer = services.pacer ?? new Pacer(new FairShare({ clock: systemClock }));
  const interceptors = [...(services.guard ? [services.guard.interceptor] : []), pacer.interceptor];
  const server = new TcpServer({ ...optionsOf(services.limits), interceptors }, doorOf('grpc', services));
  const names = ['muster.v1.WorkerService', 'worker.WorkerService'];
  const workers = workersOf(manager, services);
  const add = addTo(server, services, pacer);
  add(WorkerServiceService, workers.handlers());
  add(LegacyWorkerService, workers.legacyHandlers());
  if (services.jobs) {
    add(JobServiceService, services.jobs.handlers());
    names.push('muster.v1.JobService');
  }
  if (services.admin) {
    add(AdminServiceService, services.admin.handlers());
    names.push('muster.v1.AdminService');
  }
  if (services.health) {
    add(HealthDefinition, services.health.handlers);
    names.push('grpc.health.v1.Health');
  }
  if (services.scaler) {
    add(ExternalScalerService, services.scaler.handlers());
    names.push('externalscaler.ExternalScaler');
  }
  addReflection(server, names, pacer);
  return server;
}

/** A server for the first contract alone (LEGACY_ADDR): it knows two calls and nothing else, and asks nobody for credentials. */
export function newLegacyServer(manager: WorkerManager, services: Services = {}): TcpServer {
  const pacer = new Pacer(new FairShare({ clock: systemClock }));
  const server = new TcpServer({ ...optionsOf(services.limits), interceptors: [pacer.interceptor] }, doorOf('legacy', services));
  addTo(server, services, pacer)(LegacyWorkerService, workersOf(manager, services).legacyHandlers());
  return server;
}

function addTo(server: TcpServer, { observer = UNOBSERVED }: Services, pacer: Pacer) {
  return (definition: ServiceDefinition, handlers: UntypedServiceImplementation) =>
    server.addService(pacer.definition(definition), pacer.handlers(definition, observed(definition, handlers, observer, systemClock)));
}

/** `newServer`, listening on every address at that port (0: a free one). */
export async function startGrpcServer(port: number, manager: WorkerManager, services: Services = {}): Promise<{ server: TcpServer; port: number }> {
  const server = newServer(manager, services);
  return { server, port: await server.listen(`0.0.0.0:${port}`) };
}

/** Takes no new calls, lets those under way end, and cuts off what is left after `graceMs`. */
export function stopServer(server: TcpServer, graceMs: number): Promise<void> {
  return new Promise((resolve) => {
    const stopTimer = startTimer(
      graceMs,
      () => {
        server.forceShutdown();
        // Cut off, a connection is over for us; `tryShutdown` would wait until its peer has closed it too, and some never do.
        resolve();
      },
      true,
    );
    server.tryShutdown(() => {
      stopTimer();
      resolve();
    });
  });
}
