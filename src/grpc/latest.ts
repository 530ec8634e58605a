import type { ServerWritableStream } from '@grpc/grpc-js';
import { toStatus } from './status.js';

/** A stream of states of which only the last one counts: a slow reader is owed that one alone, so nothing queues up for it. */
export class LatestWriter<Request, State> {
  readonly #call: ServerWritableStream<Request, State>;
  readonly #onEnd: () => void;
  #writable = true;
  #owed: { state: State } | undefined;
  #ended: boolean;

  /** `onEnd`: called once, and never before this returns, when the reader has gone or the stream was ended here. */
  constructor(call: ServerWritableStream<Request, State>, onEnd: () => void) {
    this.#call = call;
    this.#onEnd = onEnd;
    this.#ended = call.cancelled;
    call.on('drain', () => this.#drained());
    for (const event of ['cancelled', 'close', 'error']) call.once(event, () => this.#end());
  }

  /** The reader has gone, or the stream was ended here. */
  get ended(): boolean {
    return this.#ended;
  }

  /** Does nothing once it has ended. */
  send(state: State): void {
    if (this.#ended) return;
    if (this.#writable) this.#writable = this.#call.write(state);
    else this.#owed = { state };
  }

  /** Ends the stream with OK. Idempotent. */
  close(): void {
    if (this.#end()) this.#call.end();
  }

  /** Ends the stream with that error. Idempotent. */
  fail(thrown: unknown): void {
    if (this.#end()) this.#call.emit('error', toStatus(thrown));
  }

  #end(): boolean {
    if (this.#ended) return false;
    this.#ended = true;
    this.#onEnd();
    return true;
  }

  #drained(): void {
    this.#writable = true;
    const owed = this.#owed;
    this.#owed = undefined;
    if (owed !== undefined) this.send(owed.state);
  }
}
