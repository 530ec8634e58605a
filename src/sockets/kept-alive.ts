import type { Socket } from 'node:net';
import { ChannelCredentials } from '@grpc/grpc-js';

/**
 * A connection of which nothing is heard for so long is asked by the kernel, ten times a second apart, and closed if nothing answers. The kernel
 * does not ask while something that was sent waits to be acknowledged: then it repeats that, for a quarter of an hour.
 */
export const TCP_KEEPALIVE_MS = 15_000;

/**
 * Channel credentials for one channel, as those that are handed in, whose connections are kept alive by TCP; and a hold on their sockets.
 *
 * grpc-js has pings of its own (`grpc.keepalive_time_ms`). A connection that has been asked to go (GOAWAY: its peer stops, or it is old)
 * takes none, grpc-js takes that for a dead peer, and cuts off what is still under way on it (grpc-node's issue 3068). It has no option for
 * TCP's keepalive; but whatever secures a connection is handed its socket first, in plaintext too.
 */
export class KeptAlive extends ChannelCredentials {
  readonly #inner: ChannelCredentials;
  readonly #sockets = new Set<Socket>();

  constructor(inner: ChannelCredentials) {
    super();
    this.#inner = inner;
  }

  override _isSecure(): boolean {
    return this.#inner._isSecure();
  }

  override _equals(other: ChannelCredentials): boolean {
    return this === other;
  }

  override _createSecureConnector(...args: ConnectorArgs): Connector {
    const inner = this.#inner._createSecureConnector(...args);
    return {
      connect: (socket) => {
        socket.setKeepAlive(true, TCP_KEEPALIVE_MS);
        this.#sockets.add(socket);
        socket.once('close', () => this.#sockets.delete(socket));
        return inner.connect(socket);
      },
      waitForReady: () => inner.waitForReady(),
      getCallCredentials: () => inner.getCallCredentials(),
      destroy: () => inner.destroy(),
    };
  }

  /** Breaks every connection of the channel, and with it the calls that are open on it. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }
}

type ConnectorArgs = Parameters<ChannelCredentials['_createSecureConnector']>;
type Connector = ReturnType<ChannelCredentials['_createSecureConnector']>;
