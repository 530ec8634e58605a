import { credentials, Server, ServerCredentials, status } from '@grpc/grpc-js';
import { afterEach, expect, test } from 'vitest';
import { type JobResponse, JobServiceClient, WorkerStatus } from '../../../src/grpc/generated/job/job.js';
import { type WorkerInfo, type WorkerServiceServer, WorkerServiceService } from '../../../src/grpc/generated/worker/worker.js';
import { type LegacyWorker, legacyRequest, legacyResponse, startLegacyWorker } from '../../../src/sdk/legacy-worker.js';
import { until } from '../../helpers/until.js';

const closing: (() => void)[] = [];
afterEach(() => {
  for (const close of closing.splice(0)) close();
});

/** A real server of the first contract's orchestrator side; `success` is its answer to Register. */
async function startOrchestrator(success = true) {
  const server = new Server();
  const registered: WorkerInfo[] = [];
  const service: WorkerServiceServer = {
    register: (call, callback) => {
      registered.push(call.request);
      callback(null, { success, message: success ? '' : 'no' });
    },
    ping: (_call, callback) => callback(null, { healthy: true }),
  };
  server.addService(WorkerServiceService, service);
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, at) => (error === null ? resolve(at) : reject(error)));
  });
  closing.push(() => server.forceShutdown());
  return { target: `127.0.0.1:${port}`, registered };
}

function dial(worker: LegacyWorker) {
  const client = new JobServiceClient(worker.address, credentials.createInsecure());
  closing.push(() => client.close(), worker.close);
  const runJob = (jobId: string, contextDir = '/x') =>
    new Promise<JobResponse>((resolve, reject) => {
      const request = { jobId, contextDir, repoUrl: '', branch: '', dockerfilePath: '', imageName: '', githubToken: '' };
      client.runJob(request, (error, response) => (error === null ? resolve(response) : reject(error)));
    });
  const ping = () =>
    new Promise<unknown>((resolve, reject) => client.ping({}, (error, answer) => (error === null ? resolve(answer) : reject(error))));
  return { runJob, ping };
}

test('it registers once, at the address it listens on', async () => {
  const { target, registered } = await startOrchestrator();
  const worker = await startLegacyWorker({ id: 'old', target, ip: '127.0.0.1', region: 'eu', run: async () => '' });
  closing.push(worker.close);
  expect(await worker.registered).toBe(true);
  expect(registered).toEqual([{ id: 'old', ip: '127.0.0.1', port: Number(worker.address.split(':')[1]), region: 'eu' }]);
});

test('a refused registration is told and not tried again', async () => {
  const { target, registered } = await startOrchestrator(false);
  const told: string[] = [];
  const worker = await startLegacyWorker({ id: 'old', target, ip: '127.0.0.1', run: async () => '', onError: ({ message }) => told.push(message) });
  closing.push(worker.close);
  expect(await worker.registered).toBe(false);
  expect([told, registered.length]).toEqual([['worker old was not registered: no'], 1]);
});

test('one job at a time: a second meanwhile is an error, Ping says BUSY, and the slot is free again after', async () => {
  const { target } = await startOrchestrator();
  let finish = (_logs: string) => {};
  const run = () => new Promise<string>((resolve) => (finish = resolve));
  const worker = await startLegacyWorker({ id: 'old', target, ip: '127.0.0.1', run });
  const { runJob, ping } = dial(worker);
  expect(await ping()).toEqual({ workerId: 'old', status: WorkerStatus.FREE });
  const first = runJob('j1');
  await until(async () => ((await ping()) as { status: WorkerStatus }).status === WorkerStatus.BUSY);
  await expect(runJob('j2')).rejects.toMatchObject({ code: status.UNKNOWN, details: expect.stringContaining('busy') });
  finish('done');
  expect(await first).toEqual({ jobId: 'j1', success: true, logs: 'done', imageUrl: '', error: '' });
  expect(await ping()).toEqual({ workerId: 'old', status: WorkerStatus.FREE });
});

test('work that throws is an answer: success = false with the reason', async () => {
  const { target } = await startOrchestrator();
  const run = async () => {
    throw new Error('no such file');
  };
  const { runJob } = dial(await startLegacyWorker({ id: 'old', target, ip: '127.0.0.1', run }));
  expect(await runJob('j1')).toEqual({ jobId: 'j1', success: false, logs: '', imageUrl: '', error: 'no such file' });
});

test('stop finishes the job that runs', async () => {
  const { target } = await startOrchestrator();
  let finish: ((logs: string) => void) | undefined;
  const worker = await startLegacyWorker({ id: 'old', target, ip: '127.0.0.1', run: () => new Promise<string>((resolve) => (finish = resolve)) });
  const running = dial(worker).runJob('j1');
  await until(() => finish !== undefined);
  const stopped = worker.stop();
  finish?.('done');
  expect((await running).logs).toBe('done');
  await stopped;
});

test('a request and an answer are the bytes of the contract', () => {
  expect(legacyRequest({ jobId: 'a', contextDir: '/b' })).toEqual(Buffer.from([0x0a, 1, 0x61, 0x2a, 2, 0x2f, 0x62]));
  expect(legacyResponse(Buffer.from([0x0a, 1, 0x61, 0x10, 1, 0x1a, 1, 0x63]))).toEqual({
    jobId: 'a',
    success: true,
    logs: 'c',
    imageUrl: '',
    error: '',
  });
});
