import type { Redis } from 'ioredis';
import type { Clock } from '../domain/clock.js';
import { toError } from '../domain/errors.js';
import { keys, poolOf } from './keys.js';

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

const PING_MS = 2_000;

/** This replica's ear: one channel a pool that it has to do with, and the common one. */
export class Inbox {
  readonly #redis: Redis;
  readonly #home: string;
  readonly #clock: Clock;
  readonly #events: InboxEvents;
  readonly #pools = new Map<string, Promise<void>>();
  readonly #stop = new AbortController();
  #lost = false;
  #running: Promise<void> | undefined;

  constructor(redis: Redis, home: string, clock: Clock, events: InboxEvents) {
    this.#redis = redis;
    this.#home = home;
    this.#clock = clock;
    this.#events = events;
  }

  /** Call when the connection is ready. */
  async start(): Promise<void> {
    this.#redis.on('message', (channel: string, message: string) => this.#read(channel, message));
    this.#redis.on('close', () => {
      this.#lost = true;
    });
    this.#redis.on('ready', () => {
      if (this.#lost) void this.#back();
    });
    await this.#redis.subscribe(keys.sweep);
    this.#running = this.#watch();
  }

  /** Resolves once hints of that pool arrive here. Cheap when they do already. Rejects while Redis is away. */
  listen(pool: string): Promise<void> {
    const there = this.#pools.get(pool);
    if (there) return there;
    const subscribing = this.#redis.subscribe(keys.home(pool, this.#home)).then(() => undefined);
    this.#pools.set(pool, subscribing);
    subscribing.catch(() => this.#pools.delete(pool));
    return subscribing;
  }

  get pools(): string[] {
    return [...this.#pools.keys()];
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
    this.#redis.disconnect();
  }

  /** The connection is there again, without its subscriptions. What was told in between is asked for by `mine`. */
  async #back(): Promise<void> {
    this.#lost = false;
    const { pools } = this;
    try {
      await this.#redis.subscribe(keys.sweep, ...pools.map((pool) => keys.home(pool, this.#home)));
    } catch (error) {
      this.#again(error);
      return;
    }
    this.#events.resubscribed(pools);
  }

  /** Redis did not answer: another connection may find it better. */
  #again(error: unknown): void {
    if (this.#stop.signal.aborted) return;
    this.#events.error(toError(error));
    if (this.#redis.status === 'ready') this.#redis.disconnect(true);
  }

  /** An idle subscriber notices nothing when its peer is gone: ask it. */
  async #watch(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      await this.#clock.sleep(PING_MS, this.#stop.signal);
      if (this.#stop.signal.aborted || this.#redis.status !== 'ready') continue;
      try {
        await this.#redis.ping();
      } catch (error) {
        this.#again(error);
      }
    }
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
