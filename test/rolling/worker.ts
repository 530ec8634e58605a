import { openSync, writeSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { Worker } from '../../src/sdk/index.js';

/**
 * The drill's workers, all in this process, each with a stream of its own: `worker.ts TARGET POOL WORKERS SLOTS LOG`. Into the log goes a line
 * for each beginning and end of an attempt, and for each change of its replica. SIGTERM drains them.
 */
const [target = '', pool = '', count = '', slots = '', file = ''] = process.argv.slice(2);
const log = openSync(file, 'a');
const note = (...words: (string | number)[]) => void writeSync(log, `${words.join(' ')}\n`);

const workers = Array.from({ length: Number(count) }, (_, i) =>
  new Worker({ target, pool, id: `w${i + 1}`, slots: Number(slots) })
    .on('attached', ({ replica }) => note('attached', `w${i + 1}`, replica))
    .on('detached', ({ error }) => note('cut', `w${i + 1}`, JSON.stringify(error.message)))
    .on('error', (error) => note('trouble', `w${i + 1}`, JSON.stringify(error.message)))
    .handle('step', async ({ n, ms }: { n: number; ms: number }, { id, attempt, fence, signal }) => {
      note('start', id, fence, attempt, `w${i + 1}`, Date.now());
      await pause(ms, undefined, { signal }).catch((error: unknown) => {
        note('aborted', id, fence, JSON.stringify(String(signal.reason)));
        throw error;
      });
      note('end', id, fence, Date.now());
      return n;
    }),
);
await Promise.all(workers.map((worker) => worker.start({ signals: false })));
process.stdout.write('ready\n');
process.once('SIGTERM', () => void Promise.all(workers.map((worker) => worker.stop())).then(() => process.exit(0)));
