import type { Child } from '../helpers/children.js';
import type { FaultProxy } from './proxy.js';

export const POOL = 'chaos';
export const LEGACY_POOL = 'old';
/** A tenth of the real times: a lease is 3 s, a home dead after 0.6 s, an outage's grace 1.5 s. */
export const TIME_SCALE = 0.1;
export const LEASE_MS = 30_000 * TIME_SCALE;
/** Dialed workers listen on 127.0.0.1; the replicas reach them through the proxies, on the same port of this one. */
export const PROXIED_IP = '127.0.0.2';

export type Contract = 'runner' | 'attached' | 'legacy';

export interface WorkerPlan {
  id: string;
  contract: Contract;
  slots: number;
}

/** Five dialed ones, four attached, three of the first contract. */
export const workersOf = (slots: number): WorkerPlan[] => [
  ...[1, 2, 3, 4, 5].map((n) => ({ id: `d${n}`, contract: 'runner' as const, slots })),
  ...[1, 2, 3, 4].map((n) => ({ id: `a${n}`, contract: 'attached' as const, slots })),
  ...[1, 2, 3].map((n) => ({ id: `l${n}`, contract: 'legacy' as const, slots: 1 })),
];

export interface ReplicaSeat {
  name: string;
  child: Child;
  grpcPort: number;
  httpPort: number;
  /** From it to Redis; from workers to it; from clients to it. */
  redis: FaultProxy;
  workers: FaultProxy;
  clients: FaultProxy;
}

export interface WorkerSeat extends WorkerPlan {
  pool: string;
  /** Its next life takes so many at once; `usual` after a trial. */
  slots: number;
  usual: number;
  /** Its next life takes no longer messages than that; after a trial what its gRPC takes. */
  receiveBytes: number | undefined;
  port: number;
  child: Child;
  /** From replicas to it; an attached one has none. */
  dial: FaultProxy | undefined;
}
