import { systemIds } from '../domain/clock.js';
import { Assignment, type Result } from '../grpc/generated/muster/v1/common.js';
import { Attempts, Refusal } from './attempts.js';
import { wireOf } from './codec.js';
import { toDuration } from './duration.js';
import { type AbortWhy, JobCancelled, JobFailed } from './errors.js';
import type { Handlers } from './handlers.js';
import { type AnyJob, type InputSent, isMethod, type OutputReceived } from './job.js';

export interface TestRunOptions {
  id?: string;
  /** Default 1. */
  attempt?: number;
  metadata?: Record<string, string>;
  /** What an earlier attempt reported last: bytes, or a value as JSON. */
  lastProgress?: unknown;
  runTimeoutMs?: number;
}

/** An attempt under way. */
export interface TestRun<Output> {
  readonly id: string;
  /** Its output. Rejects with JobFailed (its `details` and `reason` as the handler said), JobCancelled when it was aborted as cancelled and did not finish. */
  readonly result: Promise<Output>;
  /** What it reported until now, oldest first. */
  readonly progress: readonly Buffer[];
  /** Aborts its signal, as the replica or the worker's end would. */
  abort(why?: AbortWhy): void;
}

export interface TestWorker {
  /** Runs one attempt and resolves with its output. */
  run<J extends AnyJob>(job: J, input: InputSent<J>, options?: TestRunOptions): Promise<OutputReceived<J>>;
  run<Output = unknown>(kind: string, input?: unknown, options?: TestRunOptions): Promise<Output>;
  /** Begins one attempt. */
  begin<J extends AnyJob>(job: J, input: InputSent<J>, options?: TestRunOptions): TestRun<OutputReceived<J>>;
  begin<Output = unknown>(kind: string, input?: unknown, options?: TestRunOptions): TestRun<Output>;
}

const POOL = 'test';
const SLOTS = 1_024;

/**
 * Runs the handlers of a worker in a test, with no replica and no connection: through the same codecs, abort signals, timeouts and failures.
 * The worker need not be started.
 */
export function testWorker({ handlers }: { handlers: Handlers }): TestWorker {
  let fence = 0;
  const begin = (job: string | AnyJob, input?: unknown, options: TestRunOptions = {}): TestRun<unknown> => {
    const name = typeof job === 'string' ? job : job.kind;
    const { id = systemIds.jobId() } = options;
    const progress: Buffer[] = [];
    const attempts = new Attempts(SLOTS, (assignment) => {
      const handler = handlers.handlerFor(assignment);
      return handler && ((context) => handler({ ...context, report: (bytes) => void progress.push(Buffer.from(bytes)) }));
    });
    const mine = String(++fence);
    let early: AbortWhy | undefined;
    const run = async () => {
      const wires = handlers.wires(name);
      const payload = wires === undefined ? Buffer.alloc(0) : await wires.input.toBytes(input);
      const running = attempts.execute(await assignmentOf(name, { ...options, id }, mine, payload));
      if (early !== undefined) attempts.abortNow(id, mine, early);
      return readResult(await running, options.attempt ?? 1, (bytes) => wires?.output.fromBytes(bytes));
    };
    const abort = (why: AbortWhy = 'cancelled') => {
      early = why;
      attempts.abortNow(id, mine, why);
    };
    return { id, result: run(), progress, abort };
  };
  return { begin, run: (job: string | AnyJob, input?: unknown, options?: TestRunOptions) => begin(job, input, options).result } as TestWorker;
}

async function assignmentOf(name: string, options: TestRunOptions & { id: string }, fence: string, payload: Buffer): Promise<Assignment> {
  const { id, attempt = 1, metadata = {}, lastProgress, runTimeoutMs } = options;
  const progress = lastProgress instanceof Uint8Array ? Buffer.from(lastProgress) : await wireOf(undefined, 'lastProgress').toBytes(lastProgress);
  return Assignment.fromPartial({
    jobId: id,
    fence,
    kind: isMethod(name) ? '' : name,
    method: isMethod(name) ? name : '',
    payload,
    metadata,
    attempt,
    runTimeout: runTimeoutMs === undefined ? undefined : toDuration(runTimeoutMs),
    progress,
  });
}

function readResult({ jobId, outcome }: Result, attempt: number, decode: (bytes: Buffer) => unknown): unknown {
  if (outcome?.$case === 'output') return decode(outcome.value);
  if (outcome === undefined) throw new Refusal(2, 'an attempt without an outcome');
  if (outcome.value.reason === 'aborted') throw new JobCancelled(POOL, jobId);
  throw new JobFailed(POOL, jobId, attempt, outcome.value);
}
