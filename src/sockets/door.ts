import { createServer, type Server as NetServer, type ServerOpts, type Socket } from 'node:net';
import type { Clock } from '../domain/clock.js';
import type { Listener, Observer, TurnedAway } from '../domain/observer.js';
import { TCP_KEEPALIVE_MS } from './kept-alive.js';
import type { ServerTls } from './tls.js';

export interface DoorLimits {
  /** Connections open at once; whoever comes beyond is closed before a byte is read of it. */
  maxConnections: number;
  /** HTTP/2 must have begun by then, after TLS where there is any. */
  prefaceMs: number;
  /** Whatever its peer does, a connection is over after so long: it was asked to go, and had its grace, before. undefined: none is. */
  lifeMs: number | undefined;
}

export interface DoorOptions {
  listener: Listener;
  limits: DoorLimits;
  clock: Clock;
  observer: Pick<Observer, 'connections' | 'turnedAway'>;
  /** Takes a connection over, secured already where it is to be. */
  enter: (socket: Socket) => void;
}

/** HTTP/2 begins with 24 bytes, and with the header of a frame SETTINGS right after them. */
const PREFACE_BYTES = 24 + 9;

/**
 * The sockets of one listener, from their arrival to their end. Who is on them nobody knows yet: they are bounded in number and in time here,
 * on the sockets themselves, and not by HTTP/2, whose polite end a peer may leave unanswered for ever.
 */
export class Door {
  readonly #options: DoorOptions;
  readonly #sockets = new Set<Socket>();
  #server: NetServer | undefined;

  constructor(options: DoorOptions) {
    this.#options = options;
  }

  /** Resolves with the port; rejects when it cannot have it. Without `tls` in plaintext. */
  listen(host: string, port: number, tls: ServerTls | undefined): Promise<number> {
    const server = tls === undefined ? this.#plain() : this.#secured(tls);
    server.maxConnections = this.#options.limits.maxConnections;
    server.on('connection', (socket) => this.#keep(socket));
    server.on('drop', (dropped) => this.#turnAway('full', dropped?.remoteAddress));
    return new Promise((resolve, reject) => {
      // After it listens: a connection that could not be accepted (no more descriptors) is its peer's to make anew.
      server.on('error', reject);
      server.listen({ host, port }, () => {
        this.#server = server;
        const { listener, observer } = this.#options;
        observer.connections(listener, this.#sockets.size);
        const bound = server.address();
        resolve(bound !== null && typeof bound === 'object' ? bound.port : 0);
      });
    });
  }

  /** Nobody comes in any more; who is in stays. */
  close(): void {
    this.#server?.close();
    this.#server = undefined;
  }

  /** Ends every connection, whatever is under way on it. */
  destroy(): void {
    this.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  #plain(): NetServer {
    return createServer({ ...SOCKETS, pauseOnConnect: true }, (socket) => {
      this.#enter(socket);
      // Only now that somebody listens to it.
      socket.resume();
    });
  }

  #secured(tls: ServerTls): NetServer {
    const server = tls.serve(SOCKETS);
    server.on('secureConnection', (socket) => {
      // grpc-js listens to the session alone; a socket's error that nobody hears ends the process.
      socket.on('error', () => undefined);
      this.#enter(socket);
    });
    server.on('tlsClientError', ({ code }: NodeJS.ErrnoException, socket) => {
      // A peer that goes by itself, as balancers do that only look whether somebody listens, was not turned away.
      if (code !== 'ECONNRESET') this.#turnAway('tls', socket.remoteAddress);
      socket.destroy();
    });
    return server;
  }

  #keep(socket: Socket): void {
    const { listener, limits, clock, observer } = this.#options;
    this.#sockets.add(socket);
    observer.connections(listener, this.#sockets.size);
    const stop = limits.lifeMs === undefined ? undefined : clock.after(limits.lifeMs, () => socket.destroy());
    socket.once('close', () => {
      stop?.();
      this.#sockets.delete(socket);
      observer.connections(listener, this.#sockets.size);
    });
  }

  #enter(socket: Socket): void {
    const { limits, clock, enter } = this.#options;
    const { remoteAddress } = socket;
    const stop = clock.after(limits.prefaceMs, () => {
      // Under TLS these are the bytes that were sealed in it.
      if (socket.bytesRead >= PREFACE_BYTES) return;
      this.#turnAway('silent', remoteAddress);
      socket.destroy();
    });
    socket.once('close', stop);
    enter(socket);
  }

  #turnAway(why: TurnedAway, peer = ''): void {
    const { listener, observer } = this.#options;
    observer.turnedAway(listener, why, peer);
  }
}

/** Where nobody says otherwise. */
export const DOOR_LIMITS: DoorLimits = { maxConnections: 20_000, prefaceMs: 10_000, lifeMs: undefined };

const SOCKETS: ServerOpts = { noDelay: true, keepAlive: true, keepAliveInitialDelay: TCP_KEEPALIVE_MS };
