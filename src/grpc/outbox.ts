/** The writable half of a stream, as grpc-js has it. */
export interface FrameStream<Frame> {
  /** false: full; wait for `drain`. `sent`: called when HTTP/2 has taken it. */
  write(frame: Frame, sent?: () => void): boolean;
  on(event: 'drain', listener: () => void): unknown;
}

interface Parcel {
  kind: string;
  items: unknown[];
  bytes: number;
}

/** The size of an item that is a frame of its own. */
export const ALONE = Number.MAX_SAFE_INTEGER;
/** A frame's bounds, as the contracts say them. */
const MAX_ITEMS = 64;
const MAX_BYTES = 262_144;
/** Frames above that are counted until HTTP/2 has taken them. */
const LARGE_BYTES = 16_384;
/** So many bytes of large frames are handed to HTTP/2 at once. */
const MAX_UNSENT_BYTES = 1_048_576;
/** With so many bytes in it, an outbox is full; beyond the second bound it takes nothing large any more. */
const FULL_BYTES = 4_194_304;
const OVERFULL_BYTES = 16_777_216;
/** Beyond so many bytes in all outboxes of a replica, a part of that is enough. */
const TOTAL_BYTES = 134_217_728;
const PART = 16;

/** Bytes in all outboxes of one replica. */
export class Backlog {
  bytes = 0;
}

/**
 * What waits to be written on one stream, in order. Items of one kind that come in the same turn of the event loop, or while the peer
 * does not read, go into one frame. Whoever pushes heeds `full`: it stops reading what the peer asks for, and leaves large items in Redis.
 */
export class Outbox<Frame, Items extends { [Kind in keyof Items]: unknown }> {
  readonly #stream: FrameStream<Frame>;
  readonly #frame: <Kind extends keyof Items & string>(kind: Kind, items: Items[Kind][]) => Frame;
  readonly #queue: Parcel[] = [];
  readonly #onRoom: () => void;
  #writable = true;
  /** In the queue, by the size that was told of each item. */
  #queuedBytes = 0;
  #unsentBytes = 0;
  readonly #backlog: Backlog;
  #scheduled = false;
  #closed = false;

  /** `onRoom`: called when the peer has read, and the outbox is not full. `backlog`: shared by the outboxes of a replica. */
  constructor(
    stream: FrameStream<Frame>,
    frame: <Kind extends keyof Items & string>(kind: Kind, items: Items[Kind][]) => Frame,
    onRoom: () => void = () => undefined,
    backlog = new Backlog(),
  ) {
    this.#backlog = backlog;
    this.#stream = stream;
    this.#frame = frame;
    this.#onRoom = onRoom;
    stream.on('drain', () => {
      this.#writable = true;
      this.#flushed();
    });
  }

  /** The peer does not read what it was sent before. */
  get full(): boolean {
    return this.#exceeds(FULL_BYTES) || (!this.#writable && this.#queue.length > 0);
  }

  /** The peer does not read, and there is no room for its large items. */
  get overfull(): boolean {
    return this.#exceeds(OVERFULL_BYTES);
  }

  #exceeds(most: number): boolean {
    const bytes = this.#queuedBytes + this.#unsentBytes;
    return bytes >= most || (this.#backlog.bytes >= TOTAL_BYTES && bytes >= most / PART);
  }

  push<Kind extends keyof Items & string>(kind: Kind, item: Items[Kind], bytes = 0): void {
    if (this.#closed) return;
    if (bytes !== ALONE) {
      this.#queuedBytes += bytes;
      this.#backlog.bytes += bytes;
    }
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

  /** Nothing waits: the peer reads as fast as frames come. */
  get idle(): boolean {
    return this.#queue.length === 0;
  }

  /** Nothing is written any more. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#queue.length = 0;
    this.#backlog.bytes -= this.#queuedBytes + this.#unsentBytes;
    this.#queuedBytes = 0;
    this.#unsentBytes = 0;
  }

  /** Writes what waits, as far as the peer reads. */
  #flush(): void {
    while (this.#writable && this.#unsentBytes < MAX_UNSENT_BYTES) {
      const parcel = this.#queue.shift();
      if (!parcel) return;
      const bytes = parcel.bytes === ALONE ? 0 : parcel.bytes;
      this.#queuedBytes -= bytes;
      const frame = this.#frame(parcel.kind as keyof Items & string, parcel.items as Items[keyof Items & string][]);
      if (bytes <= LARGE_BYTES) {
        this.#backlog.bytes -= bytes;
        this.#writable = this.#stream.write(frame);
      } else {
        this.#unsentBytes += bytes;
        this.#writable = this.#stream.write(frame, () => this.#sent(bytes));
      }
    }
  }

  #sent(bytes: number): void {
    if (this.#closed) return;
    this.#unsentBytes -= bytes;
    this.#backlog.bytes -= bytes;
    this.#flushed();
  }

  #flushed(): void {
    this.#flush();
    if (!this.#closed && !this.full) this.#onRoom();
  }
}
