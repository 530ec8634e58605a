import { randomUUID } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { ApiError } from '../../src/sdk/api-error.js';
import type { Api } from '../../src/sdk/connect.js';
import { jobSpec } from '../../src/sdk/run.js';

const PAUSE_MS = 20;

/** Submits without waiting; whatever was acknowledged must end well. */
export class Submitter {
  readonly acknowledged: string[] = [];
  readonly refused: { error: ApiError; tookMs: number; at: number }[] = [];
  readonly #stop = new AbortController();
  readonly #clients: Promise<void>[];

  constructor(
    private readonly api: Api,
    private readonly pool: string,
    clients: number,
  ) {
    this.#clients = Array.from({ length: clients }, () => this.#client());
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#clients);
  }

  async #client(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      const id = randomUUID();
      const began = performance.now();
      try {
        await this.api.submitJob({
          spec: jobSpec({ id, pool: this.pool, work: { $case: 'kind', value: 'slow' }, payload: Buffer.from('10'), retry: { maxAttempts: 10 } }),
        });
        this.acknowledged.push(id);
      } catch (error) {
        if (!(error instanceof ApiError)) throw error;
        this.refused.push({ error, tookMs: performance.now() - began, at: began });
      }
      await pause(PAUSE_MS);
    }
  }
}
