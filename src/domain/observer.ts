import type { Assignment, JobSpec, JobState } from './job.js';
import type { LeaseRef } from './link.js';

/** Scripts that take many items in one call. */
export type BatchKind = 'submit' | 'finish' | 'accept' | 'release' | 'beat';

/** What a script wrote into a pool's stream of events: `worker.suspect` of a worker, `job.buried` of a job, … with its fields. */
export interface Happening {
  kind: string;
  subject: string;
  fields: Readonly<Record<string, string>>;
}

/** How a job ended by a result that this replica brought. Times in ms since 1970, Redis'. */
export interface JobEnd {
  state: JobState;
  attempt: number;
  createdAt: number;
  finishedAt: number;
}

/** One call's submission, from its arrival to the end of what its caller waits for. */
export interface Submitting {
  /** Redis has it. false: it had it before. */
  accepted(created: boolean): void;
  /** Called once, last. undefined: it was answered. */
  over(error?: Error): void;
}

/** One RPC, as it is served. */
export interface RpcObserver {
  started(): void;
  /** `code`: of gRPC. */
  handled(code: number, ms: number): void;
}

/** How a worker named a lease that it was never given. */
export type GuessedBy = 'attach' | 'report';

/** Where connections come in: GRPC_ADDR, or LEGACY_ADDR. */
export type Listener = 'grpc' | 'legacy';

/** Why a connection was ended before any call. `full`: beyond MAX_CONNECTIONS. `tls`: no TLS, or not in time. `silent`: no HTTP/2 in time. */
export type TurnedAway = 'full' | 'tls' | 'silent';

/** What a certificate of ours is shown to: those who connect, or the workers that are dialed. */
export type CertificateUse = 'server' | 'dial';

/**
 * What a replica lets be seen of itself: for its metrics, its log and its traces. Whoever implements it must not throw, wait or keep anything
 * that grows. Called for each job: it must cost next to nothing.
 */
export interface Observer {
  /** One script call took so many items along. */
  batch(kind: BatchKind, items: number): void;
  /** Redis answered, or did not in time. `what`: the script's name, or the words for what was read. */
  redis(sort: 'script' | 'read', what: string, ms: number): void;
  /** A submission came. undefined: nobody wants to know how it goes on. */
  submitting(spec: JobSpec): Submitting | undefined;
  /** An attempt goes out to a worker of this replica. */
  assigned(assignment: Assignment): void;
  /** A result that this replica brought was accepted, and the job ended with it. */
  ended(lease: LeaseRef, end: JobEnd): void;
  /** A script that this replica called did that. */
  happened(pool: string, happening: Happening): void;
  /** A worker's stream or connection came, or went for that reason. */
  linked(pool: string, worker: string): void;
  unlinked(pool: string, worker: string, reason: string): void;
  /** The worst lag of the event loop since the last word of it. Called once a second. */
  lagged(ms: number): void;
  /** A worker named so many leases that it was never given: on its Attach stream, or by Report. */
  guessed(call: GuessedBy, leases: number): void;
  /** A call was refused for its credentials. `reason`: one of a few words. */
  refused(reason: string): void;
  /** So many connections are open there now: when it begins to listen, and whenever one came or went. */
  connections(listener: Listener, open: number): void;
  /** `peer`: its address without the port; '' when it is gone already. */
  turnedAway(listener: Listener, why: TurnedAway, peer: string): void;
  /** A worker that was not trusted was left suspect, for want of a proof that our own keys are the right ones. */
  spared(): void;
  /** A certificate was read, at the start or again. `expiresAt`: ms since 1970, of the first in its file to expire. */
  certificate(use: CertificateUse, expiresAt: number): void;
  /** For each method that is served, once. undefined: nobody counts. `service`: with its package. */
  rpc(service: string, method: string): RpcObserver | undefined;
}

/** Nobody looks. */
export const UNOBSERVED: Observer = {
  batch: () => {},
  redis: () => {},
  submitting: () => undefined,
  assigned: () => {},
  ended: () => {},
  happened: () => {},
  linked: () => {},
  unlinked: () => {},
  lagged: () => {},
  guessed: () => {},
  refused: () => {},
  connections: () => {},
  turnedAway: () => {},
  spared: () => {},
  certificate: () => {},
  rpc: () => undefined,
};

/** Several that look. */
export function observers(all: readonly Observer[]): Observer {
  const [only, ...more] = all;
  if (only === undefined) return UNOBSERVED;
  if (more.length === 0) return only;
  const each = (tell: (one: Observer) => void) => {
    for (const one of all) tell(one);
  };
  return {
    batch: (kind, items) => each((one) => one.batch(kind, items)),
    redis: (sort, what, ms) => each((one) => one.redis(sort, what, ms)),
    submitting: (spec) => allSubmitting(all.map((one) => one.submitting(spec))),
    assigned: (assignment) => each((one) => one.assigned(assignment)),
    ended: (lease, end) => each((one) => one.ended(lease, end)),
    happened: (pool, happening) => each((one) => one.happened(pool, happening)),
    linked: (pool, worker) => each((one) => one.linked(pool, worker)),
    unlinked: (pool, worker, reason) => each((one) => one.unlinked(pool, worker, reason)),
    lagged: (ms) => each((one) => one.lagged(ms)),
    guessed: (call, leases) => each((one) => one.guessed(call, leases)),
    refused: (reason) => each((one) => one.refused(reason)),
    connections: (listener, open) => each((one) => one.connections(listener, open)),
    turnedAway: (listener, why, peer) => each((one) => one.turnedAway(listener, why, peer)),
    spared: () => each((one) => one.spared()),
    certificate: (use, expiresAt) => each((one) => one.certificate(use, expiresAt)),
    rpc: (service, method) => allRpc(all.map((one) => one.rpc(service, method))),
  };
}

function allSubmitting(maybe: (Submitting | undefined)[]): Submitting | undefined {
  const all = maybe.filter((one) => one !== undefined);
  if (all.length < 2) return all[0];
  return {
    accepted: (created) => {
      for (const one of all) one.accepted(created);
    },
    over: (error) => {
      for (const one of all) one.over(error);
    },
  };
}

function allRpc(maybe: (RpcObserver | undefined)[]): RpcObserver | undefined {
  const all = maybe.filter((one) => one !== undefined);
  if (all.length < 2) return all[0];
  return {
    started: () => {
      for (const one of all) one.started();
    },
    handled: (code, ms) => {
      for (const one of all) one.handled(code, ms);
    },
  };
}
