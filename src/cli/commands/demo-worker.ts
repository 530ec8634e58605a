import { createHash } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import type { Command } from 'commander';
import { VERSION } from '../../lifecycle/version.js';
import { PermanentError, Worker } from '../../sdk/index.js';
import { type AccessOptions, accessOptions, asTyped, readAccess } from '../access.js';
import { example } from '../common.js';
import { drainWhenTold } from '../draining.js';
import type { Io } from '../io.js';
import { parseCount } from '../parse.js';
import { printable } from '../table.js';

interface DemoWorkerOptions extends AccessOptions {
  pool: string;
  slots: number;
  id?: string;
}

const LONGEST_SLEEP_MS = 3_600_000;

/** A worker of the simplest kind, for compose files, clusters and autoscalers to be tried with. */
export function addDemoWorker(program: Command, io: Io): void {
  const begun = program
    .command('demo-worker')
    .description('Run a worker to try things with: kinds echo, sha256, and sleep, whose payload is a time in ms');
  const command = accessOptions(begun, io)
    .option('-p, --pool <pool>', 'the pool', 'default')
    .option('--slots <count>', 'how many jobs at once', parseCount('--slots', 1, 4_096), 4)
    .option('--id <id>', "the worker's id, unique in its pool (default: the host's name and a random part)");
  example(command, 'muster demo-worker --pool demo', 'muster run --pool demo --kind sleep --data 2000');
  command.action((options: DemoWorkerOptions) => run(options, io));
}

/** Resolves when it was told to stop and holds nothing any more. */
async function run(options: DemoWorkerOptions, io: Io): Promise<void> {
  const { pool, slots, id } = options;
  const where = await readAccess(options);
  const worker = asTyped(() => new Worker({ ...where, pool, slots, ...(id === undefined ? {} : { id }), version: VERSION }))
    .on('attached', ({ replica }) => io.tell(printable(`attached to ${replica}`)))
    .on('detached', ({ error }) => io.tell(printable(`detached: ${error.message}`)))
    .on('error', (error) => io.tell(printable(error.message)))
    .handle('echo', (bytes) => bytes, 'bytes')
    .handle('sha256', (bytes) => Buffer.from(createHash('sha256').update(bytes).digest('hex')), 'bytes')
    .handle('sleep', (bytes, { signal }) => sleep(bytes, signal), 'bytes');
  const refused = worker.start({ signals: false }).then(() => new Promise<never>(() => {}));
  await drainWhenTold(io, where, { refused, drain: () => worker.drain(), stop: () => worker.stop({ graceMs: 0 }) });
}

async function sleep(payload: Buffer, signal: AbortSignal): Promise<Buffer> {
  const text = payload.toString();
  const ms = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (!(ms <= LONGEST_SLEEP_MS)) throw new PermanentError(`the payload must be a time in ms, at most ${LONGEST_SLEEP_MS}`);
  return pause(ms, payload, { signal });
}
