import { setMaxListeners } from 'node:events';
import { appendFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout as pause } from 'node:timers/promises';
import { JobRequest, JobResponse } from '../../src/grpc/generated/job/job.js';
import { type Job, JobState } from '../../src/grpc/generated/muster/v1/job.js';
import { ApiError } from '../../src/sdk/api-error.js';
import { connect } from '../../src/sdk/connect.js';
import { toDuration } from '../../src/sdk/duration.js';
import { isEnd, jobSpec, waitToEnd } from '../../src/sdk/run.js';
import type { HistoryLine } from './history.js';
import { drawFrom } from './random.js';
import { maxAttempts, NEVER, NEVER_RUN_MS } from './work.js';

/** A client of the chaos as a process of its own: keeps jobs under way, and notes what it was told. Its settings stand in CLIENT, as JSON. */
interface Settings {
  target: string;
  id: string;
  pool: string;
  /** Its jobs are of the first contract. */
  legacy: boolean;
}

/** One line of stdin. `start`, and after its `stop` (and `give-up`: what is under way is not waited for) it says `rested`; then the next. */
export type Order =
  | { do: 'start'; name: string; seed: number; file: string }
  /** Jobs beside the others. `delayMs`: all due at that one moment from now; `askAfterMs`: their ends are asked for only then. */
  | { do: 'more'; batch: number; count: number; kind: string; payload: string; delayMs: number; askAfterMs: number }
  | { do: 'stop' }
  | { do: 'give-up' };

const OUTSTANDING = 4;
/** A call without an answer by then is made again: a replica may stand still. */
const CALL_MS = 2_000;
const RETRY_MS = 50;
const RUN_MS = { least: 5, most: 40, long: 800 };
const LONG_EVERY = 25;
/** What takes longer says so: the default of the replicas, scaled, is 30 s. */
const USUAL_RUN_MS = 15_000;

const { target, id: client, pool, legacy } = JSON.parse(process.env['CLIENT'] ?? '{}') as Settings;
const say = (msg: string, more: Record<string, unknown> = {}) => process.stdout.write(`${JSON.stringify({ msg, id: client, ...more })}\n`);
const api = connect(target);

interface Work {
  kind: string;
  payload: string;
  notBefore?: Date;
  batch?: number;
  askAfterMs?: number;
}

type Told = HistoryLine extends infer L ? (L extends unknown ? Omit<L, 'at'> : never) : never;

/** One trial's part. */
class Shift {
  readonly #name: string;
  readonly #file: string;
  readonly #draw: () => number;
  readonly #ending = new AbortController();
  readonly #giveUp = new AbortController();
  readonly #under = new Set<Promise<void>>();
  #next = 0;

  constructor({ name, seed, file }: Order & { do: 'start' }) {
    this.#name = name;
    this.#file = file;
    this.#draw = drawFrom(seed);
    // Every job under way listens to it.
    setMaxListeners(0, this.#giveUp.signal);
    for (let i = 0; i < OUTSTANDING; i++) this.#keep(this.#lane());
  }

  more({ batch, count, kind, payload, delayMs, askAfterMs }: Order & { do: 'more' }): void {
    const due = delayMs > 0 ? { notBefore: new Date(Date.now() + delayMs) } : {};
    for (let i = 0; i < count; i++) this.#keep(this.#run({ kind, payload, batch, askAfterMs, ...due }));
  }

  giveUp(): void {
    this.#ending.abort();
    this.#giveUp.abort();
  }

  /** No more jobs; resolves with its name when nothing is under way. */
  async stop(): Promise<string> {
    this.#ending.abort();
    while (this.#under.size > 0) await Promise.all(this.#under);
    return this.#name;
  }

  #keep(doing: Promise<void>): void {
    this.#under.add(doing);
    void doing.finally(() => this.#under.delete(doing));
  }

  #note(line: Told): void {
    appendFileSync(this.#file, `${JSON.stringify({ at: Date.now(), ...line })}\n`);
  }

  async #lane(): Promise<void> {
    while (!this.#ending.signal.aborted) {
      const long = this.#draw() * LONG_EVERY < 1;
      const ms = long ? RUN_MS.long : RUN_MS.least + Math.floor(this.#draw() * (RUN_MS.most - RUN_MS.least));
      await this.#run({ kind: 'slow', payload: String(ms) });
    }
  }

  async #run(work: Work): Promise<void> {
    const id = `${this.#name}-${this.#next++}`;
    const { kind, payload, batch, askAfterMs = 0 } = work;
    this.#note({ event: 'invoke', id, pool, kind, payload, ...(batch === undefined ? {} : { batch }) });
    if (!(await this.#submit(id, work))) return;
    if (askAfterMs > 0) await pause(askAfterMs, undefined, { signal: this.#giveUp.signal }).catch(() => {});
    await this.#end(id, payload);
  }

  /** The same submission under the same id until it is answered. true: it was acknowledged. */
  async #submit(id: string, { kind, payload, notBefore }: Work): Promise<boolean> {
    const long = kind === 'slow' && Number(payload) > USUAL_RUN_MS ? Number(payload) : 0;
    const spec = jobSpec({
      id,
      pool,
      work: legacy ? { $case: 'method', value: '/job.JobService/RunJob' } : { $case: 'kind', value: kind },
      payload: legacy ? Buffer.from(JobRequest.encode(JobRequest.fromPartial({ jobId: id, contextDir: payload })).finish()) : Buffer.from(payload),
      retry: { maxAttempts: maxAttempts(kind), initialBackoff: toDuration(20), maxBackoff: toDuration(200) },
      runTimeout: kind === NEVER ? toDuration(NEVER_RUN_MS) : long > 0 ? toDuration(2 * long) : undefined,
      notBefore,
    });
    let last = '';
    while (!this.#giveUp.signal.aborted) {
      try {
        await api.submitJob({ spec }, { deadlineMs: CALL_MS });
        this.#note({ event: 'ok', id });
        return true;
      } catch (error) {
        last = String(error);
        if (!(error instanceof ApiError) || !(error.broken || error.codeName === 'RESOURCE_EXHAUSTED')) {
          this.#note({ event: 'fail', id, error: last });
          return false;
        }
        await pause(RETRY_MS);
      }
    }
    this.#note({ event: 'unknown', id, error: last });
    return false;
  }

  async #end(id: string, payload: string): Promise<void> {
    try {
      const job = await waitToEnd(api, pool, id, { signal: this.#giveUp.signal, giveUpMs: Number.POSITIVE_INFINITY, chunkMs: CALL_MS });
      if (isEnd(job.state)) this.#note({ event: 'end', id, state: JobState[job.state], right: answered(job, id, payload), attempt: job.attempt });
    } catch (error) {
      say('untold', { job: id, error: String(error) });
    }
  }
}

function answered({ outcome }: Job, id: string, payload: string): boolean {
  if (outcome?.$case !== 'output') return false;
  return legacy ? JobResponse.decode(outcome.value).jobId === id : outcome.value.toString() === payload;
}

let shift: Shift | undefined;
// Without a trial it has nothing else to live for.
process.stdin.ref();
createInterface({ input: process.stdin }).on('line', (line) => {
  const order = JSON.parse(line) as Order;
  if (order.do === 'start') shift = new Shift(order);
  else if (order.do === 'more') shift?.more(order);
  else if (order.do === 'give-up') shift?.giveUp();
  else void shift?.stop().then((name) => say('rested', { name }));
});
say('waiting');
