import { status } from '@grpc/grpc-js';
import { beforeAll, expect, test } from 'vitest';
import { Code } from '../../../src/domain/job.js';
import { Contract, type Result } from '../../../src/grpc/generated/muster/v1/common.js';
import { JobSpec } from '../../../src/grpc/generated/muster/v1/job.js';
import { type AttachResponse, Verdict, WorkerInfo, WorkerServiceService } from '../../../src/grpc/generated/muster/v1/worker.js';
import { Access } from '../../../src/sdk/access.js';
import { sdkClock } from '../../../src/sdk/clock.js';
import { CHANNEL, connect } from '../../../src/sdk/connect.js';
import { AttemptError } from '../../../src/sdk/index.js';
import { redisUrl, uniquePool } from '../../helpers/redis.js';
import { type InProcess, startReplica } from '../../helpers/replica.js';
import { until } from '../../helpers/until.js';
import { newClient, rejection, startWorker } from './support.js';

let replica: InProcess;
beforeAll(async () => {
  replica = await startReplica(redisUrl, { MAX_SLOTS: 16, MAX_RESULT_BYTES: 65_536, SESSION_WINDOW: 128 });
});

const MIB = 1024 * 1024;

test('one ID with two contents from one client: one result and one ALREADY_EXISTS, submitted together, in turn, run or submitted', async () => {
  const pool = uniquePool();
  await startWorker({ target: replica.target, pool, slots: 16 }, (worker) => worker.handle('echo', (n: number) => n));
  const client = newClient({ target: replica.target });
  const submitted = async (n: number, id: string) => (await client.submit<number>('echo', n, { pool, id })).result();
  const ran = (n: number, id: string) => client.run<number>('echo', n, { pool, id });
  const turn = () => new Promise<void>((resolve) => setTimeout(resolve, Math.random() * 4));
  const told: string[] = [];
  await Promise.all(
    Array.from({ length: 200 }, async (_, i) => {
      const id = `j${i}`;
      const [first, second] = [i % 2 === 0 ? ran : submitted, i % 3 === 0 ? submitted : ran];
      const one = first(1, id);
      if (i % 5 !== 0) await turn();
      const [a, b] = await Promise.allSettled([one, second(2, id)]);
      told.push([a, b].map((end) => (end.status === 'fulfilled' ? end.value : (end.reason as { reason: string }).reason)).join(' '));
    }),
  );
  // `submit` encodes in its own time: the second may be the first to arrive.
  expect(told.filter((line) => line !== '1 JOB_CONFLICT' && line !== 'JOB_CONFLICT 2')).toEqual([]);
});

test('submissions that nobody awaits return, 20 windows of them, without a worker; a result that is asked for later arrives', async () => {
  const pool = uniquePool();
  const client = newClient({ target: replica.target });
  const handles = await Promise.all(Array.from({ length: 2_560 }, (_, i) => client.submit<number>('echo', i, { pool })));
  await startWorker({ target: replica.target, pool, slots: 16 }, (worker) => worker.handle('echo', (n: number) => n));
  expect(await Promise.all([handles[0]?.result(), handles[50]?.result()])).toEqual([0, 50]);
});

test('a payload of 5 MiB, or as much metadata, is refused alone with size and limit; other jobs of the client go on over the same stream', async () => {
  const pool = uniquePool();
  await startWorker({ target: replica.target, pool }, (worker) => worker.handle('echo', (n: number) => n));
  const client = newClient({ target: replica.target });
  const payload = rejection(client.submit('echo', Buffer.alloc(5 * MIB), { pool, codec: 'bytes' }));
  const metadata = rejection(client.submit('echo', 1, { pool, metadata: { big: 'x'.repeat(5 * MIB) } }));
  const some = rejection(client.submit('echo', 1, { pool, metadata: { big: 'x'.repeat(9_000) } }));
  const good = Promise.all(Array.from({ length: 50 }, (_, i) => client.run<number>('echo', i, { pool })));
  expect(await payload).toMatchObject({ code: status.INVALID_ARGUMENT, message: expect.stringMatching(/payload: .*5242880.*262144/) });
  expect(await metadata).toMatchObject({ code: status.INVALID_ARGUMENT, message: expect.stringMatching(/bytes/) });
  expect(await some).toMatchObject({ code: status.INVALID_ARGUMENT, message: expect.stringMatching(/metadata.*8192/) });
  expect(await good).toEqual(Array.from({ length: 50 }, (_, i) => i));
});

test('dead letters with large payloads come down the session one by one', async () => {
  const pool = uniquePool();
  const client = newClient({ target: replica.target });
  const payload = 'x'.repeat(250_000);
  const all = Promise.all(Array.from({ length: 20 }, () => rejection(client.run('fail', payload, { pool, retry: { maxAttempts: 1 } }))));
  await startWorker({ target: replica.target, pool, slots: 16 }, (worker) =>
    worker.handle('fail', () => {
      throw new AttemptError('no', { code: Code.DATA_LOSS, details: Buffer.alloc(10_000) });
    }),
  );
  for (const error of await all) expect(error).toMatchObject({ name: 'JobFailed', code: Code.DATA_LOSS });
});

test('slots above MAX_SLOTS: start() rejects, and resize() throws', async () => {
  const pool = uniquePool();
  const starting = startWorker({ target: replica.target, pool, slots: 17 }, (worker) => worker.handle('echo', (n: number) => n));
  expect(await rejection(starting)).toMatchObject({ code: status.INVALID_ARGUMENT, message: expect.stringMatching(/slots: must be 0 to 16/) });
  const worker = await startWorker({ target: replica.target, pool, slots: 1 }, (worker) => worker.handle('echo', (n: number) => n));
  expect(() => worker.resize(17)).toThrow(/16 \(MAX_SLOTS\)/);
  expect(await newClient({ target: replica.target }).run('echo', 3, { pool })).toBe(3);
});

/** A worker of a stranger's: it checks nothing of what it sends. */
function attach(pool: string, maxFrameBytes = 0) {
  const access = new Access({ target: replica.target }, sdkClock);
  const client = access.client(CHANNEL);
  const { path, requestSerialize, responseDeserialize } = WorkerServiceService.attach;
  const call = client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize);
  const frames: NonNullable<AttachResponse['frame']>[] = [];
  const errors: unknown[] = [];
  call.on('data', ({ frame }: AttachResponse) => frame !== undefined && frames.push(frame));
  call.on('error', (error) => errors.push(error));
  const worker = WorkerInfo.fromPartial({ id: 'w', pool, slots: 4, boot: 'b', contract: Contract.CONTRACT_ATTACHED });
  call.write({ frame: { $case: 'hello', value: { worker, held: [], capabilities: [], paused: false, maxFrameBytes } } });
  const assigned = () => frames.flatMap((frame) => (frame.$case === 'assign' ? frame.value.assignments : []));
  const settled = () => frames.flatMap((frame) => (frame.$case === 'settled' ? frame.value.settlements : []));
  const close = () => {
    call.cancel();
    client.close();
  };
  return { call, errors, assigned, settled, close };
}

test("a stranger's results that cannot be kept end their jobs, and nothing ends the stream", async () => {
  const pool = uniquePool();
  const { call, errors, assigned, settled, close } = attach(pool);
  const client = newClient({ target: replica.target });
  const ids = ['details', 'nothing', 'large', 'good'];
  const ends = ids.map((id) => client.run('any', 1, { pool, id, retry: { maxAttempts: 1 } }).catch((error: unknown) => error));
  await until(() => assigned().length === 4);
  const failure = { code: 3, message: 'm', reason: 'r', retryable: false, details: Buffer.alloc(4_097), retryDelay: undefined };
  const outcomes: Record<string, Result['outcome']> = {
    details: { $case: 'failure', value: failure },
    nothing: undefined,
    large: { $case: 'output', value: Buffer.alloc(65_537) },
    good: { $case: 'output', value: Buffer.from('7') },
  };
  const results = assigned().map(({ jobId, fence }) => ({ jobId, fence, outcome: outcomes[jobId] }));
  call.write({ frame: { $case: 'resize', value: { slots: 4_096 } } });
  call.write({
    frame: { $case: 'beat', value: { held: assigned().map(({ jobId, fence }) => ({ jobId, fence, done: false, progress: Buffer.alloc(5_000) })) } },
  });
  call.write({ frame: { $case: 'results', value: { results: [{ jobId: 'no such name!', fence: '1', outcome: outcomes['good'] }, ...results] } } });
  expect(await Promise.all(ends)).toMatchObject([
    { name: 'JobFailed', code: 3, reason: 'r', details: Buffer.alloc(0) },
    { name: 'JobFailed', reason: 'bad_answer' },
    { name: 'JobFailed', reason: 'result_too_large' },
    7,
  ]);
  await until(() => settled().length === 5);
  expect(settled()).toContainEqual({ jobId: 'no such name!', fence: '1', verdict: Verdict.VERDICT_GONE });
  expect(errors).toEqual([]);
  close();
});

test('a job that its worker cannot receive fails alone, and the next one is delivered', async () => {
  const pool = uniquePool();
  const { call, errors, assigned, close } = attach(pool, 10_000);
  const client = newClient({ target: replica.target });
  const large = rejection(client.run('any', 'x'.repeat(20_000), { pool, id: 'large' }));
  expect(await large).toMatchObject({ name: 'JobFailed', code: Code.RESOURCE_EXHAUSTED, reason: 'payload_too_large' });
  const small = client.run('any', 1, { pool, id: 'small' });
  const assignment = await until(() => assigned()[0]);
  call.write({
    frame: {
      $case: 'results',
      value: { results: [{ jobId: 'small', fence: assignment.fence, outcome: { $case: 'output', value: Buffer.from('1') } }] },
    },
  });
  expect(await small).toBe(1);
  expect(errors).toEqual([]);
  close();
});

test('Report: what cannot be kept ends its job, the other results count', async () => {
  const pool = uniquePool();
  const api = connect(replica.target);
  const failure = { code: 3, message: 'm', reason: 'r', retryable: false, details: Buffer.alloc(5_000), retryDelay: undefined };
  const report = api.report({
    pool,
    workerId: 'w',
    boot: 'b',
    results: [
      { jobId: 'bad name!', fence: '1', outcome: undefined },
      { jobId: 'a', fence: '1', outcome: { $case: 'failure', value: failure } },
      { jobId: 'b', fence: '1', outcome: undefined },
    ],
    beat: { held: [{ jobId: 'c', fence: '1', done: false, progress: Buffer.alloc(5_000) }] },
  });
  expect((await report).settlements.map(({ jobId, verdict }) => [jobId, verdict])).toEqual([
    ['bad name!', Verdict.VERDICT_GONE],
    ['a', Verdict.VERDICT_GONE],
    ['b', Verdict.VERDICT_GONE],
  ]);
  api.close();
});

test('the same submission is the same job at replicas with other defaults', async () => {
  const pool = uniquePool();
  const other = await startReplica(redisUrl, {
    ...{ RETENTION_MS: 7_200_000, DEFAULT_RUN_TIMEOUT_MS: 60_000, DEFAULT_MAX_ATTEMPTS: 5, BACKOFF_MS: 10, BACKOFF_MAX_MS: 20 },
  });
  const [one, two] = [newClient({ target: replica.target }), newClient({ target: other.target })];
  const retry = { fatalCodes: [5, 3] };
  const first = await one.submit<number>('echo', 7, { pool, id: 'j', retry });
  const again = await two.submit<number>('echo', 7, { pool, id: 'j', retry });
  expect([first.created, again.created]).toEqual([true, false]);
  const ran = two.run<number>('echo', 7, { pool, id: 'j', retry });
  expect(await rejection(two.submit('echo', 7, { pool, id: 'j', retry, retentionMs: 3_600_000 }))).toMatchObject({ reason: 'JOB_CONFLICT' });
  const api = connect(other.target);
  const spec = JobSpec.fromPartial({ pool, id: 'unary', work: { $case: 'kind', value: 'echo' }, payload: Buffer.from('8') });
  expect(await api.submitJob({ spec })).toMatchObject({ created: true });
  const back = connect(replica.target);
  expect(await back.submitJob({ spec })).toMatchObject({ created: false });
  expect((await back.batchSubmitJobs({ specs: [spec] })).results).toMatchObject([{ code: 0, created: false }]);
  await startWorker({ target: replica.target, pool }, (worker) => worker.handle('echo', (n: number) => n));
  expect([await first.result(), await again.result(), await ran]).toEqual([7, 7, 7]);
  for (const each of [api, back]) each.close();
});
