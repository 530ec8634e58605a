/** Jobs whose results are still to come, by id. */
export class Waiting {
  readonly #jobs = new Map<string, { resolve: () => void; reject: (error: Error) => void }>();

  /** `right`: the only result that is no error. */
  constructor(private readonly right: unknown) {}

  for(id: string): Promise<void> {
    return new Promise((resolve, reject) => this.#jobs.set(id, { resolve, reject }));
  }

  ended(id: string, result: unknown): void {
    if (result !== this.right) return this.failed(id, new Error(`a job ended otherwise than it should: ${JSON.stringify(result)}`));
    this.#jobs.get(id)?.resolve();
    this.#jobs.delete(id);
  }

  failed(id: string, error: Error): void {
    this.#jobs.get(id)?.reject(error);
    this.#jobs.delete(id);
  }
}

/** Collects the jobs of one turn of the event loop, and submits them at once. */
export class Batch {
  #ids: string[] = [];

  constructor(
    private readonly submit: (ids: string[]) => Promise<void>,
    private readonly waiting: Waiting,
  ) {}

  add(id: string): void {
    if (this.#ids.push(id) === 1) setImmediate(() => void this.#flush());
  }

  async #flush(): Promise<void> {
    const ids = this.#ids;
    this.#ids = [];
    try {
      await this.submit(ids);
    } catch (error) {
      for (const id of ids) this.waiting.failed(id, error as Error);
    }
  }
}
