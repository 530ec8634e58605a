import { closeSync, existsSync, openSync, readSync } from 'node:fs';

/** One line of a client's history. `at`: ms since 1970. */
export type HistoryLine = { at: number; id: string } & (
  | { event: 'invoke'; pool: string; kind: string; payload: string; batch?: number }
  /** Acknowledged. */
  | { event: 'ok' }
  /** Refused for good. */
  | { event: 'fail'; error: string }
  /** Given up before any answer. */
  | { event: 'unknown'; error: string }
  /** Its end. `right`: with what it had to answer. */
  | { event: 'end'; state: string; right: boolean; attempt: number }
);

/** What a client knows of one job. Times are ms since 1970. */
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
  /** Its client died before it was told the end: nobody can say what it would have heard. */
  orphan?: true;
  /** Of which order of jobs beside the others. */
  batch?: number;
}

const CHUNK_BYTES = 1 << 20;

/** Reads what one life of a client appends to its file, and remembers how far. */
export class History {
  readonly operations = new Map<string, Operation>();
  readonly #file: string;
  #at = 0;
  #rest = '';

  constructor(file: string) {
    this.#file = file;
  }

  /** What was appended since the last call. A line that is not whole yet is left for the next. */
  read(): void {
    if (!existsSync(this.#file)) return;
    const file = openSync(this.#file, 'r');
    try {
      const chunk = Buffer.alloc(CHUNK_BYTES);
      for (let got = readSync(file, chunk, 0, CHUNK_BYTES, this.#at); got > 0; got = readSync(file, chunk, 0, CHUNK_BYTES, this.#at)) {
        this.#at += got;
        // A character may be cut in two here; names and numbers are what is read.
        const lines = (this.#rest + chunk.toString('latin1', 0, got)).split('\n');
        this.#rest = lines.pop() ?? '';
        for (const line of lines) this.#fold(JSON.parse(line) as HistoryLine);
      }
    } finally {
      closeSync(file);
    }
  }

  /** That life is over: what it had under way it will not say any more. */
  died(): void {
    this.read();
    for (const operation of this.operations.values()) {
      if (operation.ackedAt === undefined) operation.outcome ??= 'unknown';
      else if (operation.end === undefined) operation.orphan = true;
    }
  }

  #fold(line: HistoryLine): void {
    const { at, id } = line;
    if (line.event === 'invoke') {
      const { pool, kind, payload, batch } = line;
      this.operations.set(id, { pool, id, kind, payload, invokedAt: at, ...(batch === undefined ? {} : { batch }) });
      return;
    }
    const operation = this.operations.get(id);
    if (!operation) throw new Error(`${id} was not begun: ${JSON.stringify(line)}`);
    if (line.event === 'ok') operation.ackedAt = at;
    else if (line.event === 'end') operation.end = { at, state: line.state, right: line.right, attempt: line.attempt };
    else Object.assign(operation, { outcome: line.event, error: line.error });
  }
}
