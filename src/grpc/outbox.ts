/** The writable half of a stream, as grpc-js has it. */
export interface FrameStream<Frame> {
  /** false: full; wait for `drain`. */
  write(frame: Frame): boolean;
  on(event: 'drain', listener: () => void): unknown;
}

interface Parcel {
  kind: string;
  items: unknown[];
  bytes: number;
}

/** A frame's bounds, as the contracts say them. */
const MAX_ITEMS = 64;
const MAX_BYTES = 262_144;

/**
 * What waits to be written on one stream, in order. Items of one kind that come in the same turn of the event loop, or while the peer
 * does not read, go into one frame. It is not bounded by itself: whoever pushes is (slots, unsettled results, the window).
 */
export class Outbox<Frame, Items extends { [Kind in keyof Items]: unknown }> {
  readonly #stream: FrameStream<Frame>;
  readonly #frame: <Kind extends keyof Items & string>(kind: Kind, items: Items[Kind][]) => Frame;
  readonly #queue: Parcel[] = [];
  #writable = true;
  #scheduled = false;
  #closed = false;

  constructor(stream: FrameStream<Frame>, frame: <Kind extends keyof Items & string>(kind: Kind, items: Items[Kind][]) => Frame) {
    this.#stream = stream;
    this.#frame = frame;
    stream.on('drain', () => {
      this.#writable = true;
      this.#flush();
    });
  }

  /** Items that the peer has not been sent yet. */
  get waiting(): number {
    return this.#queue.reduce((sum, { items }) => sum + items.length, 0);
  }

  push<Kind extends keyof Items & string>(kind: Kind, item: Items[Kind], bytes = 0): void {
    if (this.#closed) return;
    const last = this.#queue.at(-1);
    if (last?.kind === kind && last.items.length < MAX_ITEMS && last.bytes + bytes <= MAX_BYTES) {
      last.items.push(item);
      last.bytes += bytes;
    } else {
      this.#queue.push({ kind, items: [item], bytes });
    }
    if (this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      this.#flush();
    });
  }

  /** Nothing is written any more. */
  close(): void {
    this.#closed = true;
    this.#queue.length = 0;
  }

  /** Writes what waits, as far as the peer reads. */
  #flush(): void {
    while (this.#writable) {
      const parcel = this.#queue.shift();
      if (!parcel) return;
      this.#writable = this.#stream.write(this.#frame(parcel.kind as keyof Items & string, parcel.items as Items[keyof Items & string][]));
    }
  }
}
