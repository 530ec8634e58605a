import { afterEach } from 'vitest';
import { type JobContext, Worker, type WorkerOptions } from '../../../src/sdk/index.js';
import { until } from '../../helpers/until.js';
import { type AttachReplica, type Stream, startAttachReplica } from './attach-replica.js';

const ends: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

interface Run extends JobContext {
  end(value?: unknown): void;
}

export interface Made {
  replica: AttachReplica;
  worker: Worker;
  runs: Run[];
  errors: Error[];
}

/** A worker whose handler ends when told to; it listens to its signal unless `deaf`. */
export async function make(options: Partial<WorkerOptions> & { deaf?: boolean } = {}): Promise<Made> {
  const replica = await startAttachReplica();
  const runs: Run[] = [];
  const errors: Error[] = [];
  const { deaf = false, ...rest } = options;
  const worker = new Worker({ target: replica.target, pool: 'p', id: 'w', slots: 8, slowRetryMs: 30, ...rest });
  worker
    .on('error', (error) => errors.push(error))
    .handle(
      'work',
      (_: unknown, context) =>
        new Promise((resolve, reject) => {
          runs.push({ ...context, end: (value = 'done') => resolve(value) });
          if (!deaf) context.signal.addEventListener('abort', () => reject(context.signal.reason));
        }),
    );
  void worker.start({ signals: false });
  ends.push(() => replica.kill());
  ends.push(async () => {
    for (const run of runs) run.end();
    for (const stream of replica.streams) stream.settleAll();
    await worker.stop({ graceMs: 0 });
  });
  return { replica, worker, runs, errors };
}

export async function attached(made: Made, terms = {}): Promise<Stream> {
  const stream = await made.replica.stream(0);
  stream.welcome(terms);
  await until(() => made.worker.attached);
  return stream;
}
