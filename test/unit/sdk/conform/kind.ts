import { setTimeout as pause } from 'node:timers/promises';
import type { Work } from '../../../../src/sdk/conform/types.js';
import { PermanentError } from '../../../../src/sdk/errors.js';

interface Attempt {
  payload: Buffer;
  attempt: number;
  signal: AbortSignal;
}

/** The kind that a worker adds to be tested, as docs/workers.md describes it. */
export function conformKind(): (attempt: Attempt) => Promise<Buffer> {
  let runs = 0;
  return async ({ payload, attempt, signal }) => {
    const run = ++runs;
    const { sleep_ms = 0, fail, permanent, echo = '' } = JSON.parse(payload.toString()) as Work;
    await pause(sleep_ms, undefined, { signal });
    if (fail) throw permanent ? new PermanentError('told to fail') : new Error('told to fail');
    return Buffer.from(`${echo} ${attempt} ${run}`);
  };
}
