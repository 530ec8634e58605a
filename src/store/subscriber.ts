import type { Redis } from 'ioredis';
import type { Clock } from '../domain/clock.js';
import { toError } from '../domain/errors.js';

export interface SubscriberEvents {
  message(channel: string, text: string): void;
  /** Messages on these channels may have been lost, and arrive again from now on. */
  regained(channels: string[]): void;
  error(error: Error): void;
}

/** What the subscriber needs of Redis. */
export interface SubscriberPorts {
  /** The server that carries the channel, as the last known topology has it. Changes when a Cluster moves slots. undefined: not known yet. */
  serverOf(channel: string): string | undefined;
  /** A new connection to that server, not connected. It must not reconnect by itself: one object is one life of a connection. */
  open(server: string): Redis;
  subscribe(redis: Redis, channels: readonly string[]): Promise<unknown>;
  unsubscribe(redis: Redis, channels: readonly string[]): Promise<unknown>;
  /** Publishes through another connection than the subscribed ones. */
  publish(channel: string, text: string): Promise<unknown>;
  /** Asks for the topology again: a server does not carry a channel that it should. */
  refresh(): void;
}

/** How often channels are tested, and how long a test message may take. */
const TEST_MS = 1_000;
/** Channels of one server that one round tests, in turn, besides those that failed their last test. */
const TESTED = 4;
/** A channel that many replicas share is tested once in so many rounds: each test message reaches all of them. */
const SHARED_ROUNDS = 10;
/** Failed tests of one channel after which the connection to its server is replaced. */
const REPLACE_AFTER = 2;
/** Failed tests of one channel after which the subscriber is deaf: a first replacement did not help. */
const DEAF_AFTER = 4;
/** Between two tries to subscribe to what is not subscribed. */
const RETRY_MS = 250;
/** What the test message begins with. No hint begins like this. */
const MARK = 'mark ';

interface Channel {
  readonly name: string;
  readonly isShared: boolean;
  /** Where it is subscribed now. */
  feed: Feed | undefined;
  /** Messages may have been lost since it was last known to work. */
  missed: boolean;
  /** Tests that failed in a row although the message was published. */
  failedTests: number;
}

/** One connection to one server. It is never repaired, only replaced. */
interface Feed {
  readonly server: string;
  readonly redis: Redis;
  readonly ready: Promise<unknown>;
  turn: number;
}

/**
 * Listens to channels, and makes sure that it still hears them.
 *
 * Each server that carries channels has one plain connection. A connection that ends is replaced by a new object; the channels of other servers do
 * not notice. Nothing here trusts a connection because it looks well: the subscriber publishes test messages to its own channels and
 * expects to hear them. A channel that fails two tests gets a new connection. A channel that fails four is deaf, and the
 * replica reports "not ready" until a test succeeds. A test whose message cannot be published (the server is down) proves nothing and counts
 * as no test.
 */
export class Subscriber {
  readonly #name: string;
  readonly #clock: Clock;
  readonly #ports: SubscriberPorts;
  readonly #events: SubscriberEvents;
  readonly #channels = new Map<string, Channel>();
  readonly #feeds = new Map<string, Feed>();
  /** Test messages that are on their way. */
  readonly #marks = new Map<string, () => void>();
  readonly #stop = new AbortController();
  readonly #running: Promise<unknown>;
  #wake = new AbortController();
  readonly #placing = new Set<string>();
  #markCount = 0;
  #rounds = 0;

  /** `name`: unique among all subscribers, and free of spaces. */
  constructor(name: string, clock: Clock, ports: SubscriberPorts, events: SubscriberEvents) {
    this.#name = name;
    this.#clock = clock;
    this.#ports = ports;
    this.#events = events;
    this.#running = Promise.all([this.#placeLoop(), this.#testLoop()]);
  }

  /** Channels that stay silent although messages are published on them and their connection was replaced. */
  get deaf(): string[] {
    return [...this.#channels.values()].filter(({ failedTests }) => failedTests >= DEAF_AFTER).map(({ name }) => name);
  }

  /**
   * Resolves once messages on the channel arrive. Rejects when its server cannot be reached now; the subscriber keeps trying, and reports the
   * channel as regained. `isShared`: many replicas listen to it.
   */
  async listen(name: string, isShared = false): Promise<void> {
    let channel = this.#channels.get(name);
    if (channel?.feed) return;
    if (!channel) {
      channel = { name, isShared, feed: undefined, missed: false, failedTests: 0 };
      this.#channels.set(name, channel);
    }
    try {
      await this.#place(this.#serverOf(channel), [channel]);
    } catch (error) {
      channel.missed = true;
      this.#wake.abort();
      throw error;
    }
  }

  /** Stops listening to the channel. */
  forget(name: string): void {
    const channel = this.#channels.get(name);
    this.#channels.delete(name);
    if (channel?.feed) this.#ports.unsubscribe(channel.feed.redis, [name]).catch(() => undefined);
  }

  /** Replaces every connection: another server is the master now, and an old one goes on carrying messages without refusing anything. */
  renew(): void {
    for (const feed of [...this.#feeds.values()]) this.#drop(feed);
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    for (const { redis } of this.#feeds.values()) redis.disconnect();
    await this.#running;
    // A placement that was under way may have opened one more.
    for (const { redis } of this.#feeds.values()) redis.disconnect();
  }

  /** Subscribes what is not subscribed, or is at another server than it should be. */
  async #placeLoop(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      this.#wake = new AbortController();
      const homeless = [...this.#channels.values()].some(({ feed }) => feed === undefined);
      await this.#clock.sleep(homeless ? RETRY_MS : TEST_MS, AbortSignal.any([signal, this.#wake.signal]));
      if (!signal.aborted) await this.#placeAll();
    }
  }

  async #placeAll(): Promise<void> {
    const byServer = new Map<string, Channel[]>();
    for (const channel of this.#channels.values()) {
      const server = this.#ports.serverOf(channel.name);
      if (server === undefined || channel.feed?.server === server) continue;
      const group = byServer.get(server) ?? [];
      group.push(channel);
      byServer.set(server, group);
    }
    // Each server by itself: one that does not answer delays only its own channels.
    for (const [server, channels] of byServer) void this.#placeQuietly(server, channels);
  }

  async #placeQuietly(server: string, channels: Channel[]): Promise<void> {
    if (this.#placing.has(server)) return;
    this.#placing.add(server);
    try {
      await this.#place(server, channels);
    } catch (error) {
      if (!this.#stop.signal.aborted) this.#events.error(toError(error));
    } finally {
      this.#placing.delete(server);
    }
  }

  async #place(server: string, channels: Channel[], redirected = false): Promise<void> {
    const feed = this.#feed(server);
    await feed.ready;
    try {
      await this.#ports.subscribe(
        feed.redis,
        channels.map(({ name }) => name),
      );
    } catch (error) {
      const moved = /^MOVED \d+ (\S+)$/.exec(toError(error).message)?.[1];
      if (moved === undefined) {
        // The connection looks well and does not answer: another may do better.
        this.#drop(feed);
        throw error;
      }
      this.#ports.refresh();
      // Of several channels the answer is that of one: each finds its own way.
      if (channels.length > 1) return void (await Promise.all(channels.map((channel) => this.#place(server, [channel]))));
      if (redirected || moved === server) throw error;
      return this.#place(moved, channels, true);
    }
    const regained: string[] = [];
    for (const channel of channels) {
      const before = channel.feed;
      if (this.#feeds.get(feed.server) !== feed) throw new Error('Connection is closed.');
      channel.feed = feed;
      if (before && before !== feed) this.#ports.unsubscribe(before.redis, [channel.name]).catch(() => undefined);
      if (channel.missed || (before && before !== feed)) regained.push(channel.name);
      channel.missed = false;
    }
    if (regained.length > 0) this.#events.regained(regained);
  }

  #serverOf({ name }: Channel): string {
    const server = this.#ports.serverOf(name);
    if (server === undefined) throw new Error("Cluster isn't ready: nothing is known of its nodes");
    return server;
  }

  #feed(server: string): Feed {
    const there = this.#feeds.get(server);
    if (there) return there;
    const redis = this.#ports.open(server);
    const feed: Feed = { server, redis, ready: redis.connect(), turn: 0 };
    // Whoever needs it awaits it, and learns of a failure there.
    feed.ready.catch(() => this.#drop(feed));
    const read = (channel: string, text: string) => this.#read(channel, text);
    redis.on('message', read).on('smessage', read);
    redis.once('end', () => this.#drop(feed));
    // A node gave up a slot, and with it the channels there.
    redis.on('moved', () => this.#lose(feed));
    this.#feeds.set(server, feed);
    return feed;
  }

  /** The connection is of no more use. */
  #drop(feed: Feed): void {
    if (this.#feeds.get(feed.server) === feed) this.#feeds.delete(feed.server);
    feed.redis.disconnect();
    this.#lose(feed);
  }

  #lose(feed: Feed): void {
    for (const channel of this.#channels.values()) {
      if (channel.feed !== feed) continue;
      channel.feed = undefined;
      channel.missed = true;
    }
    this.#ports.refresh();
    this.#wake.abort();
  }

  #read(channel: string, text: string): void {
    // On a shared channel the mark may be another subscriber's.
    if (text.startsWith(MARK)) this.#marks.get(text)?.();
    else this.#events.message(channel, text);
  }

  async #testLoop(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      await this.#clock.sleep(TEST_MS, signal);
      if (signal.aborted) return;
      this.#rounds++;
      await Promise.all([...this.#due()].map((channel) => this.#test(channel)));
    }
  }

  #due(): Set<Channel> {
    const due = new Set<Channel>();
    const byFeed = new Map<Feed, Channel[]>();
    for (const channel of this.#channels.values()) {
      const { feed, failedTests, isShared } = channel;
      if (failedTests > 0) due.add(channel);
      if (!feed || (isShared && this.#rounds % SHARED_ROUNDS !== 0)) continue;
      const group = byFeed.get(feed) ?? [];
      group.push(channel);
      byFeed.set(feed, group);
    }
    for (const [feed, channels] of byFeed) {
      if (feed.turn >= channels.length) feed.turn = 0;
      for (const channel of channels.slice(feed.turn, feed.turn + TESTED)) due.add(channel);
      feed.turn += TESTED;
    }
    return due;
  }

  async #test(channel: Channel): Promise<void> {
    const { feed } = channel;
    const heard = await this.#hears(channel.name);
    if (heard === undefined || this.#stop.signal.aborted) return;
    if (heard) {
      const failed = channel.failedTests;
      channel.failedTests = 0;
      if (failed > 0) this.#events.regained([channel.name]);
      return;
    }
    channel.failedTests++;
    if (channel.failedTests < REPLACE_AFTER) return;
    const now = channel.feed;
    this.#events.error(new Error(`Command timed out: nothing is heard on ${channel.name}${now ? '; connecting anew' : ''}`));
    // It may have been replaced meanwhile, for another of its channels.
    if (now && now === feed) this.#drop(now);
  }

  /** undefined: the test message could not be published, so the silence proves nothing. */
  async #hears(channel: string): Promise<boolean | undefined> {
    const mark = `${MARK}${this.#name} ${this.#markCount++}`;
    const over = new AbortController();
    const heard = new Promise<boolean>((resolve) => this.#marks.set(mark, () => resolve(true)));
    try {
      await this.#ports.publish(channel, mark);
      const late = this.#clock.sleep(TEST_MS, AbortSignal.any([over.signal, this.#stop.signal])).then(() => false);
      return await Promise.race([heard, late]);
    } catch {
      return undefined;
    } finally {
      this.#marks.delete(mark);
      over.abort();
    }
  }
}
