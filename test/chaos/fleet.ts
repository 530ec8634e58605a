import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Redis } from 'ioredis';
import type { EmbeddedRedis } from '../../src/lifecycle/embedded-redis.js';
import { keys } from '../../src/store/keys.js';
import { Child, mainArgs, scriptArgs } from '../helpers/children.js';
import type { Note } from '../helpers/handlers.js';
import { freePorts } from '../helpers/ports.js';
import { until } from '../helpers/until.js';
import { Clients } from './clients.js';
import { type Backing, type FleetKind, PLANS, startBacking } from './kinds.js';
import { FaultProxy } from './proxy.js';
import { LEGACY_POOL, POOL, PROXIED_IP, type ReplicaSeat, TIME_SCALE, type WorkerSeat } from './seats.js';

export * from './seats.js';

const REPLICAS = 3;
const READY_MS = 30_000;
const SHIFTED = 'r1';
const OTHER_BUILD = 'r2';

/** BullMQ's words for a replica that was cut off while it had a check: it is repeated by another. */
const LOST_LOCK = /could not renew lock|Missing lock/;

/** Does that line of a replica tell of what must not happen inside? `cutOff`: it may have lost a check. */
export function tellsOfFault(line: string, cutOff: boolean): boolean {
  return (/"level":[56]0/.test(line) || !line.startsWith('{')) && !(cutOff && LOST_LOCK.test(line));
}

/** One of the four is for the legacy workers. */
const CLIENTS = [1, 2, 3, 4].map((n) => ({ id: `c${n}`, pool: n === 4 ? LEGACY_POOL : POOL, legacy: n === 4 }));

/** The whole fleet as processes, each link through a proxy. Ended by `dispose`. */
export class Fleet {
  readonly replicas: ReplicaSeat[] = [];
  readonly workers: WorkerSeat[] = [];
  clients!: Clients;
  readonly #folder = mkdtempSync(join(tmpdir(), 'muster-chaos-'));
  readonly #past: Child[] = [];

  private constructor(
    readonly kind: FleetKind,
    readonly backing: Backing,
    private readonly beside: string | undefined,
  ) {}

  /** `beside`: the main.js of another build, which one of the replicas runs. */
  static async start(kind: FleetKind = 'usual', beside?: string): Promise<Fleet> {
    const fleet = new Fleet(kind, await startBacking(PLANS[kind]), beside);
    const plan = PLANS[kind].workers;
    try {
      const ports = await freePorts(2 * REPLICAS + plan.length);
      const seats = Array.from({ length: REPLICAS }, (_, i) => fleet.#seat(`r${i + 1}`, ports[2 * i] ?? 0, ports[2 * i + 1] ?? 0));
      fleet.replicas.push(...(await Promise.all(seats)));
      await Promise.all(fleet.replicas.map((seat) => fleet.ready(seat)));
      const workers = plan.map(async (worker, i): Promise<WorkerSeat> => {
        const port = ports[2 * REPLICAS + i] ?? 0;
        const dial = worker.contract === 'attached' ? undefined : await FaultProxy.start(port, { host: PROXIED_IP, port });
        const pool = worker.contract === 'legacy' ? LEGACY_POOL : POOL;
        const seat = { ...worker, usual: worker.slots, receiveBytes: undefined, pool, port, dial };
        return { ...seat, child: fleet.#launchWorker(seat) };
      });
      fleet.workers.push(...(await Promise.all(workers)));
      fleet.clients = new Clients(fleet.clientTarget, CLIENTS);
      await fleet.clients.ready();
      await until(() => fleet.healthy(), { timeoutMs: READY_MS, what: 'the fleet to be ready' });
      return fleet;
    } catch (error) {
      const story = fleet.story();
      await fleet.dispose();
      throw new Error(`the fleet did not start\n${story}`, { cause: error });
    }
  }

  /** Which the fleet began with. */
  get redis(): EmbeddedRedis {
    return this.backing.redis;
  }

  /** Redis itself, past every proxy. */
  get direct(): Redis {
    return this.backing.direct;
  }

  /** The replica whose clock can be shifted, in a fleet where one can. */
  get shifted(): ReplicaSeat {
    const seat = this.replicas.find(({ name }) => name === SHIFTED);
    if (!seat) throw new Error(`no replica ${SHIFTED}`);
    return seat;
  }

  /** As gRPC's round_robin takes it. */
  private get clientTarget(): string {
    return `ipv4:${this.replicas.map(({ clients }) => `127.0.0.1:${clients.port}`).join(',')}`;
  }

  get proxies(): FaultProxy[] {
    return [...this.replicas.flatMap(({ redis, workers, clients }) => [redis, workers, clients]), ...this.workers.flatMap(({ dial }) => dial ?? [])];
  }

  /** In this life. */
  async idOf(seat: ReplicaSeat): Promise<string> {
    return String((await seat.child.said('ready'))['replica']);
  }

  /** The replica whose worker that is now; undefined: none that lives. */
  async homeOf({ pool, id }: WorkerSeat): Promise<ReplicaSeat | undefined> {
    const home = await this.direct.hget(keys.worker(pool, id), 'home');
    for (const seat of this.replicas) if (seat.child.running && (await this.idOf(seat)) === home) return seat;
    return undefined;
  }

  /** Starts it again on its ports, armed or not. Does not wait. */
  startReplica(seat: ReplicaSeat, failpoint = ''): void {
    this.#past.push(seat.child);
    seat.child = this.#launchReplica(seat, failpoint);
  }

  async ready(seat: ReplicaSeat): Promise<void> {
    await seat.child.said('ready', READY_MS);
  }

  /** SIGKILL; resolves when it is gone. */
  async kill({ child }: { child: Child }): Promise<void> {
    if (!child.running) return;
    child.signal('SIGKILL');
    await child.ended();
  }

  /** Another life. `at`: registers at that replica alone. */
  startWorker(seat: WorkerSeat, at?: ReplicaSeat): void {
    this.#past.push(seat.child);
    seat.child = this.#launchWorker(seat, at);
  }

  /** A process more, under the id of that worker and beside it. The caller ends it. */
  twin(seat: WorkerSeat, port: number): Child {
    const child = this.#launchWorker({ ...seat, port }, undefined, '127.0.0.1');
    this.#past.push(child);
    return child;
  }

  /** Every fault is over: proxies relieved, what stands still goes on. What ended is for `revive`. */
  async restore(): Promise<void> {
    for (const proxy of this.proxies) proxy.set(undefined);
    this.redis.resume();
    for (const clock of Object.values(this.backing.clocks ?? {})) clock.shift(0);
    for (const { child } of [...this.replicas, ...this.workers]) if (child.running) child.signal('SIGCONT');
    for (const seat of this.workers.filter(({ slots, usual, receiveBytes }) => slots !== usual || receiveBytes !== undefined)) {
      seat.slots = seat.usual;
      seat.receiveBytes = undefined;
      await this.kill(seat);
    }
  }

  /**
   * What a supervisor does: whatever ended is started anew, and so is a legacy worker that was declared dead, or that Redis has lost, for it
   * registers once in a life. true: there was nothing to do.
   */
  async revive(): Promise<boolean> {
    let none = true;
    for (const seat of this.replicas.filter(({ child }) => !child.running)) {
      none = false;
      this.startReplica(seat);
    }
    for (const seat of this.workers.filter(({ child }) => !child.running)) {
      none = false;
      this.startWorker(seat);
    }
    for (const seat of this.workers) {
      if (seat.contract !== 'legacy' || !['dead', null].includes(await this.direct.hget(keys.worker(seat.pool, seat.id), 'state'))) continue;
      none = false;
      // Started a moment ago, it is about to register.
      if (seat.child.lines.some((line) => line.includes('"registered"'))) {
        await this.kill(seat);
        this.startWorker(seat);
      }
    }
    return none;
  }

  /** Every replica is ready, and every worker is on the roll and fit, at a home that lives. */
  async healthy(): Promise<boolean> {
    return (await this.unfit()).length === 0;
  }

  /** Who is not. */
  async unfit(): Promise<string[]> {
    await Promise.all(this.replicas.map((seat) => this.ready(seat)));
    const homes = new Set(await Promise.all(this.replicas.map((seat) => this.idOf(seat))));
    const replicas = this.replicas.map(async ({ name, httpPort }) =>
      (await fetch(`http://127.0.0.1:${httpPort}/readyz`)).ok ? [] : [`${name} is not ready`],
    );
    const workers = this.workers.map(async ({ pool, id }) => {
      const [state, home = ''] = await this.direct.hmget(keys.worker(pool, id), 'state', 'home');
      return (state === 'free' || state === 'busy') && homes.has(home ?? '') ? [] : [`${id} is ${state ?? 'gone'} at ${home}`];
    });
    return (await Promise.all([...replicas, ...workers])).flat();
  }

  /** What the workers noted since the last `forgetNotes`. */
  notes(): Note[] {
    if (!existsSync(this.#notesFile)) return [];
    const lines = readFileSync(this.#notesFile, 'utf8').split('\n').slice(0, -1);
    return lines.map((line) => JSON.parse(line) as Note);
  }

  forgetNotes(): void {
    writeFileSync(this.#notesFile, '');
  }

  /** The last words of all, those of past lives too. */
  story(): string {
    const children = [
      ...this.#past,
      ...this.replicas.map(({ child }) => child),
      ...this.workers.map(({ child }) => child),
      ...(this.clients?.children ?? []),
    ];
    return children.map((child) => `--- ${child.name} ${child.running ? 'runs' : 'ended'}\n${child.tail()}`).join('\n');
  }

  /** Lines of replicas that tell of what must not happen inside, those of past lives too. Each is told once. `cutOff`: one may have lost a check. */
  newFaults(cutOff: boolean): string[] {
    const children = [...this.#past, ...this.replicas.map(({ child }) => child)].filter(({ name }) => /^r\d/.test(name));
    const found = children.flatMap(({ lines }) => lines.filter((line) => tellsOfFault(line, cutOff)));
    const fresh = found.filter((line) => !this.#toldFaults.has(line));
    for (const line of fresh) this.#toldFaults.add(line);
    return fresh;
  }
  readonly #toldFaults = new Set<string>();

  /** Past lives are told no more. */
  forgetPast(): void {
    for (let i = this.#past.length - 1; i >= 0; i--) if (this.#past[i]?.running === false) this.#past.splice(i, 1);
  }

  async dispose(): Promise<void> {
    await this.clients?.dispose();
    await Promise.all([...this.#past, ...[...this.workers, ...this.replicas].map(({ child }) => child)].map((child) => child.dispose()));
    await Promise.all(this.proxies.map((proxy) => proxy.close()));
    await this.backing.dispose();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  get #notesFile(): string {
    return join(this.#folder, 'notes.jsonl');
  }

  async #seat(name: string, grpcPort: number, httpPort: number): Promise<ReplicaSeat> {
    const [redis, workers, clients] = await Promise.all([this.redis.port, grpcPort, grpcPort].map((port) => FaultProxy.start(port)));
    if (!redis || !workers || !clients) throw new Error('no proxies');
    const seat = { name, grpcPort, httpPort, redis, workers, clients };
    return { ...seat, child: this.#launchReplica(seat, '') };
  }

  #launchReplica({ name, grpcPort, httpPort, redis }: Omit<ReplicaSeat, 'child'>, failpoint: string): Child {
    const { url, clocks } = this.backing;
    const main = this.beside !== undefined && name === OTHER_BUILD ? [this.beside] : mainArgs();
    return new Child(name, [...main, 'serve'], {
      ...PLANS[this.kind].settings,
      ...(name === SHIFTED ? clocks?.replica.env : {}),
      MUSTER_INSECURE: 'true',
      MUSTER_REDIS_URL: url ?? `redis://127.0.0.1:${redis.port}`,
      MUSTER_GRPC_ADDR: `127.0.0.1:${grpcPort}`,
      MUSTER_HTTP_ADDR: `127.0.0.1:${httpPort}`,
      MUSTER_TIME_SCALE: String(TIME_SCALE),
      MUSTER_LEGACY_POOL: LEGACY_POOL,
      MUSTER_DIAL_ALLOW: '127.0.0.0/8',
      MUSTER_FAILPOINT: failpoint,
    });
  }

  #launchWorker(
    { id, contract, pool, slots, port, receiveBytes }: Omit<WorkerSeat, 'child' | 'dial' | 'usual'>,
    at?: ReplicaSeat,
    advertiseIp = PROXIED_IP,
  ): Child {
    const where = at ? [at] : this.replicas;
    const target = `ipv4:${where.map(({ workers }) => `127.0.0.1:${workers.port}`).join(',')}`;
    const settings = { contract, target, id, pool, slots, port, receiveBytes, advertiseIp, ip: advertiseIp, file: this.#notesFile };
    const script = contract === 'legacy' ? 'test/helpers/legacy-process.ts' : 'test/chaos/worker.ts';
    return new Child(`worker ${id}`, scriptArgs(script), { WORKER: JSON.stringify(settings) });
  }
}
