import { systemIds } from '../../domain/clock.js';
import { ApiError } from '../../sdk/api-error.js';
import type { Api } from '../../sdk/connect.js';
import { legacyRequest, legacyResponse } from '../../sdk/legacy-worker.js';
import { type Job, JobState } from '../../sdk/messages.js';
import { runToEnd } from '../../sdk/run.js';
import type { OwnHashes } from './files.js';
import { HASH_POOL, LEGACY_POOL } from './fleet.js';

/** One job a file, over and over the files until there are enough and nothing more is waited for; a bounded number at once. */
export interface LoadOptions {
  api: Api;
  files: readonly string[];
  hashes: OwnHashes;
  /** So many jobs of kind sha256 at the least. */
  wanted: number;
  signal: AbortSignal;
  /** Told of the first of each kind of trouble. */
  tell: (line: string) => void;
}

/** What came of the jobs. */
export interface Tally {
  jobs: number;
  succeeded: number;
  mismatched: number;
  /** Begun, of all jobs. */
  attempts: number;
  /** Jobs that have ended, one way or another; and those of kind sha256 among them. */
  ended: number;
  hashed: number;
  /** From submission to result, ms, of those that succeeded. */
  latenciesMs: number[];
}

/** Outstanding jobs of kind sha256, and for the workers of the first contract. */
const OUTSTANDING = 64;
const LEGACY_OUTSTANDING = 8;
/** About every so manieth file goes to a worker of the first contract too. */
const LEGACY_EVERY = 10;
const LEGACY_METHOD = '/job.JobService/RunJob';

interface Work {
  pool: string;
  work: { $case: 'kind' | 'method'; value: string };
  metadata?: Record<string, string>;
  priority?: number;
}

export class Load {
  readonly tally: Tally = { jobs: 0, succeeded: 0, mismatched: 0, attempts: 0, ended: 0, hashed: 0, latenciesMs: [] };
  readonly #options: LoadOptions;
  readonly #legacy = new Set<Promise<void>>();
  readonly #told = new Set<string>();
  #next = 0;

  constructor(options: LoadOptions) {
    this.#options = options;
  }

  /** Goes on for as long as `more` says so, and until `wanted` jobs were submitted. Resolves when all have ended; never rejects for a job. */
  async run(more: () => boolean): Promise<void> {
    const { files, wanted, signal } = this.#options;
    const lane = async () => {
      while (!signal.aborted && (this.#next < wanted || more())) {
        const index = this.#next++;
        const path = files[index % files.length] ?? '';
        if (index % LEGACY_EVERY === 0 && this.#legacy.size < LEGACY_OUTSTANDING) this.#startLegacy(path);
        await this.hash(path, systemIds.jobId());
      }
    };
    await Promise.all(Array.from({ length: OUTSTANDING }, lane));
    await Promise.all(this.#legacy);
  }

  /** One job of kind sha256 under that id, to its end. With `forMs` the worker hashes the file over and over for so long. */
  hash(path: string, id: string, forMs?: number): Promise<void> {
    const work: Work = { pool: HASH_POOL, work: { $case: 'kind', value: 'sha256' } };
    if (forMs !== undefined) Object.assign(work, { metadata: { for_ms: String(forMs) }, priority: 3 });
    return this.#run(id, path, work, Buffer.from(path), (output) => output.toString());
  }

  #startLegacy(path: string): void {
    const id = systemIds.jobId();
    const payload = legacyRequest({ jobId: id, contextDir: path });
    const read = (output: Buffer) => {
      const { jobId, logs } = legacyResponse(output);
      return jobId === id ? logs : `the answer of job ${jobId}`;
    };
    const ended = this.#run(id, path, { pool: LEGACY_POOL, work: { $case: 'method', value: LEGACY_METHOD } }, payload, read);
    this.#legacy.add(ended);
    void ended.finally(() => this.#legacy.delete(ended));
  }

  async #run(id: string, path: string, work: Work, payload: Buffer, hashOf: (output: Buffer) => string): Promise<void> {
    const { api, signal, hashes } = this.#options;
    const { tally } = this;
    tally.jobs++;
    const start = performance.now();
    try {
      const job = await runToEnd(api, { id, payload, ...work }, { signal });
      const tookMs = performance.now() - start;
      tally.attempts += job.attempt;
      if (job.state === JobState.JOB_STATE_SUCCEEDED && job.outcome?.$case === 'output') {
        tally.succeeded++;
        tally.latenciesMs.push(tookMs);
        if (!(await hashes.agrees(path, hashOf(job.outcome.value)))) this.#mismatched(path, job);
      } else this.#trouble(`${work.pool}: job ${id} did not succeed: ${failureOf(job)}`);
    } catch (error) {
      if (!signal.aborted) this.#trouble(`${work.pool}: job ${id}: ${error instanceof ApiError ? `${error.codeName}: ` : ''}${String(error)}`);
    }
    tally.ended++;
    if (work.pool === HASH_POOL) tally.hashed++;
  }

  #mismatched(path: string, job: Job): void {
    this.tally.mismatched++;
    this.#trouble(`${job.worker} hashed ${path} otherwise than the demo`);
  }

  /** A few lines say what is wrong; thousands would hide it. */
  #trouble(line: string): void {
    if (this.#told.size >= 5) return;
    this.#told.add(line);
    this.#options.tell(line);
  }
}

function failureOf({ state, outcome }: Job): string {
  return outcome?.$case === 'failure' ? `${outcome.value.reason}: ${outcome.value.message}` : (JobState[state] ?? String(state));
}
