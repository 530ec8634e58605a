import { setMaxListeners } from 'node:events';
import { setTimeout as pause } from 'node:timers/promises';
import { JobRequest, JobResponse } from '../../src/grpc/generated/job/job.js';
import { type Job, JobState } from '../../src/grpc/generated/muster/v1/job.js';
import { ApiError } from '../../src/sdk/api-error.js';
import { type Api, connect } from '../../src/sdk/connect.js';
import { toDuration } from '../../src/sdk/duration.js';
import { isEnd, jobSpec, waitToEnd } from '../../src/sdk/run.js';
import { LEGACY_POOL, POOL } from './fleet.js';

/** What a client knows of one job. Times are monotonic ms. */
export interface Operation {
  pool: string;
  id: string;
  kind: string;
  payload: string;
  invokedAt: number;
  /** It was acknowledged. */
  ackedAt?: number;
  /** What was the matter with it: refused for good, or never acknowledged. */
  outcome?: 'fail' | 'unknown';
  error?: string;
  /** Its end as its client was told. `right`: with what it had to answer. */
  end?: { at: number; state: string; right: boolean; attempt: number };
}

export interface LoadOptions {
  target: string;
  /** Begins the ids of its jobs. */
  name: string;
  draw: () => number;
}

const CLIENTS = 4;
const OUTSTANDING = 4;
/** A call without an answer by then is made again: a replica may stand still. */
const CALL_MS = 2_000;
const RETRY_MS = 50;
const RUN_MS = { least: 5, most: 40, long: 800 };
const LONG_EVERY = 25;
const ATTEMPTS = 10;
/** A job that ends its worker is not tried for so long. */
const POISON_ATTEMPTS = 3;

/** Four clients, each with a channel of its own, that keep jobs under way; and what they saw. */
export class Load {
  readonly operations: Operation[] = [];
  readonly #options: LoadOptions;
  readonly #apis: Api[];
  readonly #ending = new AbortController();
  readonly #giveUp = new AbortController();
  readonly #under = new Set<Promise<void>>();

  constructor(options: LoadOptions) {
    this.#options = options;
    // Every job under way listens to it.
    setMaxListeners(0, this.#giveUp.signal);
    this.#apis = Array.from({ length: CLIENTS }, () => connect(options.target));
  }

  get ended(): number {
    return this.operations.filter(({ end }) => end !== undefined).length;
  }

  start(): void {
    this.#apis.forEach((api, client) => {
      // One of the four is for the legacy workers.
      const pool = client === CLIENTS - 1 ? LEGACY_POOL : POOL;
      for (let i = 0; i < OUTSTANDING; i++) this.#keep(this.#lane(api, pool));
    });
  }

  /** Jobs beside the others. `delayMs`: all due at that one moment from now. Resolves when all are acknowledged, or given up. */
  async more(count: number, kind: string, payload: string, delayMs = 0): Promise<Operation[]> {
    const [api] = this.#apis;
    if (!api) throw new Error('no client');
    const notBefore = delayMs > 0 ? new Date(Date.now() + delayMs) : undefined;
    const acked: Promise<Operation>[] = Array.from({ length: count }, async () => {
      const operation = this.#begin(POOL, kind, payload);
      await this.#submit(api, operation, notBefore);
      if (operation.ackedAt !== undefined) this.#keep(this.#end(api, operation));
      return operation;
    });
    return Promise.all(acked);
  }

  /** No more jobs; resolves when what is under way has ended, or after `waitMs`. */
  async stop(waitMs: number): Promise<void> {
    this.#ending.abort();
    const late = new AbortController();
    const all = async () => {
      while (this.#under.size > 0) await Promise.all(this.#under);
    };
    await Promise.race([all(), pause(waitMs, undefined, { signal: late.signal }).catch(() => {})]);
    late.abort();
    this.#giveUp.abort();
    await all();
    for (const api of this.#apis) api.close();
  }

  #keep(doing: Promise<void>): void {
    this.#under.add(doing);
    void doing.finally(() => this.#under.delete(doing));
  }

  async #lane(api: Api, pool: string): Promise<void> {
    const { draw } = this.#options;
    while (!this.#ending.signal.aborted) {
      const long = draw() * LONG_EVERY < 1;
      const ms = long ? RUN_MS.long : RUN_MS.least + Math.floor(draw() * (RUN_MS.most - RUN_MS.least));
      const operation = this.#begin(pool, 'slow', String(ms));
      await this.#submit(api, operation);
      if (operation.ackedAt !== undefined) await this.#end(api, operation);
    }
  }

  #begin(pool: string, kind: string, payload: string): Operation {
    const operation: Operation = { pool, id: `${this.#options.name}-${this.operations.length}`, kind, payload, invokedAt: performance.now() };
    this.operations.push(operation);
    return operation;
  }

  /** The same submission under the same id until it is answered. */
  async #submit(api: Api, operation: Operation, notBefore?: Date): Promise<void> {
    const { pool, id, kind, payload } = operation;
    const legacy = pool === LEGACY_POOL;
    const spec = jobSpec({
      id,
      pool,
      work: legacy ? { $case: 'method', value: '/job.JobService/RunJob' } : { $case: 'kind', value: kind },
      payload: legacy ? Buffer.from(JobRequest.encode(JobRequest.fromPartial({ jobId: id, contextDir: payload })).finish()) : Buffer.from(payload),
      retry: { maxAttempts: kind === 'poison' ? POISON_ATTEMPTS : ATTEMPTS, initialBackoff: toDuration(20), maxBackoff: toDuration(200) },
      notBefore,
    });
    while (!this.#giveUp.signal.aborted) {
      try {
        await api.submitJob({ spec }, { deadlineMs: CALL_MS });
        operation.ackedAt = performance.now();
        return;
      } catch (error) {
        operation.error = String(error);
        if (!(error instanceof ApiError) || !(error.broken || error.codeName === 'RESOURCE_EXHAUSTED')) {
          operation.outcome = 'fail';
          return;
        }
        await pause(RETRY_MS);
      }
    }
    operation.outcome = 'unknown';
  }

  async #end(api: Api, operation: Operation): Promise<void> {
    const { pool, id, payload } = operation;
    try {
      const job = await waitToEnd(api, pool, id, { signal: this.#giveUp.signal, giveUpMs: Number.POSITIVE_INFINITY, chunkMs: CALL_MS });
      if (!isEnd(job.state)) return;
      operation.end = { at: performance.now(), state: JobState[job.state], right: answered(job, pool, id, payload), attempt: job.attempt };
    } catch (error) {
      operation.error = String(error);
    }
  }
}

function answered({ outcome }: Job, pool: string, id: string, payload: string): boolean {
  if (outcome?.$case !== 'output') return false;
  return pool === LEGACY_POOL ? JobResponse.decode(outcome.value).jobId === id : outcome.value.toString() === payload;
}
