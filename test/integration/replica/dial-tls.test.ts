import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { WorkerState } from '../../../src/grpc/generated/muster/v1/admin.js';
import { JobState } from '../../../src/grpc/generated/muster/v1/job.js';
import type { EmbeddedRedis } from '../../../src/lifecycle/embedded-redis.js';
import type { Pem } from '../../../src/sdk/index.js';
import { type Ca, createCa, type Pair } from '../../helpers/certs.js';
import { ownRedis } from '../../helpers/redis.js';
import { until } from '../../helpers/until.js';
import { getWorker, jobIn, type Running, refusal, startReplica, submit, text } from './support.js';
import { methodWorker, register, runnerWorker } from './workers.js';

let redis: EmbeddedRedis;
let folder: string;
let ca: Ca;
let settings: Record<string, unknown>;

beforeAll(async () => {
  redis = await ownRedis();
  ca = await createCa();
  folder = await mkdtemp(join(tmpdir(), 'dial-tls-'));
  const own = await ca.issue(['replica']);
  const file = async (name: string, pem: string) => {
    await writeFile(join(folder, name), pem);
    return join(folder, name);
  };
  settings = {
    DIAL_CA: await file('ca.pem', ca.cert),
    DIAL_CERT: await file('cert.pem', own.cert),
    DIAL_KEY: await file('key.pem', own.key),
  };
});
afterAll(() => rm(folder, { recursive: true }));

/** Serves TLS, and to replicas with a certificate alone. */
const serving = ({ cert, key }: Pair): { cert: Pem; key: Pem; clientCa: Pem } => ({ cert, key, clientCa: ca.cert });

async function runs(replica: Running, pool: string, id: string): Promise<void> {
  await submit(replica.api, { pool, id, work: { $case: 'kind', value: 'echo' }, payload: text('hello') });
  await jobIn(replica.api, pool, id, JobState.JOB_STATE_SUCCEEDED);
}

test('a worker of the SDK that serves TLS is dialed so, runs jobs, and is adopted by another replica', async () => {
  const [first, second] = [await startReplica(redis.url, settings), await startReplica(redis.url, settings)];
  await runnerWorker(first.target, 'tls', 'w', { serverTls: serving(await ca.issue(['muster:worker:w'])) });
  await runs(first, 'tls', 'j1');
  await first.stop();
  await until(async () => (await getWorker(second.api, 'tls', 'w')).home === second.id, { what: 'the worker to be adopted' });
  await runs(second, 'tls', 'j2');
});

test('who shows another certificate, or speaks plaintext, is not taken on the roll, and is told why', async () => {
  const replica = await startReplica(redis.url, settings);
  const errors: Error[] = [];
  const theirs = { serverTls: serving(await ca.issue(['muster:worker:w2', '127.0.0.1'])), onError: (error: Error) => errors.push(error) };
  void runnerWorker(replica.target, 'refused', 'w1', theirs);
  await until(() => errors.length > 0);
  expect(errors[0]).toMatchObject({
    reason: 'UNTRUSTED_WORKER',
    message: expect.stringMatching(/has SANs URI:muster:worker:w2.*wanted URI:muster:worker:w1/),
  });
  const plain = await methodWorker();
  const error = await refusal(register(replica.api, { id: 'w3', pool: 'refused', port: plain.port }));
  expect([error.codeName, error.reason]).toEqual(['FAILED_PRECONDITION', 'UNTRUSTED_WORKER']);
  expect(error.message).toMatch(/no TLS with 127\.0\.0\.1:\d+.*DIAL_PLAINTEXT/);
  expect((await replica.api.listWorkers({ pool: 'refused', state: 0, pageSize: 10, pageToken: '' })).workers).toEqual([]);
});

test('an impostor at the address of a worker that went is dead after its misses, and the log says what it showed', async () => {
  const replica = await startReplica(redis.url, settings);
  const worker = await runnerWorker(replica.target, 'impostor', 'w', { serverTls: serving(await ca.issue(['muster:worker:w'])) });
  const port = Number(worker.address.split(':')[1]);
  worker.close();
  // It says that it is `w`, too, and of the same boot; it is not registered, but listens.
  const errors: Error[] = [];
  const impostor = {
    port,
    boot: worker.boot,
    serverTls: serving(await ca.issue(['muster:worker:thief'])),
    onError: (error: Error) => errors.push(error),
  };
  void runnerWorker('127.0.0.1:1', 'impostor', 'w', impostor);
  await submit(replica.api, { pool: 'impostor', id: 'j', work: { $case: 'kind', value: 'echo' }, payload: text('secret') });
  await until(async () => (await getWorker(replica.api, 'impostor', 'w')).state === WorkerState.WORKER_STATE_DEAD, { what: 'it to be dead' });
  const told = replica.lines.filter(({ err }) => /worker impostor\/w: certificate of .*thief/.test(String(err)));
  expect(told.length).toBeGreaterThan(0);
});
