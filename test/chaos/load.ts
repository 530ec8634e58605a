import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { Child } from '../helpers/children.js';
import { until } from '../helpers/until.js';
import type { ClientSeat, Clients } from './clients.js';
import { History, type Operation } from './history.js';
import { between, type Draw } from './random.js';
import { POOL } from './seats.js';

export interface LoadOptions {
  clients: Clients;
  /** Begins the ids of its jobs. */
  name: string;
  draw: Draw;
}

export interface MoreOptions {
  /** All due at that one moment from now. */
  delayMs?: number;
  /** Their ends are asked for only then. */
  askAfterMs?: number;
  pool?: string;
  /** That client's; default: the first of the pool. */
  seat?: ClientSeat | undefined;
}

/** One client's part in this load, from its start to its death. */
interface Life {
  seat: ClientSeat;
  child: Child;
  /** Begins the ids of its jobs. */
  name: string;
  history: History;
  over: boolean;
}

const FOLLOW_MS = 50;
const SEED_MAX = 2 ** 31 - 1;
/** Submitting hundreds of jobs through an outage takes a while. */
const MORE_MS = 60_000;
/** A client that was told to give up has nothing to wait for. */
const GIVE_UP_MS = 10_000;

/** What the clients do in one trial, and what they saw: their histories are followed as they are written. */
export class Load {
  /** What must not be: a client that ended by itself, or hangs. */
  readonly broken: string[] = [];
  readonly #options: LoadOptions;
  readonly #folder = mkdtempSync(join(tmpdir(), 'muster-chaos-clients-'));
  readonly #lives: Life[] = [];
  readonly #seeds = new Map<ClientSeat, number>();
  readonly #stopped = new AbortController();
  #following: Promise<void> = Promise.resolve();
  #batches = 0;

  /** What each client draws is drawn here at once, so that what happens in the trial does not change it. */
  constructor(options: LoadOptions) {
    this.#options = options;
    for (const seat of this.seats) this.#seeds.set(seat, between(options.draw, 1, SEED_MAX));
  }

  get seats(): readonly ClientSeat[] {
    return this.#options.clients.seats;
  }

  get operations(): Operation[] {
    return this.#lives.flatMap(({ history }) => [...history.operations.values()]);
  }

  get ended(): number {
    return this.operations.filter(({ end }) => end !== undefined).length;
  }

  start(): void {
    for (const seat of this.seats) this.#begin(seat);
    this.#following = this.#follow();
  }

  /** Jobs beside the others, of the client of that pool. Resolves when all are acknowledged, or given up. */
  async more(count: number, kind: string, payload: string, options: MoreOptions = {}): Promise<Operation[]> {
    const { delayMs = 0, askAfterMs = 0, pool = POOL } = options;
    const { seat = this.seats.find((one) => one.pool === pool) } = options;
    const life = this.#lives.findLast((one) => one.seat === seat);
    if (!life) throw new Error('no client');
    const batch = ++this.#batches;
    this.#options.clients.order(life, { do: 'more', batch, count, kind, payload, delayMs, askAfterMs });
    const own = () => [...life.history.operations.values()].filter((one) => one.batch === batch);
    const told = () => life.over || own().filter(({ ackedAt, outcome }) => ackedAt !== undefined || outcome !== undefined).length === count;
    await until(told, { timeoutMs: MORE_MS, what: `${count} jobs to be taken` });
    return own();
  }

  /** SIGKILL, and another life. Resolves with what it had under way and will never be told. */
  async kill(seat: ClientSeat): Promise<Operation[]> {
    const life = this.#lives.findLast((one) => one.seat === seat);
    if (!life) throw new Error('no client');
    life.over = true;
    life.child.signal('SIGKILL');
    await life.child.ended();
    await this.#next(life);
    return [...life.history.operations.values()].filter(({ orphan }) => orphan);
  }

  /** No more jobs; resolves when what is under way has ended, or after `waitMs` was given up. */
  async stop(waitMs: number): Promise<void> {
    this.#stopped.abort();
    await this.#following;
    const { clients } = this.#options;
    const now = this.#lives.filter(({ over }) => !over);
    const rests = ({ child, name }: Life) => child.lines.some((line) => line.includes('"rested"') && line.includes(`"${name}"`));
    const all = () => now.every((life) => !life.child.running || rests(life));
    for (const life of now) clients.order(life, { do: 'stop' });
    await until(all, { timeoutMs: waitMs }).catch(() => {
      for (const life of now) clients.order(life, { do: 'give-up' });
    });
    await until(all, { timeoutMs: GIVE_UP_MS }).catch(() => {});
    for (const life of now) {
      life.history.read();
      if (rests(life)) continue;
      this.broken.push(`${life.child.name} ${life.child.running ? 'does not rest' : 'ended by itself'}:\n${life.child.tail()}`);
      await life.child.dispose();
      life.history.died();
    }
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #begin(seat: ClientSeat): void {
    const { clients, name } = this.#options;
    const earlier = this.#lives.filter((life) => life.seat === seat).length;
    const own = `${name}-${seat.id}${earlier === 0 ? '' : `.${earlier + 1}`}`;
    const file = join(this.#folder, own);
    this.#lives.push({ seat, child: seat.child, name: own, history: new History(file), over: false });
    clients.order(seat, { do: 'start', name: own, seed: (this.#seeds.get(seat) ?? 0) + earlier, file });
  }

  async #next({ seat, history }: Life): Promise<void> {
    history.died();
    await this.#options.clients.restart(seat);
    this.#begin(seat);
  }

  async #follow(): Promise<void> {
    const { signal } = this.#stopped;
    while (!signal.aborted) {
      for (const life of this.#lives.filter(({ over }) => !over)) {
        life.history.read();
        if (life.child.running) continue;
        life.over = true;
        this.broken.push(`${life.child.name} ended by itself:\n${life.child.tail()}`);
        await this.#next(life);
      }
      await pause(FOLLOW_MS, undefined, { signal }).catch(() => {});
    }
  }
}
