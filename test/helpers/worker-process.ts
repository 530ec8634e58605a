import { appendFileSync } from 'node:fs';
import { startRunner } from '../../src/sdk/runner.js';
import { handlers } from './handlers.js';

/** A RUNNER worker as a process of its own. Its settings stand in WORKER, as JSON; SIGTERM makes it leave in order. */
interface Settings {
  target: string;
  id: string;
  pool: string;
  slots: number;
  /** Where executions are noted, a line each. */
  file: string;
}

const { target, id, pool, slots, file } = JSON.parse(process.env['WORKER'] ?? '{}') as Settings;
const say = (msg: string, more: Record<string, unknown> = {}) => process.stdout.write(`${JSON.stringify({ msg, id, ...more })}\n`);

const runner = await startRunner({
  id,
  pool,
  target,
  slots,
  ip: '127.0.0.1',
  slowRetryMs: 300,
  handlers: handlers(id, (note) => appendFileSync(file, `${JSON.stringify(note)}\n`), {
    // Ends this process in the middle of the job.
    poison: async () => process.exit(66),
  }),
  onError: (error) => say('error', { error: error.message }),
  onRegistered: (replica) => say('registered', { replica }),
});

process.once('SIGTERM', () => void runner.stop().then(() => process.exit(0)));
