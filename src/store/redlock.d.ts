/** What we use of redlock 5.0.0-beta.2, whose package names no types that NodeNext resolution can find. */
declare module 'redlock' {
  import type { Cluster, Redis } from 'ioredis';

  export interface Settings {
    driftFactor: number;
    retryCount: number;
    automaticExtensionThreshold: number;
  }

  export interface ExecutionStats {
    votesAgainst: Map<unknown, Error>;
  }

  export class ResourceLockedError extends Error {}

  export class ExecutionError extends Error {
    readonly attempts: readonly Promise<ExecutionStats>[];
  }

  export interface Lock {
    release(): Promise<unknown>;
  }

  export default class Redlock {
    constructor(clients: Iterable<Redis | Cluster>, settings: Settings);
    on(event: 'error', listener: (error: Error) => void): this;
    /** Rejects with ExecutionError. `duration` in ms. */
    acquire(resources: string[], duration: number): Promise<Lock>;
  }
}
