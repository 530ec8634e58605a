import type { Clock } from '../domain/clock.js';
import { ClusterEar } from './cluster-ear.js';
import { type Ear, RedisEar } from './ear.js';
import { keys, poolOf } from './keys.js';
import { type Connection, isCluster } from './nodes.js';

/** What scripts tell a replica. None carries ownership: a lost one only costs time. */
export type Hint =
  | { kind: 'assign' | 'cancel'; pool: string; jobId: string; fence: string; worker: string }
  | { kind: 'done'; pool: string; jobId: string }
  | { kind: 'sweep' };

export interface InboxEvents {
  hint(hint: Hint): void;
  /** The subscription was lost and is there again: hints may be missing. */
  resubscribed(pools: string[]): void;
  error(error: Error): void;
}

/** This replica's inbox: one channel a pool that it has to do with, and the common one. */
export class Inbox {
  readonly #ear: Ear;
  readonly #home: string;
  readonly #events: InboxEvents;
  readonly #pools = new Map<string, Promise<void>>();

  /** `connection`: a subscriber's, ready. */
  constructor(connection: Connection, home: string, clock: Clock, events: InboxEvents) {
    this.#home = home;
    this.#events = events;
    const heard = {
      message: (channel: string, text: string) => this.#read(channel, text),
      regained: (channels: string[]) => events.resubscribed(channels.filter((channel) => channel !== keys.sweep).map(poolOf)),
      error: (error: Error) => events.error(error),
    };
    this.#ear = isCluster(connection) ? new ClusterEar(connection, home, clock, heard) : new RedisEar(connection, clock, heard);
  }

  start(): Promise<void> {
    return this.#ear.listen(keys.sweep);
  }

  /** Resolves once hints of that pool arrive here. Cheap when they do already. Rejects while Redis is away. */
  listen(pool: string): Promise<void> {
    const there = this.#pools.get(pool);
    if (there) return there;
    const listening = this.#ear.listen(keys.home(pool, this.#home));
    this.#pools.set(pool, listening);
    listening.catch(() => this.#pools.delete(pool));
    return listening;
  }

  stop(): Promise<void> {
    return this.#ear.stop();
  }

  #read(channel: string, message: string): void {
    if (channel === keys.sweep) return this.#events.hint({ kind: 'sweep' });
    const pool = poolOf(channel);
    const [kind, jobId, fence, worker] = message.split(' ');
    if (jobId === undefined) return;
    if (kind === 'done') this.#events.hint({ kind, pool, jobId });
    else if ((kind === 'assign' || kind === 'cancel') && fence !== undefined && worker !== undefined) {
      this.#events.hint({ kind, pool, jobId, fence, worker });
    }
  }
}
