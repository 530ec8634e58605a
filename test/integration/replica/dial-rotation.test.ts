import { beforeAll, expect, test } from 'vitest';
import { WorkerState } from '../../../src/grpc/generated/muster/v1/admin.js';
import { JobState } from '../../../src/grpc/generated/muster/v1/job.js';
import type { EmbeddedRedis } from '../../../src/lifecycle/embedded-redis.js';
import { type Ca, createCa } from '../../helpers/certs.js';
import { Exposition } from '../../helpers/exposition.js';
import { ownRedis } from '../../helpers/redis.js';
import { testFile } from '../../helpers/secured.js';
import { until } from '../../helpers/until.js';
import { getJob, getWorker, jobIn, type Running, startReplica, submit, text } from './support.js';
import { runnerWorker } from './workers.js';

/** Files of keys that are wrong for everybody say nothing against those who are dialed by them. */
let redis: EmbeddedRedis;
let ca: Ca;
let strangers: Ca;
/** A sweep each 0.4 s, and the files looked at each 10 ms. */
const TIMES = { HEALTH_INTERVAL_MS: 4_000, PING_TIMEOUT_MS: 3_900, DIAL_RELOAD_MS: 100 };

beforeAll(async () => {
  redis = await ownRedis();
  [ca, strangers] = [await createCa('workers'), await createCa('strangers')];
});

const start = (path: string) => startReplica(redis.url, { ...TIMES, DIAL_CA: path });
const serving = async (id: string) => ({ serverTls: await ca.issue([`muster:worker:${id}`]) });
const job = (pool: string, id: string) => ({ pool, id, work: { $case: 'kind', value: 'echo' } as const, payload: text('hello') });
const spared = async ({ httpPort }: Running) => (await Exposition.at(httpPort)).of('muster_workers_spared_total') ?? 0;
const stateOf = async ({ api }: Running, pool: string) => (await getWorker(api, pool, 'w')).state;

test('a DIAL_CA that is wrong leaves the fleet suspect and its jobs waiting; when it is right again they go on', async () => {
  const file = testFile('ca.pem', ca.cert);
  const replica = await start(file.path);
  await runnerWorker(replica.target, 'rotated', 'w', await serving('w'));
  await submit(replica.api, job('rotated', 'j1'));
  await jobIn(replica.api, 'rotated', 'j1', JobState.JOB_STATE_SUCCEEDED);

  file.write(strangers.cert);
  // The replica has read it when a probe, or the job below, fails by it.
  await until(() => replica.lines.some(({ err }) => /worker rotated\/w: certificate of .* is not trusted/.test(String(err))), {
    what: 'the worker not to be trusted',
  });
  await submit(replica.api, job('rotated', 'j2'));
  await until(async () => (await spared(replica)) > 0, { what: 'a check that buried nobody' });
  expect(await stateOf(replica, 'rotated')).toBe(WorkerState.WORKER_STATE_SUSPECT);
  expect(replica.lines.some(({ err }) => /no worker was met by TLS since DIAL_CA, DIAL_CERT and DIAL_KEY were read/.test(String(err)))).toBe(true);
  expect([JobState.JOB_STATE_WAITING, JobState.JOB_STATE_SCHEDULED]).toContain((await getJob(replica.api, 'rotated', 'j2')).state);

  file.write(ca.cert);
  await jobIn(replica.api, 'rotated', 'j2', JobState.JOB_STATE_SUCCEEDED);
  expect((await getJob(replica.api, 'rotated', 'j2')).handovers).toBeLessThan(3);
  await replica.stop();
});

test('a replica that started with it buries nobody of a home that went, and adopts when it is right', async () => {
  const wrong = testFile('ca.pem', strangers.cert);
  const [first, second] = [await start(testFile('ca.pem', ca.cert).path), await start(wrong.path)];
  await runnerWorker(first.target, 'orphans', 'w', await serving('w'));
  await first.stop();
  await until(async () => (await spared(second)) > 0, { what: 'a check that buried nobody' });
  expect(await stateOf(second, 'orphans')).toBe(WorkerState.WORKER_STATE_SUSPECT);
  wrong.write(ca.cert);
  await until(async () => (await getWorker(second.api, 'orphans', 'w')).home === second.id, { what: 'the worker to be adopted' });
  await second.stop();
});

test('an impostor is buried by a replica that never met anybody, on the word of a home whose keys work', async () => {
  const right = testFile('ca.pem', ca.cert).path;
  const home = await start(right);
  const worker = await runnerWorker(home.target, 'impostor', 'w', await serving('w'));
  const other = await start(right);
  const port = Number(worker.address.split(':')[1]);
  worker.close();
  const thief = { port, boot: worker.boot, serverTls: await strangers.issue(['muster:worker:w']), onError: () => undefined };
  void runnerWorker('127.0.0.1:1', 'impostor', 'w', thief);
  await until(async () => (await stateOf(home, 'impostor')) === WorkerState.WORKER_STATE_DEAD, { what: 'it to be dead' });
  expect([await spared(home), await spared(other)]).toEqual([0, 0]);
});
