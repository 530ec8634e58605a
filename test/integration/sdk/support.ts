import { afterEach } from 'vitest';
import { Client, type ClientOptions, Worker, type WorkerOptions } from '../../../src/sdk/index.js';

const workers: Worker[] = [];
const clients: Client[] = [];

/** Ends with the test; process signals are none of its business. */
export async function startWorker(options: WorkerOptions, configure: (worker: Worker) => void): Promise<Worker> {
  const worker = new Worker(options);
  workers.push(worker);
  configure(worker);
  await worker.start({ signals: false });
  return worker;
}

export function newClient(options: ClientOptions): Client {
  const client = new Client(options);
  clients.push(client);
  return client;
}

afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.close()));
  await Promise.all(workers.splice(0).map((worker) => worker.stop({ graceMs: 0 })));
});

/** The error of a promise that must reject. */
export async function rejection(promise: Promise<unknown>): Promise<unknown> {
  try {
    const value = await promise;
    throw new Error(`it resolved: ${JSON.stringify(value)}`);
  } catch (error) {
    return error;
  }
}

/** What ran, as handlers noted it: `start id` and `end id`. */
export class Log {
  readonly lines: string[] = [];

  starts(id: string): number {
    return this.lines.filter((line) => line === `start ${id}`).length;
  }
}

/** Opens when told. */
export function gate(): { opened: Promise<void>; open: () => void } {
  let open = () => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}
