import { Redis } from 'ioredis';
import type { Clock } from '../domain/clock.js';
import { toError } from '../domain/errors.js';
import { chooseMaster, type SentinelAnswer } from '../domain/redis-failover.js';
import type { HostPort, SentinelTarget } from '../domain/redis-url.js';
import type { RedisTls } from './redis.js';

/** How often the Sentinels are asked, besides whenever one of them announces something. */
const LOOK_MS = 1_000;
/** However much is announced, and however often somebody doubts. */
const LOOK_AGAIN_MS = 20;
/** While a replica is being promoted. */
const PROMOTING_LOOK_MS = 100;
/** A promotion takes about a second. A replica that was chosen and is not promoted by then is not waited for: the old master goes on. */
const PROMOTING_MAX_MS = 10_000;
/** Of the first look alone: how long it waits for the connection to a Sentinel. */
const FIRST_MS = 1_000;
const RECONNECT_MAX_MS = 1_000;
/** Sentinels that are found through others, beside those of the URL. */
const MAX_FOUND = 16;
/** A Sentinel that leads a failover announces these before it makes the replica a master. */
const CHOSEN: ReadonlySet<string> = new Set([
  '+failover-state-select-slave',
  '+selected-slave',
  '+failover-state-send-slaveof-noone',
  '+failover-state-wait-promotion',
]);
/** Of `SENTINEL MASTER`, from the choice of a replica until it says that it is a master. */
const PROMOTING: ReadonlySet<string> = new Set(['select_slave', 'send_slaveof_noone', 'wait_promotion']);

/** `promoting`: connections to the old master were left. `kept`: it remains the master. */
export type MasterEvent = { kind: 'promoting' | 'kept'; master: HostPort } | { kind: 'switched'; from: HostPort; to: HostPort };

export interface MasterWatchOptions {
  target: SentinelTarget;
  tls: RedisTls;
  /** For an answer of a Sentinel. */
  timeoutMs: number;
  clock: Clock;
  onEvent: (event: MasterEvent) => void;
}

/**
 * Follows the master that the Sentinels name, for all connections of this process.
 *
 * It is subscribed to every Sentinel and also asks each one every second. The newest configuration counts, so a Sentinel that has not heard
 * of a failover yet leads nobody to the old master. The Sentinel that leads a failover announces the chosen replica 100 ms or more before it
 * promotes it: at that moment all connections to the old master end, and none begins until the Sentinels name the next master. So a planned failover
 * (`SENTINEL FAILOVER`), in which the old master goes on answering for ten seconds, loses next to nothing.
 *
 * If no Sentinel answers, the master stays the one that was known: Sentinels that are away must not take Muster with them.
 */
export class MasterWatch {
  readonly #options: MasterWatchOptions;
  readonly #sentinels = new Map<string, Sentinel>();
  /** What ends each connection to the present master. */
  readonly #drops = new Set<() => void>();
  readonly #waiting = new Set<() => void>();
  readonly #stop = new AbortController();
  #wake = new AbortController();
  #running: Promise<void> | undefined;
  #looked = false;
  /** undefined: unknown, or a replica is being promoted. */
  #master: HostPort | undefined;
  #last: HostPort | undefined;
  #epoch = -1;
  #promotingSince: number | undefined;
  /** The promotion that goes on was waited for long enough. */
  #overdue = false;

  constructor(options: MasterWatchOptions) {
    this.#options = options;
    for (const at of options.target.sentinels) this.#add(at);
  }

  /** Resolves with the master once there is one to write to, or with undefined when `signal` aborts. */
  async master(signal: AbortSignal): Promise<HostPort | undefined> {
    this.#running ??= this.#run();
    const over = AbortSignal.any([signal, this.#stop.signal]);
    while (this.#master === undefined && !over.aborted) {
      await new Promise<void>((resolve) => {
        const end = () => {
          this.#waiting.delete(end);
          over.removeEventListener('abort', end);
          resolve();
        };
        this.#waiting.add(end);
        over.addEventListener('abort', end);
      });
    }
    return over.aborted ? undefined : this.#master;
  }

  /** `drop` is called once when that is no longer the master to write to. Call what this returns when the connection has ended. */
  attach(master: HostPort, drop: () => void): () => void {
    if (!same(master, this.#master)) drop();
    else this.#drops.add(drop);
    return () => void this.#drops.delete(drop);
  }

  /** Something looks as if the master were another: asks the Sentinels now. */
  doubt(): void {
    this.#wake.abort();
  }

  /** Why no master is known; '': one is. */
  get problem(): string {
    if (this.#master) return '';
    if (this.#promotingSince !== undefined) return 'a replica is being promoted';
    const said = [...this.#sentinels.values()].map(({ name, problem }) => `${name}: ${problem || 'no answer yet'}`);
    return `no Sentinel names a master of that name (${said.join('; ')})`;
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    this.#wake.abort();
    for (const sentinel of this.#sentinels.values()) sentinel.stop();
    await this.#running;
  }

  async #run(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      this.#wake = new AbortController();
      await this.#look();
      await this.#options.clock.sleep(LOOK_AGAIN_MS, this.#stop.signal);
      await this.#options.clock.sleep(this.#promotingSince === undefined ? LOOK_MS : PROMOTING_LOOK_MS, this.#wake.signal);
    }
  }

  async #look(): Promise<void> {
    await this.#askAll();
    const found = [...this.#sentinels.values()].flatMap(({ peers }) => peers);
    const fresh = found.filter((at) => this.#add(at));
    // Those of the URL alone may be the ones that have not heard of a failover.
    if (!this.#looked && fresh.length > 0) await this.#askAll();
    this.#looked = true;
    this.#decide();
  }

  async #askAll(): Promise<void> {
    const ask = async (sentinel: Sentinel) => {
      await sentinel.ask(!this.#looked);
      // One that does not answer must not delay what another knows.
      if (this.#looked) this.#decide();
    };
    await Promise.all([...this.#sentinels.values()].map(ask));
  }

  #add(at: HostPort): boolean {
    const name = nameOf(at);
    if (this.#sentinels.has(name) || this.#sentinels.size >= this.#options.target.sentinels.length + MAX_FOUND) return false;
    const sentinel = new Sentinel(at, this.#options, (channel) => {
      if (CHOSEN.has(channel) && this.#looked) this.#decide();
      this.doubt();
    });
    this.#sentinels.set(name, sentinel);
    return true;
  }

  #decide(): void {
    if (this.#stop.signal.aborted) return;
    const answers = [...this.#sentinels.values()].flatMap(({ answer }) => answer ?? []);
    let choice = chooseMaster(answers, this.#epoch, this.#sentinels.size);
    if (choice.kind === 'promoting' && !this.#overdue) return this.#promoting();
    if (choice.kind === 'promoting') {
      choice = chooseMaster(
        answers.map((answer) => ({ ...answer, promoting: false })),
        this.#epoch,
        this.#sentinels.size,
      );
    } else this.#overdue = false;
    if (choice.kind === 'master') this.#set(choice.master, choice.epoch);
  }

  #promoting(): void {
    const now = this.#options.clock.monotonic();
    if (this.#promotingSince === undefined) {
      this.#promotingSince = now;
      const master = this.#master;
      this.#master = undefined;
      this.#dropAll();
      if (master) this.#options.onEvent({ kind: 'promoting', master });
    } else if (now - this.#promotingSince > PROMOTING_MAX_MS) {
      this.#overdue = true;
      this.#decide();
    }
  }

  #set(master: HostPort, epoch: number): void {
    const last = this.#last;
    const promoting = this.#promotingSince !== undefined;
    this.#promotingSince = undefined;
    this.#epoch = epoch;
    if (same(this.#master, master)) return;
    this.#master = master;
    this.#last = master;
    this.#dropAll();
    if (last && !same(last, master)) this.#options.onEvent({ kind: 'switched', from: last, to: master });
    else if (promoting && last) this.#options.onEvent({ kind: 'kept', master });
    for (const end of [...this.#waiting]) end();
  }

  #dropAll(): void {
    const drops = [...this.#drops];
    this.#drops.clear();
    for (const drop of drops) drop();
  }
}

/** One Sentinel: a connection that is subscribed to what it announces, and is asked. */
class Sentinel {
  readonly name: string;
  /** Its last one; undefined: it did not answer the last time. */
  answer: SentinelAnswer | undefined;
  problem = '';
  peers: HostPort[] = [];
  /** How often it announced that it has chosen a replica. */
  #choices = 0;
  readonly #redis: Redis;
  readonly #of: string;
  readonly #clock: Clock;

  constructor(at: HostPort, { target, tls, timeoutMs, clock }: MasterWatchOptions, announced: (channel: string) => void) {
    this.name = nameOf(at);
    this.#of = target.name;
    this.#clock = clock;
    this.#redis = new Redis({
      ...at,
      ...(target.tls ? { tls } : {}),
      lazyConnect: true,
      enableReadyCheck: false,
      enableOfflineQueue: false,
      disableClientInfo: true,
      maxRetriesPerRequest: 0,
      autoResubscribe: false,
      commandTimeout: timeoutMs,
      connectTimeout: Math.max(timeoutMs, FIRST_MS),
      retryStrategy: (attempt) => Math.min(100 * attempt, RECONNECT_MAX_MS),
    });
    this.#redis.on('error', (error: Error) => {
      this.problem = error.message || String((error as { code?: unknown }).code ?? error);
    });
    this.#redis.on('close', () => {
      this.answer = undefined;
    });
    this.#redis.on('ready', () => {
      this.#redis.psubscribe('*').catch(() => this.#redis.disconnect(true));
    });
    this.#redis.on('pmessage', (_pattern: string, channel: string, text: string) => {
      if (!text.split(' ').includes(this.#of)) return;
      if (CHOSEN.has(channel)) {
        this.#choices++;
        if (this.answer) this.answer = { ...this.answer, promoting: true };
      }
      announced(channel);
    });
  }

  /** Renews its answer. Never rejects. `first`: waits for the connection. */
  async ask(first: boolean): Promise<void> {
    if (this.#redis.status === 'wait') void this.#redis.connect().catch(() => undefined);
    if (first && this.#redis.status !== 'ready') await this.#ready();
    const choices = this.#choices;
    try {
      const [master, address, peers] = await Promise.all([
        this.#redis.call('SENTINEL', 'MASTER', this.#of),
        this.#redis.call('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', this.#of),
        this.#redis.call('SENTINEL', 'SENTINELS', this.#of),
      ]);
      const [host, port] = address as [string, string];
      const facts = fieldsOf(master);
      this.answer = {
        master: { host, port: Number(port) },
        epoch: Number(facts.get('config-epoch')),
        // What was announced between these replies is newer than the first of them.
        promoting: PROMOTING.has(facts.get('failover-state') ?? '') || this.#choices !== choices,
      };
      this.peers = (peers as unknown[]).map(fieldsOf).map((peer) => ({ host: peer.get('ip') ?? '', port: Number(peer.get('port')) }));
      this.problem = '';
    } catch (thrown) {
      const error = toError(thrown);
      if (this.#redis.status === 'ready' || this.problem === '') this.problem = error.message;
      this.answer = undefined;
      // It is connected and does not answer: another connection may find it better.
      if (this.#redis.status === 'ready' && error.message.startsWith('Command timed out')) this.#redis.disconnect(true);
    }
  }

  stop(): void {
    this.#redis.disconnect();
  }

  async #ready(): Promise<void> {
    const over = new AbortController();
    const end = () => over.abort();
    this.#redis.once('ready', end).once('close', end);
    await this.#clock.sleep(FIRST_MS, over.signal);
    this.#redis.off('ready', end).off('close', end);
  }
}

/** A map, as RESP3 and RESP2 have it. */
function fieldsOf(reply: unknown): Map<string, string> {
  if (!Array.isArray(reply)) return new Map(Object.entries(reply as Record<string, string>));
  const fields = new Map<string, string>();
  for (let i = 0; i + 1 < reply.length; i += 2) fields.set(String(reply[i]), String(reply[i + 1]));
  return fields;
}

const nameOf = ({ host, port }: HostPort): string => `${host}:${port}`;

const same = (a: HostPort | undefined, b: HostPort | undefined): boolean => a !== undefined && b !== undefined && nameOf(a) === nameOf(b);
