import { createServer, type Server as NetServer } from 'node:net';
import { Server, type ServerCredentials } from '@grpc/grpc-js';

/** A connection of which nothing is heard for so long is asked by the kernel, ten times a second apart, and closed if nothing answers. */
const TCP_KEEPALIVE_MS = 20_000;

/**
 * A gRPC server on sockets of its own, kept alive by TCP.
 *
 * grpc-js has pings of its own (`grpc.keepalive_time_ms`), and they must stay off on a server: a connection that has been asked to go (by its age, or
 * because the server stops) takes no ping, grpc-js takes that for a dead peer, and cuts off whatever is still under way on it, twenty
 * seconds into a grace of minutes.
 */
export class TcpServer extends Server {
  readonly #doors = new Set<NetServer>();

  /** Listens at `host:port` ([…] around an IPv6 address). Resolves with the port; rejects when it cannot have it. */
  listen(address: string, credentials: ServerCredentials): Promise<number> {
    const injector = this.createConnectionInjector(credentials);
    const options = { pauseOnConnect: true, noDelay: true, keepAlive: true, keepAliveInitialDelay: TCP_KEEPALIVE_MS };
    const door = createServer(options, (socket) => {
      injector.injectConnection(socket);
      // Only now that somebody listens to it.
      socket.resume();
    });
    const colon = address.lastIndexOf(':');
    const host = address.slice(0, colon).replace(/^\[|\]$/g, '');
    return new Promise((resolve, reject) => {
      // After it listens: a connection that could not be accepted (no more descriptors) is its peer's to make anew.
      door.on('error', reject);
      door.listen({ host, port: Number(address.slice(colon + 1)) }, () => {
        this.#doors.add(door);
        const bound = door.address();
        resolve(bound !== null && typeof bound === 'object' ? bound.port : 0);
      });
    });
  }

  override tryShutdown(callback: (error?: Error) => void): void {
    this.#shut();
    super.tryShutdown(callback);
  }

  override forceShutdown(): void {
    this.#shut();
    super.forceShutdown();
  }

  #shut(): void {
    for (const door of this.#doors) door.close();
    this.#doors.clear();
  }
}
