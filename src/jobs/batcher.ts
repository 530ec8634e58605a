import { MusterError, toError } from '../domain/errors.js';

export interface BatcherOptions<I, O> {
  /** Answers one for each item, in their order. */
  run: (items: I[]) => Promise<O[]>;
  sizeOf: (item: I) => number;
  maxItems: number;
  maxBytes: number;
  /** Beyond it `add` rejects with `resource_exhausted` TOO_MANY_WAITING. */
  maxQueue: number;
  /** Nothing is queued and no call is under way. */
  onIdle?: () => void;
}

interface Entry<I, O> {
  item: I;
  size: number;
  resolve: (output: O) => void;
  reject: (error: Error) => void;
}

/**
 * Group commit: one call in flight, and all that arrives meanwhile is the next batch. No timer: an idle batcher costs no latency, a busy
 * one fills its batches by itself.
 */
export class Batcher<I, O> {
  readonly #options: BatcherOptions<I, O>;
  #queue: Entry<I, O>[] = [];
  #running = false;

  constructor(options: BatcherOptions<I, O>) {
    this.#options = options;
  }

  get queued(): number {
    return this.#queue.length;
  }

  add(item: I): Promise<O> {
    return new Promise((resolve, reject) => {
      if (this.#queue.length >= this.#options.maxQueue) {
        reject(
          new MusterError('resource_exhausted', 'TOO_MANY_WAITING', 'this replica has more calls under way than it may queue', { retryAfterMs: 200 }),
        );
        return;
      }
      this.#queue.push({ item, size: this.#options.sizeOf(item), resolve, reject });
      if (this.#running) return;
      this.#running = true;
      // What arrives in the same turn of the event loop goes along.
      queueMicrotask(() => void this.#drain());
    });
  }

  async #drain(): Promise<void> {
    while (this.#queue.length > 0) {
      const batch = this.#next();
      try {
        const outputs = await this.#options.run(batch.map(({ item }) => item));
        batch.forEach(({ resolve }, i) => {
          resolve(outputs[i] as O);
        });
      } catch (thrown) {
        const error = toError(thrown);
        for (const { reject } of batch) reject(error);
      }
    }
    this.#running = false;
    this.#options.onIdle?.();
  }

  #next(): Entry<I, O>[] {
    const { maxItems, maxBytes } = this.#options;
    let bytes = 0;
    let n = 0;
    for (const { size } of this.#queue) {
      bytes += size;
      // One that is too large for any batch goes alone.
      if (n > 0 && (n >= maxItems || bytes > maxBytes)) break;
      n++;
    }
    const batch = this.#queue.slice(0, n);
    this.#queue = this.#queue.slice(n);
    return batch;
  }
}

/** One batcher a pool that has calls under way: an idle one is dropped, so that names which callers invent cost nothing after. */
export class PoolBatchers<I, O> {
  readonly #make: (pool: string) => BatcherOptions<I, O>;
  readonly #batchers = new Map<string, Batcher<I, O>>();

  constructor(make: (pool: string) => BatcherOptions<I, O>) {
    this.#make = make;
  }

  /** Pools that have calls under way. */
  get size(): number {
    return this.#batchers.size;
  }

  add(pool: string, item: I): Promise<O> {
    let batcher = this.#batchers.get(pool);
    if (!batcher) {
      batcher = new Batcher({ ...this.#make(pool), onIdle: () => this.#batchers.delete(pool) });
      this.#batchers.set(pool, batcher);
    }
    return batcher.add(item);
  }
}
