import { Code } from '../domain/job.js';
import type { Assignment } from '../grpc/generated/muster/v1/common.js';
import type { AttemptContext, Handler } from './attempts.js';
import { fromJson, toJson, type Wire, wireOf } from './codec.js';
import { AttemptError, CodecError, PermanentError } from './errors.js';
import { type AnyJob, isMethod } from './job.js';

/** What a handler knows of its attempt, and can say of it. */
export interface JobContext {
  readonly id: string;
  /** 1 for the first. */
  readonly attempt: number;
  /** Grows with each attempt of the job: what the work writes elsewhere can be guarded by it. */
  readonly fence: string;
  /** '' for a job that names a method. */
  readonly kind: string;
  /** '' for a job that names a kind. */
  readonly method: string;
  readonly metadata: Readonly<Record<string, string>>;
  /** Aborted when the attempt is not wanted any more; its reason is a JobAborted, which says why. */
  readonly signal: AbortSignal;
  /** What an earlier attempt reported last; empty: nothing. */
  readonly lastProgress: Buffer;
  /** The same for progress that was reported as JSON. Throws CodecError for bytes that are none. */
  lastProgressJson(): unknown;
  /**
   * How far it is: bytes as they are, anything else as JSON; ≤ 4 KiB. The newest is kept with the job, within a second or with the next beat,
   * and handed to the next attempt. Throws CodecError for what is too large.
   */
  progress(value: unknown): void;
}

export type JobHandler<Input = unknown, Output = unknown> = (input: Input, context: JobContext) => Output | Promise<Output>;

/** Told of each attempt that a handler ended by throwing, its signal not aborted. */
export type OnFailed = (job: { id: string; kind: string; attempt: number }, error: unknown) => void;

interface Entry {
  input: Wire;
  output: Wire;
  run: JobHandler<never>;
}

const PROGRESS_MAX = 4_096;

/** A worker's handlers, by kind or method. */
export class Handlers {
  private readonly entries = new Map<string, Entry>();
  private fallback: Entry | undefined;

  constructor(private readonly onFailed: OnFailed = () => {}) {}

  add(job: AnyJob, run: JobHandler<never>): void {
    if (this.entries.has(job.kind)) throw new TypeError(`${job.kind}: has a handler already`);
    this.entries.set(job.kind, entryOf(job, run));
  }

  addFallback(run: JobHandler<Buffer, Uint8Array>): void {
    if (this.fallback !== undefined) throw new TypeError('there is a fallback handler already');
    this.fallback = entryOf({ kind: 'fallback', input: 'bytes', output: 'bytes' }, run);
  }

  get size(): number {
    return this.entries.size + (this.fallback === undefined ? 0 : 1);
  }

  kinds(): string[] {
    return [...this.entries.keys()].filter((name) => !isMethod(name));
  }

  /** Of that name; undefined: nobody handles it. */
  wires(name: string): { input: Wire; output: Wire } | undefined {
    return this.entries.get(name) ?? this.fallback;
  }

  /** The handler of an assignment, from its bytes to its bytes. */
  handlerFor({ kind, method }: Pick<Assignment, 'kind' | 'method'>): Handler | undefined {
    const entry = this.entries.get(kind === '' ? method : kind) ?? this.fallback;
    return entry === undefined ? undefined : (context) => this.run(entry, context);
  }

  private async run({ input, output, run }: Entry, context: AttemptContext): Promise<Buffer> {
    const { jobId: id, kind, method, attempt, payload } = context;
    try {
      // What arrives has the handler's own type: its codec has made it.
      const value = (await readInput(input, payload)) as never;
      // Its codec took its time.
      if (context.aborted) context.signal.throwIfAborted();
      const answer = await run(value, contextOf(context));
      return await writeOutput(output, answer);
    } catch (error) {
      if (!context.aborted) this.onFailed({ id, kind: kind === '' ? method : kind, attempt }, error);
      throw error;
    }
  }
}

function entryOf({ kind, input, output }: AnyJob, run: JobHandler<never>): Entry {
  return { input: wireOf(input, `input of ${kind}`), output: wireOf(output, `output of ${kind}`), run };
}

/** The same bytes would be refused again. */
async function readInput(wire: Wire, payload: Buffer): Promise<unknown> {
  try {
    return await wire.fromBytes(payload);
  } catch (cause) {
    if (!(cause instanceof CodecError)) throw cause;
    throw new PermanentError(cause.message, { code: Code.INVALID_ARGUMENT, reason: 'invalid_input', cause });
  }
}

/** The handler's mistake, which it may not make again. */
async function writeOutput(wire: Wire, value: unknown): Promise<Buffer> {
  try {
    return await wire.toBytes(value);
  } catch (cause) {
    if (!(cause instanceof CodecError)) throw cause;
    throw new AttemptError(cause.message, { code: Code.INTERNAL, reason: 'invalid_output', cause });
  }
}

function contextOf(from: AttemptContext): JobContext {
  const { jobId, attempt, fence, kind, method, metadata, progress: last, report } = from;
  const what = `progress of job ${jobId}`;
  return {
    id: jobId,
    attempt,
    fence,
    kind,
    method,
    metadata,
    get signal() {
      return from.signal;
    },
    lastProgress: last,
    lastProgressJson: () => fromJson(last, what),
    progress: (value) => {
      const bytes = value instanceof Uint8Array ? value : toJson(value, what);
      if (bytes.length > PROGRESS_MAX) throw new CodecError(`${what}: has ${bytes.length} bytes, ${PROGRESS_MAX} are the most`);
      report(bytes);
    },
  };
}
