import { randomUUID } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { type Job, JobState } from '../../src/grpc/generated/muster/v1/job.js';
import { ApiError } from '../../src/sdk/api-error.js';
import type { Api } from '../../src/sdk/connect.js';
import { toDuration } from '../../src/sdk/duration.js';
import { isEnd, jobSpec, runToEnd } from '../../src/sdk/run.js';

export interface LoadOptions {
  api: Api;
  pool: string;
  /** How many clients, each one job after the other. */
  clients: number;
  kind: string;
  payload: () => string;
  /** `end`: `runToEnd`. `plain`: one RunJob, and what it answers is what it answers. */
  as: 'end' | 'plain';
}

export interface Refused {
  id: string;
  error: ApiError;
  tookMs: number;
}

const EMPTY_PAUSE_MS = 20;

/** Clients that submit jobs and wait for each, until told to stop. */
export class Load {
  readonly #options: LoadOptions;
  readonly #stop = new AbortController();
  readonly #clients: Promise<void>[];
  /** Jobs whose end was told to their client. */
  readonly ended = new Map<string, Job>();
  /** Jobs that were acknowledged by an answer, but not their end. */
  readonly open: string[] = [];
  readonly refused: Refused[] = [];
  /** What was neither an answer nor an ApiError. */
  readonly broken: unknown[] = [];

  constructor(options: LoadOptions) {
    this.#options = options;
    this.#clients = Array.from({ length: options.clients }, () => this.#client());
  }

  get count(): number {
    return this.ended.size;
  }

  /** Resolves when every client has its last answer. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#clients);
  }

  /** Ids of the jobs that did not succeed with the payload that they had. */
  get wrong(): string[] {
    return [...this.ended]
      .filter(([, job]) => job.state !== JobState.JOB_STATE_SUCCEEDED)
      .map(([id, { state, attempt }]) => `${id} ${JobState[state]} ${attempt}`);
  }

  async #client(): Promise<void> {
    const { as } = this.#options;
    while (!this.#stop.signal.aborted) {
      const id = randomUUID();
      const began = performance.now();
      try {
        const job = await (as === 'end' ? this.#toEnd(id) : this.#plain(id));
        if (isEnd(job.state)) this.ended.set(id, job);
        else this.open.push(id);
      } catch (error) {
        if (!(error instanceof ApiError)) {
          this.broken.push(error);
          continue;
        }
        this.refused.push({ id, error, tookMs: performance.now() - began });
        await pause(EMPTY_PAUSE_MS);
      }
    }
  }

  #spec(id: string) {
    const { pool, kind, payload } = this.#options;
    // Attempts must not be what saves a job here.
    return jobSpec({
      id,
      pool,
      work: { $case: 'kind', value: kind },
      payload: Buffer.from(payload()),
      retry: { maxAttempts: 10, initialBackoff: toDuration(20) },
    });
  }

  #toEnd(id: string): Promise<Job> {
    return runToEnd(this.#options.api, this.#spec(id));
  }

  async #plain(id: string): Promise<Job> {
    const { job } = await this.#options.api.runJob({ spec: this.#spec(id), wait: undefined, cancelOnDisconnect: false });
    if (!job) throw new Error('no job in the answer');
    return job;
  }
}
