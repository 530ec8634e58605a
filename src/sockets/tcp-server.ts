import type { Http2Server } from 'node:http2';
import type { Socket } from 'node:net';
import { Server, ServerCredentials, type ServerOptions } from '@grpc/grpc-js';
import { systemClock } from '../domain/clock.js';
import { withoutEndlessTimeout } from '../domain/deadline.js';
import { UNOBSERVED } from '../domain/observer.js';
import { DOOR_LIMITS, Door, type DoorOptions } from './door.js';
import type { ServerTls } from './tls.js';

export type TcpOptions = Omit<DoorOptions, 'enter'>;

/**
 * A gRPC server on sockets, and under TLS, of its own: grpc-js gets what has come through the door. The sockets are kept alive by TCP.
 *
 * grpc-js has pings of its own (`grpc.keepalive_time_ms`), and they must stay off on a server: a connection that has been asked to go (by its age, or
 * because the server stops, or by its client) takes no ping, grpc-js takes that for a dead peer, and cuts off whatever is still under way on it,
 * seconds into a grace of minutes.
 */
export class TcpServer extends Server {
  readonly #options: TcpOptions;
  readonly #doors = new Set<Door>();

  constructor(options?: ServerOptions, door: Partial<TcpOptions> = {}) {
    super(options);
    const inside = this as unknown as { createHttp2Server(credentials: ServerCredentials): Http2Server };
    const create = inside.createHttp2Server.bind(this);
    // Before grpc-js reads them: it counts a timeout in 32 bits.
    inside.createHttp2Server = (credentials) => create(credentials).prependListener('stream', (_, headers) => withoutEndlessTimeout(headers));
    this.#options = { listener: 'grpc', limits: DOOR_LIMITS, clock: systemClock, observer: UNOBSERVED, ...door };
  }

  /** Listens at `host:port` ([…] around an IPv6 address), in plaintext without `tls`. Resolves with the port; rejects when it cannot have it. */
  async listen(address: string, tls?: ServerTls): Promise<number> {
    // For grpc-js all is plaintext: it sees by the socket itself that it is one of TLS, and whose certificate was shown on it.
    const injector = this.createConnectionInjector(ServerCredentials.createInsecure());
    const door = new Door({ ...this.#options, enter: (socket: Socket) => injector.injectConnection(socket) });
    const colon = address.lastIndexOf(':');
    const port = await door.listen(address.slice(0, colon).replace(/^\[|\]$/g, ''), Number(address.slice(colon + 1)), tls);
    this.#doors.add(door);
    return port;
  }

  override tryShutdown(callback: (error?: Error) => void): void {
    for (const door of this.#doors) door.close();
    super.tryShutdown((error) => {
      // Those who had not come as far as to a session.
      this.#destroy();
      callback(error);
    });
  }

  override forceShutdown(): void {
    super.forceShutdown();
    this.#destroy();
  }

  #destroy(): void {
    for (const door of this.#doors) door.destroy();
    this.#doors.clear();
  }
}
