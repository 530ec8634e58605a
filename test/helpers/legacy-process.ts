import { appendFileSync } from 'node:fs';
import { credentials, Server, ServerCredentials, status } from '@grpc/grpc-js';
import { type JobServiceServer, JobServiceService, WorkerStatus } from '../../src/grpc/generated/job/job.js';
import { WorkerServiceClient } from '../../src/grpc/generated/worker/worker.js';

/**
 * A worker of the first contract as a process of its own, as such fleets wrote it: it registers once, pings, runs one job at a time and
 * answers a second one with an error. `contextDir` is how many ms its job takes; nothing stops it once begun.
 */
interface Settings {
  target: string;
  id: string;
  file: string;
  /** Listens there; absent: anywhere. */
  port?: number;
  /** Is to be dialed there; absent: where it listens. */
  ip?: string;
  /** Takes no longer messages; absent: what gRPC takes. */
  receiveBytes?: number;
}

const { target, id, file, port = 0, ip = '127.0.0.1', receiveBytes } = JSON.parse(process.env['WORKER'] ?? '{}') as Settings;
const PING_MS = 1_000;
const say = (msg: string, more: Record<string, unknown> = {}) => process.stdout.write(`${JSON.stringify({ msg, id, ...more })}\n`);
const note = (event: 'start' | 'end', jobId: string, run: number) => {
  const how = event === 'end' ? 'done' : '';
  const line = { event, worker: id, jobId, fence: `${id} ${run}`, attempt: 0, how, at: Date.now(), life: process.pid };
  appendFileSync(file, `${JSON.stringify(line)}\n`);
};

let busy = false;
let runs = 0;
const service: JobServiceServer = {
  runJob: (call, callback) => {
    const { jobId, contextDir } = call.request;
    if (busy) return callback({ code: status.UNKNOWN, details: 'worker is busy' });
    busy = true;
    const run = ++runs;
    note('start', jobId, run);
    setTimeout(() => {
      busy = false;
      note('end', jobId, run);
      callback(null, { jobId, success: true, logs: `${id} took ${contextDir}`, imageUrl: '', error: '' });
    }, Number(contextDir));
  },
  ping: (_call, callback) => callback(null, { workerId: id, status: busy ? WorkerStatus.BUSY : WorkerStatus.FREE }),
};

const server = new Server(receiveBytes === undefined ? {} : { 'grpc.max_receive_message_length': receiveBytes });
server.addService(JobServiceService, service);
server.bindAsync(`127.0.0.1:${port}`, ServerCredentials.createInsecure(), (error, bound) => {
  if (error) throw error;
  const orchestrator = new WorkerServiceClient(target, credentials.createInsecure(), {
    'grpc.service_config': JSON.stringify({ loadBalancingConfig: [{ round_robin: {} }] }),
  });
  const register = () => {
    orchestrator.register({ id, ip, port: bound, region: 'test' }, (failed, ack) => {
      if (ack?.success === true) say('registered', { port: bound });
      else setTimeout(register, 50);
      if (failed) say('refused', { error: failed.details });
    });
  };
  register();
  setInterval(() => orchestrator.ping({ id }, () => undefined), PING_MS);
});
