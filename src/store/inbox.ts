import type { Clock } from '../domain/clock.js';
import { keys, poolOf } from './keys.js';
import { Subscriber, type SubscriberPorts } from './subscriber.js';

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
  readonly #subscriber: Subscriber;
  readonly #home: string;
  readonly #events: InboxEvents;
  readonly #pools = new Map<string, Promise<void>>();

  constructor(ports: SubscriberPorts, home: string, clock: Clock, events: InboxEvents) {
    this.#home = home;
    this.#events = events;
    this.#subscriber = new Subscriber(home, clock, ports, {
      message: (channel, text) => this.#read(channel, text),
      regained: (channels) => events.resubscribed(channels.filter((channel) => channel !== keys.sweep).map(poolOf)),
      error: (error) => events.error(error),
    });
  }

  start(): Promise<void> {
    return this.#subscriber.listen(keys.sweep, true);
  }

  /** Messages are published for this replica and do not arrive, though everything was tried: it must not count as ready. */
  get deaf(): boolean {
    return this.#subscriber.deaf.length > 0;
  }

  /** Resolves once hints of that pool arrive here. Cheap when they do already. Rejects while Redis is away. */
  listen(pool: string): Promise<void> {
    const there = this.#pools.get(pool);
    if (there) return there;
    const listening = this.#subscriber.listen(keys.home(pool, this.#home));
    this.#pools.set(pool, listening);
    listening.catch(() => this.#pools.delete(pool));
    return listening;
  }

  /** Another server is the master now. */
  renew(): void {
    this.#subscriber.renew();
  }

  get pools(): string[] {
    return [...this.#pools.keys()];
  }

  /** Hints of that pool are of no use here any more. */
  forget(pool: string): void {
    if (this.#pools.delete(pool)) this.#subscriber.forget(keys.home(pool, this.#home));
  }

  stop(): Promise<void> {
    return this.#subscriber.stop();
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
