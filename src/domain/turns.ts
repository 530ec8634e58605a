/** So many at once, in the order in which they came. What begins is begun in a turn of the event loop of its own. */
export class Turns {
  readonly #most: number;
  readonly #queue: (() => void)[] = [];
  #begun = 0;
  #scheduled = false;

  constructor(most: number) {
    this.#most = most;
  }

  /** Begun and waiting. */
  get size(): number {
    return this.#begun + this.#queue.length;
  }

  async run<T>(task: () => Promise<T>): Promise<T> {
    await new Promise<void>((resolve) => {
      this.#queue.push(resolve);
      this.#next();
    });
    try {
      return await task();
    } finally {
      this.#begun--;
      this.#next();
    }
  }

  #next(): void {
    if (this.#scheduled || this.#queue.length === 0 || this.#begun >= this.#most) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#begun++;
      this.#queue.shift()?.();
      this.#next();
    });
  }
}
