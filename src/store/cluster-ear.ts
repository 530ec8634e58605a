import type { Cluster } from 'ioredis';
import type { Clock } from '../domain/clock.js';
import type { Ear, EarEvents } from './ear.js';

/** How often it is looked whether the channels are heard, and how long one may take to be. */
const CHECK_MS = 1_000;
/** So many channels, in turn, at each look; besides those that may have been lost. */
const CHECKED = 16;
/** Looks at which a channel was not heard, after which all connections are made anew. */
const DEAF_LOOKS = 5;
/** What it says to itself: no hint begins so. */
const MARK = 'mark ';

/**
 * The ear at a Cluster: sharded channels, each at the node that has its slot. ioredis follows nodes that fail and slots that move, and subscribes
 * again without telling whether that went well. So the ear listens to itself: it says a mark on its channels and looks whether it comes.
 */
export class ClusterEar implements Ear {
  readonly #cluster: Cluster;
  readonly #name: string;
  readonly #clock: Clock;
  readonly #events: EarEvents;
  readonly #channels = new Set<string>();
  /** Channels that may not be heard now, with how often they were not. */
  readonly #deaf = new Map<string, number>();
  /** Marks that are on their way. */
  readonly #said = new Map<string, () => void>();
  readonly #stop = new AbortController();
  readonly #running: Promise<void>;
  #marks = 0;
  #turn = 0;

  /** `name`: no other ear's. */
  constructor(cluster: Cluster, name: string, clock: Clock, events: EarEvents) {
    this.#cluster = cluster;
    this.#name = name;
    this.#clock = clock;
    this.#events = events;
    cluster.on('smessage', (channel: string, text: string) => this.#read(channel, text));
    // Nodes or slots have changed, and ioredis has subscribed again where it thinks right.
    cluster.on('subscribersReady', () => this.#doubt());
    cluster.on('close', () => this.#doubt());
    this.#running = this.#watch();
  }

  async listen(channel: string): Promise<void> {
    // ioredis keeps what it was asked for, each time: once is enough, whether or not it went well at once.
    if (this.#channels.has(channel)) {
      if (!(await this.#hears(channel))) throw new Error(`Command timed out: nothing is heard on ${channel}`);
      return;
    }
    this.#channels.add(channel);
    this.#deaf.set(channel, 0);
    await this.#cluster.ssubscribe(channel);
    this.#deaf.delete(channel);
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
    this.#cluster.disconnect();
  }

  #read(channel: string, text: string): void {
    // On a channel that is not its own the mark may be another's.
    if (text.startsWith(MARK)) this.#said.get(text)?.();
    else this.#events.message(channel, text);
  }

  #doubt(): void {
    for (const channel of this.#channels) if (!this.#deaf.has(channel)) this.#deaf.set(channel, 0);
  }

  async #watch(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      await this.#clock.sleep(CHECK_MS, signal);
      if (!signal.aborted && this.#cluster.status === 'ready') await this.#look();
    }
  }

  async #look(): Promise<void> {
    const due = new Set([...this.#deaf.keys(), ...this.#next()]);
    const regained: string[] = [];
    await Promise.all(
      [...due].map(async (channel) => {
        if (!(await this.#hears(channel))) this.#deaf.set(channel, (this.#deaf.get(channel) ?? 0) + 1);
        else if (this.#deaf.delete(channel)) regained.push(channel);
      }),
    );
    if (this.#stop.signal.aborted) return;
    if (regained.length > 0) this.#events.regained(regained);
    const worst = [...this.#deaf].find(([, looks]) => looks >= DEAF_LOOKS);
    if (!worst) return;
    this.#events.error(new Error(`Command timed out: nothing is heard on ${worst[0]}; connecting again`));
    for (const channel of this.#deaf.keys()) this.#deaf.set(channel, 0);
    this.#cluster.disconnect(true);
  }

  /** The next few, round and round. */
  #next(): string[] {
    const all = [...this.#channels];
    const few = all.slice(this.#turn, this.#turn + CHECKED);
    this.#turn = this.#turn + CHECKED >= all.length ? 0 : this.#turn + CHECKED;
    return few;
  }

  async #hears(channel: string): Promise<boolean> {
    const mark = `${MARK}${this.#name} ${this.#marks++}`;
    const over = new AbortController();
    const heard = new Promise<boolean>((resolve) => this.#said.set(mark, () => resolve(true)));
    try {
      await this.#cluster.spublish(channel, mark);
      return await Promise.race([heard, this.#clock.sleep(CHECK_MS, AbortSignal.any([over.signal, this.#stop.signal])).then(() => false)]);
    } catch {
      // Nobody can say anything there now; whoever wants something of that node is told why.
      return false;
    } finally {
      this.#said.delete(mark);
      over.abort();
    }
  }
}
