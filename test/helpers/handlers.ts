import { type AttemptContext, type Handler, PermanentError } from '../../src/sdk/attempts.js';

/** One line of a worker's log: an execution began, or is over. */
export interface Note {
  event: 'start' | 'end';
  worker: string;
  jobId: string;
  fence: string;
  attempt: number;
  /** How it ended; '' at its start. */
  how: '' | 'done' | 'failed' | 'aborted';
  /** ms since 1970. */
  at: number;
  /** Which process of that worker; absent: it has one. */
  life?: number;
}

const pause = (ms: number, signal: AbortSignal) =>
  new Promise<void>((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    const abort = () => {
      clearTimeout(timer);
      reject(new Error('aborted'));
    };
    signal.addEventListener('abort', abort, { once: true });
    if (signal.aborted) abort();
  });

/**
 * What the tests' RUNNER workers can do. echo: the payload. slow: the payload's number of ms, then the payload; it listens to the abort.
 * deaf: the same, and does not listen. fail, fail-permanent: as named. flaky: fails before the payload's number of attempts.
 * big: the payload's number of bytes. context: what the attempt was told, as JSON.
 */
const kinds: Record<string, Handler> = {
  echo: async ({ payload }) => payload,
  slow: async ({ payload, signal }) => {
    await pause(Number(payload), signal);
    return payload;
  },
  deaf: async ({ payload }) => {
    await pause(Number(payload), new AbortController().signal);
    return payload;
  },
  fail: async () => {
    throw new Error('told to fail');
  },
  'fail-permanent': async () => {
    throw new PermanentError('told to fail for good');
  },
  flaky: async ({ payload, attempt }) => {
    if (attempt < Number(payload)) throw new Error(`attempt ${attempt} of ${payload}`);
    return payload;
  },
  big: async ({ payload }) => Buffer.alloc(Number(payload), 'x'),
  context: async ({ jobId, attempt, payload, metadata, progress }) =>
    Buffer.from(JSON.stringify({ jobId, attempt, payload: payload.toString(), metadata, progress: progress.toString() })),
};

/** The handlers, each telling of its beginning and end. `more`: kinds of one test alone. */
export function handlers(worker: string, note: (note: Note) => void, more: Record<string, Handler> = {}): Record<string, Handler> {
  const told = (handler: Handler) => async (context: AttemptContext) => {
    const { jobId, fence, attempt } = context;
    const say = (event: Note['event'], how: Note['how']) => note({ event, worker, jobId, fence, attempt, how, at: Date.now() });
    say('start', '');
    try {
      const output = await handler(context);
      say('end', 'done');
      return output;
    } catch (error) {
      say('end', context.signal.aborted ? 'aborted' : 'failed');
      throw error;
    }
  };
  return Object.fromEntries(Object.entries({ ...kinds, ...more }).map(([kind, handler]) => [kind, told(handler)]));
}

/** Executions that were begun more than once under one fence: there must be none. */
export function doubles(notes: readonly Note[]): string[] {
  const seen = new Set<string>();
  const twice: string[] = [];
  for (const { event, jobId, fence, worker } of notes) {
    if (event !== 'start') continue;
    const key = `${jobId} ${fence}`;
    if (seen.has(key)) twice.push(`${key} on ${worker}`);
    seen.add(key);
  }
  return twice;
}

/** Pairs of executions of one job whose times overlap. */
export function overlaps(notes: readonly Note[]): string[] {
  const running = new Map<string, string>();
  const found: string[] = [];
  for (const { event, jobId, fence } of [...notes].sort((a, b) => a.at - b.at)) {
    const other = running.get(jobId);
    if (event === 'end' && other === fence) running.delete(jobId);
    if (event !== 'start') continue;
    if (other !== undefined) found.push(`${jobId}: ${fence} began while ${other} ran`);
    running.set(jobId, fence);
  }
  return found;
}
