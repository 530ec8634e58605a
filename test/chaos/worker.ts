import { appendFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { Worker } from '../../src/sdk/index.js';
import { startRunner } from '../../src/sdk/runner.js';
import { handlers, type Note } from '../helpers/handlers.js';

/** A worker of the chaos as a process of its own. Its settings stand in WORKER, as JSON; SIGTERM makes it leave in order. */
interface Settings {
  contract: 'runner' | 'attached';
  target: string;
  id: string;
  pool: string;
  slots: number;
  /** Of a runner: listens there on 127.0.0.1, and is dialed on `advertiseIp`. */
  port: number;
  advertiseIp: string;
  /** Where executions are noted, a line each. */
  file: string;
}

/** What the poison job does to its worker. */
const POISONED = 66;
const SLOW_RETRY_MS = 300;

const { contract, target, id, pool, slots, port, advertiseIp, file } = JSON.parse(process.env['WORKER'] ?? '{}') as Settings;
const say = (msg: string, more: Record<string, unknown> = {}) => process.stdout.write(`${JSON.stringify({ msg, id, ...more })}\n`);
const note = (line: Note) => appendFileSync(file, `${JSON.stringify({ ...line, life: process.pid })}\n`);
const onError = (error: Error) => say('error', { error: error.message });

if (contract === 'runner') {
  const runner = await startRunner({
    ...{ id, pool, target, slots, port, advertiseIp, onError, slowRetryMs: SLOW_RETRY_MS, ip: '127.0.0.1' },
    handlers: handlers(id, note, { poison: async () => process.exit(POISONED) }),
    onRegistered: (replica) => say('registered', { replica }),
  });
  process.once('SIGTERM', () => void runner.stop().then(() => process.exit(0)));
} else {
  const worker = new Worker({ id, pool, target, slots, slowRetryMs: SLOW_RETRY_MS })
    .on('attached', ({ replica }) => say('registered', { replica }))
    .on('error', onError);
  /** Its payload's number of ms, then the payload. */
  const waiting =
    (heeds: boolean) =>
    async (ms: number, { id: jobId, fence, attempt, signal }: Context) => {
      const noted = (event: Note['event'], how: Note['how']) => note({ event, worker: id, jobId, fence, attempt, how, at: Date.now() });
      noted('start', '');
      try {
        await pause(ms, undefined, heeds ? { signal } : {});
      } catch (error) {
        noted('end', 'aborted');
        throw error;
      }
      noted('end', 'done');
      return ms;
    };
  worker.handle('slow', waiting(true)).handle('deaf', waiting(false));
  worker.handle('poison', async () => process.exit(POISONED));
  process.once('SIGTERM', () => void worker.stop().then(() => process.exit(0)));
  await worker.start({ signals: false });
}

interface Context {
  id: string;
  fence: string;
  attempt: number;
  signal: AbortSignal;
}
