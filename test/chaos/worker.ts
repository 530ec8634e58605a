import { appendFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import type { Clock } from '../../src/domain/clock.js';
import { sdkClock } from '../../src/sdk/clock.js';
import { Worker } from '../../src/sdk/index.js';
import { startRunner } from '../../src/sdk/runner.js';
import { handlers, type Note } from '../helpers/handlers.js';
import { LARGE, NEVER, NEVER_RUN_MS, POISON } from './work.js';

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
  /** Of a runner: takes no longer messages. */
  receiveBytes?: number;
  /** Where executions are noted, a line each. */
  file: string;
}

/** What the poison job does to its worker. */
const POISONED = 66;
const SLOW_RETRY_MS = 300;

const { contract, target, id, pool, slots, port, advertiseIp, receiveBytes, file } = JSON.parse(process.env['WORKER'] ?? '{}') as Settings;
const say = (msg: string, more: Record<string, unknown> = {}) => process.stdout.write(`${JSON.stringify({ msg, id, ...more })}\n`);
const note = (line: Note) => appendFileSync(file, `${JSON.stringify({ ...line, life: process.pid })}\n`);
const onError = (error: Error) => say('error', { error: error.message });

/** The SDK keeps a job's time and answers when it is over; of a job that never answers it shall not. */
const clock: Clock = { ...sdkClock, after: (ms, run) => (ms === NEVER_RUN_MS ? () => {} : sdkClock.after(ms, run)) };
const never = () => new Promise<never>(() => {});

if (contract === 'runner') {
  const runner = await startRunner({
    ...{ id, pool, target, slots, port, advertiseIp, onError, clock, slowRetryMs: SLOW_RETRY_MS, ip: '127.0.0.1' },
    maxReceiveBytes: receiveBytes,
    handlers: handlers(id, note, { [POISON]: async () => process.exit(POISONED), [LARGE]: async ({ payload }) => payload, [NEVER]: never }),
    onRegistered: (replica) => say('registered', { replica }),
  });
  process.once('SIGTERM', () => void runner.stop().then(() => process.exit(0)));
} else {
  const worker = new Worker({ id, pool, target, slots, clock, slowRetryMs: SLOW_RETRY_MS })
    .on('attached', ({ replica }) => say('registered', { replica }))
    .on('error', onError);
  const noting = ({ id: jobId, fence, attempt }: Context) => {
    const noted = (event: Note['event'], how: Note['how']) => note({ event, worker: id, jobId, fence, attempt, how, at: Date.now() });
    noted('start', '');
    return noted;
  };
  /** Its payload's number of ms, then the payload. */
  const waiting = (heeds: boolean) => async (ms: number, context: Context) => {
    const noted = noting(context);
    try {
      await pause(ms, undefined, heeds ? { signal: context.signal } : {});
    } catch (error) {
      noted('end', 'aborted');
      throw error;
    }
    noted('end', 'done');
    return ms;
  };
  worker.handle('slow', waiting(true)).handle('deaf', waiting(false));
  worker.handle(POISON, async () => process.exit(POISONED));
  worker.handle(LARGE, async (text: string, context: Context) => {
    noting(context)('end', 'done');
    return text;
  });
  worker.handle(NEVER, async (_: unknown, context: Context) => {
    noting(context);
    return never();
  });
  process.once('SIGTERM', () => void worker.stop().then(() => process.exit(0)));
  await worker.start({ signals: false });
}

interface Context {
  id: string;
  fence: string;
  attempt: number;
  signal: AbortSignal;
}
