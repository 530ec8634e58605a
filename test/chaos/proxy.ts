import { connect, createServer, type Server, type Socket } from 'node:net';

/**
 * What a proxy can do to its connections, those there are and new ones. Whatever loses bytes ends its connections when it is relieved: a
 * stream with a hole in it is none that TCP knows.
 *
 * drop: nothing arrives, either way. drop-requests: what the one who connected says is lost. drop-replies: what it is answered is lost.
 * reset: connections break, also those that are tried. silent: connections are taken, nothing comes, nothing is lost.
 * slow: 1 kB a second each way. late: 100 ms later, each way.
 */
export const PROXY_FAULTS = ['drop', 'drop-requests', 'drop-replies', 'reset', 'silent', 'slow', 'late'] as const;
export type ProxyFault = (typeof PROXY_FAULTS)[number];

const LATE_MS = 100;
const STEP_MS = 10;
const SLOW_BYTES_A_STEP = 10;

export interface ProxyOptions {
  /** Where it listens; default: a free port of 127.0.0.1. */
  host?: string;
  port?: number;
}

/** A TCP proxy to one port of 127.0.0.1, whose fault is switched while it runs. */
export class FaultProxy {
  readonly #server: Server;
  readonly #target: number;
  readonly #pairs = new Set<Pair>();
  #fault: ProxyFault | undefined;
  #hits = 0;

  private constructor(target: number) {
    this.#target = target;
    this.#server = createServer((socket) => this.#take(socket));
  }

  static async start(target: number, { host = '127.0.0.1', port = 0 }: ProxyOptions = {}): Promise<FaultProxy> {
    const proxy = new FaultProxy(target);
    await new Promise<void>((resolve, reject) => {
      proxy.#server.once('error', reject);
      proxy.#server.listen(port, host, () => resolve());
    });
    return proxy;
  }

  get port(): number {
    const address = this.#server.address();
    return address !== null && typeof address === 'object' ? address.port : 0;
  }

  /** Connections that are open through it now. */
  get connections(): number {
    return this.#pairs.size;
  }

  get fault(): ProxyFault | undefined {
    return this.#fault;
  }

  /** Bytes that the present fault, or the last, has touched, and connections that it broke or took in vain. */
  get hits(): number {
    return this.#hits;
  }

  /** Another fault, or none. Counts its hits from 0, unless it is relieved: then they stay to be read. */
  set(fault: ProxyFault | undefined): void {
    this.#fault = fault;
    if (fault !== undefined) this.#hits = 0;
    for (const pair of [...this.#pairs]) {
      if (fault === 'reset') {
        this.#hits++;
        pair.reset();
      } else if (pair.holed) pair.reset();
      else pair.pump();
    }
  }

  hit(count: number): void {
    this.#hits += count;
  }

  async close(): Promise<void> {
    for (const pair of [...this.#pairs]) pair.reset();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #take(socket: Socket): void {
    socket.on('error', () => {});
    if (this.#fault === 'reset') {
      this.#hits++;
      socket.resetAndDestroy();
      return;
    }
    if (this.#fault === 'silent') this.#hits++;
    const pair = new Pair(this, socket, this.#target, () => this.#pairs.delete(pair));
    this.#pairs.add(pair);
  }
}

/** One connection through the proxy. */
class Pair {
  readonly #near: Socket;
  readonly #far: Socket;
  readonly #ways: Way[];
  /** Bytes of it were lost. */
  holed = false;

  constructor(proxy: FaultProxy, near: Socket, target: number, onOver: () => void) {
    this.#near = near;
    this.#far = connect(target, '127.0.0.1');
    this.#far.on('error', () => near.resetAndDestroy());
    for (const socket of [this.#near, this.#far]) socket.setNoDelay(true);
    const lose = (bytes: number) => {
      proxy.hit(bytes);
      this.holed = true;
    };
    const requests = new Way(proxy, near, this.#far, ['drop', 'drop-requests'], lose);
    const replies = new Way(proxy, this.#far, near, ['drop', 'drop-replies'], lose);
    this.#ways = [requests, replies];
    near.once('close', () => {
      onOver();
      requests.ended();
    });
    this.#far.once('close', () => replies.ended());
  }

  pump(): void {
    for (const way of this.#ways) way.pump();
  }

  reset(): void {
    this.#near.resetAndDestroy();
    this.#far.resetAndDestroy();
  }
}

interface Waiting {
  bytes: Buffer;
  /** Monotonic ms. */
  from: number;
}

/** One direction: what waits in it keeps its order, whatever the fault becomes. */
class Way {
  readonly #proxy: FaultProxy;
  readonly #to: Socket;
  readonly #lostBy: readonly ProxyFault[];
  readonly #lose: (bytes: number) => void;
  #queue: Waiting[] = [];
  #timer: NodeJS.Timeout | undefined;
  #ended = false;

  constructor(proxy: FaultProxy, from: Socket, to: Socket, lostBy: readonly ProxyFault[], lose: (bytes: number) => void) {
    this.#proxy = proxy;
    this.#to = to;
    this.#lostBy = lostBy;
    this.#lose = lose;
    from.on('data', (chunk: Buffer) => this.#take(chunk));
  }

  /** Nothing more comes; what waits still goes out. */
  ended(): void {
    this.#ended = true;
    this.pump();
  }

  pump(): void {
    const { fault } = this.#proxy;
    let budget = fault === 'slow' ? SLOW_BYTES_A_STEP : Number.POSITIVE_INFINITY;
    for (let next = this.#queue[0]; next && budget > 0 && this.#may(next); next = this.#queue[0]) {
      const bytes = next.bytes.subarray(0, budget);
      this.#to.write(bytes);
      budget -= bytes.length;
      if (bytes.length === next.bytes.length) this.#queue.shift();
      else next.bytes = next.bytes.subarray(bytes.length);
    }
    if (this.#queue.length > 0 && !this.#to.destroyed) this.#timer ??= setInterval(() => this.pump(), STEP_MS);
    else {
      clearInterval(this.#timer);
      this.#timer = undefined;
      this.#queue = [];
      // Under a silence the end of one side is not told to the other either.
      if (this.#ended && fault !== 'silent') this.#to.destroy();
    }
  }

  #may({ from }: Waiting): boolean {
    const { fault } = this.#proxy;
    return fault !== 'silent' && (fault !== 'late' || performance.now() - from >= LATE_MS);
  }

  #take(bytes: Buffer): void {
    const { fault } = this.#proxy;
    if (fault !== undefined && this.#lostBy.includes(fault)) return this.#lose(bytes.length);
    const held = fault === 'slow' || fault === 'late' || fault === 'silent';
    if (held) this.#proxy.hit(bytes.length);
    if (!held && this.#queue.length === 0) {
      this.#to.write(bytes);
      return;
    }
    this.#queue.push({ bytes, from: performance.now() });
    if (fault !== 'slow') this.pump();
    else this.#timer ??= setInterval(() => this.pump(), STEP_MS);
  }
}
