import type { Config } from '../config.js';
import type { Clock, Ids, Random } from '../domain/clock.js';
import { MAX_DESCRIPTORS_BYTES } from '../domain/descriptors.js';
import { SILENT_INTERVALS } from '../domain/heartbeat.js';
import type { Observer } from '../domain/observer.js';
import { AdminService } from '../grpc/admin-service.js';
import { createAttach } from '../grpc/attach-service.js';
import { FairShare } from '../grpc/fair-share.js';
import type { HealthService } from '../grpc/health-service.js';
import { JobService } from '../grpc/job-service.js';
import { Pacer } from '../grpc/pacer.js';
import { ScalerService } from '../grpc/scaler-service.js';
import type { Services } from '../grpc/server.js';
import { createSession } from '../grpc/session-service.js';
import { createUnary } from '../grpc/unary.js';
import { type Core, TURN_OVER } from './core.js';
import type { Logger } from './log.js';
import type { Security } from './security.js';

export interface ServicesOptions {
  config: Config;
  core: Core;
  clock: Clock;
  ids: Ids;
  random: Random;
  log: Logger;
  observer: Observer;
  replica: string;
  health: HealthService;
  /** undefined: nobody is asked for credentials. */
  security: Security | undefined;
  /** Aborted when waits are given up: they are answered with the jobs' present state. */
  waitsOver: AbortSignal;
  /** Aborted when the replica begins to stop. */
  stopping: AbortSignal;
  onError: (error: unknown) => void;
}

/** What grpc.health.v1 is asked about: the server, and each of its services. */
export const SERVED: readonly string[] = [
  '',
  'muster.v1.WorkerService',
  'muster.v1.JobService',
  'muster.v1.AdminService',
  'worker.WorkerService',
  'externalscaler.ExternalScaler',
];

/** What a message holds beside its payloads. */
/** What every gRPC client receives by default. */
const MAX_REPLY_BYTES = 4 * 1024 * 1024;
const ENVELOPE_BYTES = 64 * 1024;

/** Everything that a replica serves, over its core. */
export function createServices(options: ServicesOptions): Services {
  const { config, core, clock, ids, random, log, observer, replica, health, security, waitsOver, stopping, onError } = options;
  const onInternal = (error: Error, method: string) => log.error({ err: error, method }, 'a call failed inside');
  const guard = security?.guard;
  const quotas = security?.quotas;
  const identify = guard?.identityOf;
  const pacer = new Pacer(new FairShare({ clock }), identify);
  const unary = createUnary({ clock, onInternal, identify, pacer });
  const { manager, jobs, queries } = core;
  const limits = {
    maxPayloadBytes: config.MAX_PAYLOAD_BYTES,
    defaultRunTimeoutMs: config.DEFAULT_RUN_TIMEOUT_MS,
    defaultMaxAttempts: config.DEFAULT_MAX_ATTEMPTS,
    backoffMs: config.BACKOFF_MS,
    maxBackoffMs: config.BACKOFF_MAX_MS,
    retentionMs: config.RETENTION_MS,
    maxRetentionMs: config.MAX_RETENTION_MS,
  };
  const workerLimits = { maxSlots: config.MAX_SLOTS, legacyPool: config.LEGACY_POOL, maxResultBytes: config.MAX_RESULT_BYTES };
  // Two silent intervals are as long as a replica may be silent before its peers take it for dead.
  const heartbeatMs = config.HOME_TTL_MS / SILENT_INTERVALS;
  const onUnknownFrame = () => log.debug('a frame that this version does not know');
  const largest = Math.max(config.MAX_PAYLOAD_BYTES, config.MAX_RESULT_BYTES);
  // A batch of submissions, or of results, in one message; or a pool's descriptors.
  const maxReceiveBytes = Math.max(16 * largest, MAX_DESCRIPTORS_BYTES) + ENVELOPE_BYTES;
  const session = createSession({
    jobs,
    limits,
    clock,
    ids,
    random,
    turnOverMs: TURN_OVER * config.CONNECTION_AGE_MS,
    window: config.SESSION_WINDOW,
    maxFrameBytes: maxReceiveBytes,
    heartbeatMs,
    stopping,
    replica,
    onError,
    onUnknownFrame,
    identify,
    quotas,
    pacer,
  });
  return {
    jobs: new JobService({
      jobs,
      session,
      unary,
      limits,
      clock,
      ids,
      stopping: waitsOver,
      onError: (error) => onInternal(error as Error, 'BatchSubmitJobs'),
      quotas,
    }),
    admin: new AdminService({ manager, queries, jobs, unary, clock, stopping, maxWatchers: 100, identify }),
    health,
    observer,
    scaler: new ScalerService({
      queries,
      unary,
      clock,
      stopping,
      maxWatchers: config.SCALER_WATCHERS,
      pollMs: config.SCALER_POLL_MS,
      onError,
      identify,
    }),
    workers: {
      unary,
      attach: createAttach({
        manager,
        events: core.events,
        limits: workerLimits,
        link: { clock, maxUnsettled: config.MAX_UNSETTLED, settleMs: config.SETTLE_MS, onGuess: () => observer.guessed('attach', 1) },
        leaseMs: config.LEASE_MS,
        beatMs: config.BEAT_MS,
        maxFrameBytes: maxReceiveBytes,
        heartbeatMs,
        onError,
        onUnknownFrame,
        identify,
        pacer,
      }),
      limits: workerLimits,
      onGuess: (leases) => observer.guessed('report', leases),
      pingIntervalMs: config.HEALTH_INTERVAL_MS,
      secured: guard !== undefined,
    },
    guard,
    pacer,
    limits: {
      maxReceiveBytes,
      // Whatever the settings are, a page of a list and the answer to a batch fit in.
      maxSendBytes: Math.max(2 * largest + 16 * ENVELOPE_BYTES, MAX_REPLY_BYTES),
      maxStreams: config.MAX_STREAMS,
      connectionAgeMs: config.CONNECTION_AGE_MS,
      connectionGraceMs: config.CONNECTION_AGE_MS,
      maxConnections: config.MAX_CONNECTIONS,
      prefaceMs: config.PREFACE_MS,
    },
  };
}
