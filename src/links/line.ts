import type { SecureContext } from 'node:tls';
import { type ChannelCredentials, Client, type ClientOptions, connectivityState } from '@grpc/grpc-js';
import { KeptAlive } from '../sockets/kept-alive.js';

/** One connection to a worker: a grpc-js client, how many calls are open on it, and its end. */
export class Line {
  readonly client: Client;
  /** What it is secured with; undefined: plaintext. */
  readonly context: SecureContext | undefined;
  /** It was not seen READY yet. */
  fresh = true;
  /** Told each time that no call is open any more. */
  onIdle: (() => void) | undefined;
  readonly #sockets: KeptAlive;
  #open = 0;

  constructor(target: string, secured: ChannelCredentials, context: SecureContext | undefined, options: ClientOptions) {
    this.#sockets = new KeptAlive(secured);
    this.client = new Client(target, this.#sockets, options);
    this.context = context;
  }

  /** Asks nothing: only what is known. */
  get state(): connectivityState {
    return this.client.getChannel().getConnectivityState(false);
  }

  get ready(): boolean {
    return this.state === connectivityState.READY;
  }

  get open(): number {
    return this.#open;
  }

  /** Once for each call on its client; once for each end of one follows. */
  began(): void {
    this.#open++;
  }

  ended(): void {
    if (--this.#open === 0) this.onIdle?.();
  }

  /** Says goodbye to the worker. Open calls go on to their end, those that still wait for the connection end now. Idempotent. */
  close(): void {
    this.client.close();
  }

  /** Breaks the connection: open calls end as broken. */
  cut(): void {
    this.#sockets.cut();
  }
}
