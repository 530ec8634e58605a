import { MusterError } from '../domain/errors.js';
import type { Caller, Task } from './fair-share.js';
import { forgetMessage } from './forget-message.js';

/** The readable half of a stream. */
export interface RequestStream<Message> {
  read(): Message | null;
  on(event: 'readable' | 'drain', listener: () => void): unknown;
}

export interface IntakeOptions<Message> {
  /** Does what one message says. Never throws. */
  take: (message: Message) => void;
  /** The peer does not read: what it asks for would be answered into memory. `wake` when it does. */
  full: () => boolean;
}

/** What one stream may have in work. Its peer feels the bound as HTTP/2 flow control: the stream is not read until something ends. */
const LARGE_BYTES = 4_096;
const STREAM = { items: 256, calls: 8, bytes: 8 * 1024 * 1024 };

/**
 * Reads a stream of requests, a message at a time, when it is its caller's turn, and only while what it said before does not wait for too
 * much. Every message counts, whatever it turns out to be.
 */
export class Intake<Message> implements Task {
  readonly #stream: RequestStream<Message>;
  readonly #caller: Caller;
  readonly #options: IntakeOptions<Message>;
  readonly #held = { items: 0, calls: 0, bytes: 0 };
  /** In the queue of its caller, or at work. */
  #ready = false;
  #blocked = false;
  #over = false;

  constructor(stream: RequestStream<Message>, caller: Caller, options: IntakeOptions<Message>) {
    this.#stream = stream;
    this.#caller = caller;
    this.#options = options;
    stream.on('readable', () => this.#wake());
  }

  /** Messages of the peer may wait to be read. */
  get unread(): boolean {
    return this.#ready || this.#blocked;
  }

  /** It has asked for that much. */
  hold(what: 'items' | 'calls' | 'bytes', n = 1): void {
    if (this.#over) return;
    this.#held[what] += n;
    this.#caller.hold(what, n);
  }

  /** So much of it was answered. */
  release(what: 'items' | 'calls' | 'bytes', n = 1): void {
    if (this.#over) return;
    this.#held[what] -= n;
    this.#caller.release(what, n);
    if (this.#blocked) this.#wake();
  }

  /** Holds a call until it has ended, however it does. */
  async during<T>(asking: Promise<T>): Promise<T> {
    this.hold('calls');
    try {
      return await asking;
    } finally {
      this.release('calls');
    }
  }

  /** There may be room again: the peer reads, or its caller has less in work. */
  readonly wake = (): void => {
    if (this.#blocked) this.#wake();
  };

  step(): boolean {
    if (this.#over) return false;
    if (this.#isFull()) {
      this.#ready = false;
      this.#blocked = true;
      return false;
    }
    const message = this.#stream.read();
    if (message === null) this.#ready = false;
    else {
      if (Buffer.isBuffer(message) && message.length > LARGE_BYTES) forgetMessage(this.#stream);
      this.#options.take(message);
    }
    this.#caller.passOn();
    return message !== null;
  }

  /** Nothing is read any more, and nothing is held. */
  stop(): void {
    if (this.#over) return;
    this.#over = true;
    this.#caller.unblock(this.wake);
    for (const what of ['items', 'calls', 'bytes'] as const) if (this.#held[what] > 0) this.#caller.release(what, this.#held[what]);
    this.#caller.leave();
  }

  #isFull(): boolean {
    const { items, calls, bytes } = this.#held;
    if (items >= STREAM.items || calls >= STREAM.calls || bytes >= STREAM.bytes || this.#options.full()) return true;
    if (this.#caller.hasRoom) return false;
    this.#caller.block(this.wake);
    return true;
  }

  #wake(): void {
    if (this.#ready || this.#over) return;
    this.#ready = true;
    this.#blocked = false;
    this.#caller.ready(this);
  }
}

/** A message of a stream. Throws `invalid_argument` for bytes that are none. */
export function decoded<Message>(decode: (bytes: Buffer) => Message, bytes: Buffer): Message {
  try {
    return decode(bytes);
  } catch {
    throw new MusterError(
      'invalid_argument',
      'MALFORMED',
      'a message of the stream cannot be decoded: the stream and its peer speak different protos',
    );
  }
}
