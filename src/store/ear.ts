import type { Redis } from 'ioredis';
import type { Clock } from '../domain/clock.js';
import { toError } from '../domain/errors.js';

export interface EarEvents {
  message(channel: string, text: string): void;
  /** These were not heard for a while, and are again: what was said on them meanwhile is lost. */
  regained(channels: string[]): void;
  error(error: Error): void;
}

/** Listens to channels, and sees to it that it goes on hearing them. */
export interface Ear {
  /** Resolves once what is said on the channel arrives here. Rejects while Redis is away. */
  listen(channel: string): Promise<void>;
  stop(): Promise<void>;
}

const PING_MS = 2_000;

/** The ear at one Redis: one subscribed connection, which must be ready. */
export class RedisEar implements Ear {
  readonly #redis: Redis;
  readonly #clock: Clock;
  readonly #events: EarEvents;
  readonly #channels = new Set<string>();
  readonly #stop = new AbortController();
  readonly #running: Promise<void>;
  #lost = false;

  constructor(redis: Redis, clock: Clock, events: EarEvents) {
    this.#redis = redis;
    this.#clock = clock;
    this.#events = events;
    redis.on('message', (channel: string, text: string) => events.message(channel, text));
    redis.on('close', () => {
      this.#lost = true;
    });
    redis.on('ready', () => {
      if (this.#lost) void this.#back();
    });
    this.#running = this.#watch();
  }

  async listen(channel: string): Promise<void> {
    await this.#redis.subscribe(channel);
    this.#channels.add(channel);
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
    this.#redis.disconnect();
  }

  /** The connection is there again, without its subscriptions. */
  async #back(): Promise<void> {
    this.#lost = false;
    const channels = [...this.#channels];
    try {
      if (channels.length > 0) await this.#redis.subscribe(...channels);
    } catch (error) {
      this.#again(error);
      return;
    }
    this.#events.regained(channels);
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
}
