import { type Client, type ClientDuplexStream, type Metadata, type ServiceError, status } from '@grpc/grpc-js';
import type { Clock, Random } from '../domain/clock.js';
import type { Access } from './access.js';
import { ApiError, toApiError } from './api-error.js';
import { CHANNEL } from './connect.js';
import { pickOne } from './pick-order.js';

/** A bidirectional method, as generated definitions describe it. */
export interface PipeMethod<Out, In> {
  path: string;
  requestSerialize: (value: Out) => Buffer;
  responseDeserialize: (value: Buffer) => In;
}

export interface PipeEvents<In> {
  frame(frame: In): void;
  /** It takes frames again. */
  writable(): void;
  /** It is over; told once, never after `cut`. */
  closed(error: ApiError): void;
}

/** A connection is there by then, or another one is tried: a peer that takes connections and never speaks would keep us for ever. */
const READY_MS = 5_000;
/** A peer that was told goodbye ends its side by then. */
const LINGER_MS = 2_000;

/** One stream over a channel of its own, so that what stands between can choose anew. It opens with `connect`. */
export class Pipe<Out, In> {
  private readonly client: Client;
  private call: ClientDuplexStream<Out, In> | undefined;
  private full = false;
  private ending = false;
  private over = false;

  constructor(
    private readonly access: Access,
    private readonly events: PipeEvents<In>,
    private readonly clock: Clock,
    random: Random,
    /** Addresses (`host:port`) that are tried last. */
    avoid: ReadonlySet<string>,
  ) {
    this.client = access.client({ ...CHANNEL, ...pickOne(random, avoid) });
  }

  /**
   * Resolves when the peer is connected, with what is to go along with the stream. Rejects with ApiError UNAVAILABLE when it is not in time, and
   * as `Access.headers` does.
   */
  async ready(): Promise<Metadata> {
    await this.connected();
    const headers = await this.access.headers(READY_MS);
    if (this.over) throw new ApiError(status.UNAVAILABLE, '', 'no connection: given up');
    return headers;
  }

  private connected(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.client.waitForReady(this.clock.now() + READY_MS, (error) => {
        if (error === undefined && !this.over) return resolve();
        reject(new ApiError(status.UNAVAILABLE, '', `no connection: ${error?.message ?? 'given up'}`));
      });
    });
  }

  /** Opens the stream and writes its first frame. */
  open({ path, requestSerialize, responseDeserialize }: PipeMethod<Out, In>, first: Out, headers: Metadata): void {
    const call = this.client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, headers);
    this.call = call;
    call.on('data', (frame: In) => {
      if (!this.over) this.events.frame(frame);
    });
    call.on('drain', () => {
      this.full = false;
      if (this.writable) this.events.writable();
    });
    call.on('error', (error: ServiceError) => this.closed(toApiError(error)));
    call.on('status', ({ code }: { code: number }) => {
      if (code === status.OK) this.closed(new ApiError(status.UNAVAILABLE, 'ENDED', 'the replica ended the stream'));
    });
    this.write(first);
  }

  /** The address that the stream goes to, `host:port`; undefined before it is open. */
  get peer(): string | undefined {
    return this.call?.getPeer();
  }

  get isOver(): boolean {
    return this.over;
  }

  get writable(): boolean {
    return this.call !== undefined && !this.full && !this.ending && !this.over;
  }

  write(frame: Out): void {
    if (this.call === undefined || this.ending || this.over) return;
    this.full = !this.call.write(frame);
  }

  /** Nothing more comes from us; what the peer still says is heard until it ends, or for two seconds. */
  end(): void {
    if (this.ending || this.over) return;
    this.ending = true;
    if (this.call === undefined) return this.cut();
    this.call.end();
    this.clock.after(LINGER_MS, () => this.cut());
  }

  /** Ends it now, telling nobody. Idempotent. */
  cut(): void {
    if (this.over) return;
    this.over = true;
    this.call?.cancel();
    this.client.close();
  }

  private closed(error: ApiError): void {
    if (this.over) return;
    this.over = true;
    this.client.close();
    this.events.closed(error);
  }
}
