import { Client } from '../../src/sdk/index.js';

export interface LoadOptions {
  target: string;
  pool: string;
  clients: number;
  /** Jobs under way at once, a client. */
  outstanding: number;
}

/** What became of one job, as its client sees it. */
export interface Call {
  id: string;
  /** Whose, from 0. */
  client: number;
  /** Its place among all; what the job must answer. */
  n: number;
  /** Monotonic ms. */
  begunAt: number;
  end?: { at: number; output: unknown } | { at: number; error: unknown };
}

/** Most take 5 to 50 ms; one in so many takes so long that it runs through a change of replica. */
const LONG_EVERY = 50;
const LONG_MS = 3_000;

/** Clients that submit the next job as soon as one has ended, until told to stop. */
export class Load {
  readonly calls: Call[] = [];
  readonly #options: LoadOptions;
  readonly #clients: Client[];
  #running: Promise<unknown> = Promise.resolve();
  #ending = false;
  #ended = 0;

  constructor(options: LoadOptions) {
    this.#options = options;
    this.#clients = Array.from({ length: options.clients }, () => new Client({ target: options.target }));
  }

  get ended(): number {
    return this.#ended;
  }

  start(): void {
    const { outstanding } = this.#options;
    this.#running = Promise.all(this.#clients.flatMap((_, client) => Array.from({ length: outstanding }, () => this.#keepOne(client))));
  }

  /** No more jobs. Resolves when all have ended, or after `waitMs`; then closes the clients. */
  async stop(waitMs: number): Promise<void> {
    this.#ending = true;
    let late: NodeJS.Timeout | undefined;
    await Promise.race([this.#running, new Promise((resolve) => (late = setTimeout(resolve, waitMs)))]);
    clearTimeout(late);
    // What has not ended by now is lost; that its wait ends with the client is no end.
    for (const call of this.calls) if (call.end === undefined) Object.freeze(call);
    await Promise.all(this.#clients.map((client) => client.close()));
  }

  async #keepOne(client: number): Promise<void> {
    while (!this.#ending) {
      const n = this.calls.length;
      const call: Call = { id: `job-${n}`, client, n, begunAt: performance.now() };
      this.calls.push(call);
      const ms = n % LONG_EVERY === 0 ? LONG_MS : 5 + ((n * 31) % 46);
      const running =
        this.#clients[client]?.run('step', { n, ms }, { pool: this.#options.pool, id: call.id }) ?? Promise.reject(new Error('no client'));
      const end = await running.then(
        (output) => ({ at: performance.now(), output }),
        (error: unknown) => ({ at: performance.now(), error }),
      );
      if (Object.isFrozen(call)) return;
      call.end = end;
      this.#ended++;
    }
  }
}
