import './leash.js';
import { startLegacyWorker } from '../../sdk/legacy-worker.js';
import { type Handler, PermanentError, startRunner } from '../../sdk/runner.js';
import { hashFile } from './files.js';

/**
 * One worker process of the demo: `worker.js runner|legacy <id> <pool> <target>`. Both kinds hash the file that the job names.
 * SIGTERM: leaves, finishes what runs, ends.
 */
const [role, id = '', pool = '', target = ''] = process.argv.slice(2);
const ip = '127.0.0.1';
/** Reading the next file goes on while one is hashed. */
const SLOTS = 4;
const onError = (error: Error) => void process.stderr.write(`${error.message}\n`);

/** The payload is a path. With `for_ms` the file is hashed over and over for so long: a job that a kill can meet in its middle. */
const sha256: Handler = async ({ payload, metadata, signal }) => {
  const end = performance.now() + Number(metadata['for_ms'] ?? 0);
  for (;;) {
    const hash = await hashFile(payload.toString(), signal).catch((error: unknown) => {
      throw signal.aborted ? error : new PermanentError(String(error));
    });
    if (performance.now() >= end) return Buffer.from(hash);
  }
};

const worker =
  role === 'legacy'
    ? await startLegacyWorker({ id, target, ip, onError, run: ({ contextDir }) => hashFile(contextDir) })
    : await startRunner({ id, pool, target, ip, slots: SLOTS, onError, handlers: { sha256 } });
process.once('SIGTERM', () => void worker.stop().finally(() => process.exit(0)));
