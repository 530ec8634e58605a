import { status } from '@grpc/grpc-js';
import { beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { connect } from '../../../src/sdk/connect.js';
import {
  ApiError,
  AttemptError,
  CodecError,
  defineJob,
  JobCancelled,
  JobExpired,
  JobFailed,
  PermanentError,
  RetryLater,
} from '../../../src/sdk/index.js';
import { redisUrl, uniquePool } from '../../helpers/redis.js';
import { type InProcess, startReplica } from '../../helpers/replica.js';
import { until } from '../../helpers/until.js';
import { gate, newClient, rejection, startWorker } from './support.js';

let replica: InProcess;
beforeAll(async () => {
  replica = await startReplica(redisUrl);
});

const quick = { retry: { initialBackoffMs: 1, maxBackoffMs: 1 } };

test('a job runs, with JSON in and out, and its context says what it is', async () => {
  const pool = uniquePool();
  await startWorker({ target: replica.target, pool }, (worker) =>
    worker.handle('greet', ({ name }: { name: string }, { id, attempt, kind, metadata, fence }) => ({
      text: `hello ${name}`,
      id,
      attempt,
      kind,
      tag: metadata['tag'],
      fenced: BigInt(fence) > 0n,
    })),
  );
  const client = newClient({ target: replica.target });
  const answer = await client.run('greet', { name: 'Ada' }, { pool, id: 'one', metadata: { tag: 't' } });
  expect(answer).toEqual({ text: 'hello Ada', id: 'one', attempt: 1, kind: 'greet', tag: 't', fenced: true });
});

test('nothing in is undefined, and nothing out too', async () => {
  const pool = uniquePool();
  const seen: unknown[] = [];
  await startWorker({ target: replica.target, pool }, (worker) => worker.handle('nothing', (input: unknown) => void seen.push(input)));
  expect(await newClient({ target: replica.target }).run('nothing', undefined, { pool })).toBeUndefined();
  expect(seen).toEqual([undefined]);
});

test('null is an input like any other', async () => {
  const pool = uniquePool();
  const seen: unknown[] = [];
  await startWorker({ target: replica.target, pool }, (worker) =>
    worker.handle('nothing', (input: unknown) => {
      seen.push(input);
      return null;
    }),
  );
  const client = newClient({ target: replica.target });
  expect(await client.run('nothing', null, { pool })).toBeNull();
  expect(await client.run(defineJob({ kind: 'nothing', input: z.null(), output: z.null() }), null, { pool })).toBeNull();
  expect(seen).toEqual([null, null]);
});

test("metadata and labels may have any name, those of an object's own parts too", async () => {
  const pool = uniquePool();
  const names = ['__proto__', 'constructor', 'to_string', 'hasownproperty'];
  const given = Object.fromEntries(names.map((name) => [name, `a ${name}`]));
  const seen: unknown[] = [];
  await startWorker({ target: replica.target, pool, id: 'w', labels: given }, (worker) =>
    worker.handle('k', (_, { metadata }) => void seen.push(Object.entries(metadata).sort())),
  );
  const client = newClient({ target: replica.target });
  await client.run('k', undefined, { pool, id: 'j', metadata: given });
  const all = Object.entries(given).sort();
  expect(seen).toEqual([all]);
  // Metadata is kept until a job has ended.
  await client.submit('k', undefined, { pool, id: 'later', metadata: given, notBefore: new Date(Date.now() + 3_600_000) });
  expect(Object.entries((await client.get('later', pool)).metadata).sort()).toEqual(all);
  const api = connect(replica.target);
  const { worker } = await api.getWorker({ pool, id: 'w' });
  api.close();
  expect(Object.entries(worker?.labels ?? {}).sort()).toEqual(all);
});

test('a handle tells id, state and result; the same id again is the same job, with other content it is refused', async () => {
  const pool = uniquePool();
  const { opened, open } = gate();
  await startWorker({ target: replica.target, pool }, (worker) =>
    worker.handle('wait', async (n: number) => {
      await opened;
      return n * 2;
    }),
  );
  const client = newClient({ target: replica.target });
  const handle = await client.submit<number>('wait', 21, { pool, id: 'a' });
  expect(handle).toMatchObject({ id: 'a', pool, created: true });
  await until(async () => (await handle.get()).state === 'running');
  const again = await client.submit<number>('wait', 21, { pool, id: 'a' });
  expect(again.created).toBe(false);
  const other = await rejection(client.submit('wait', 22, { pool, id: 'a' }));
  expect(other).toBeInstanceOf(ApiError);
  expect(other).toMatchObject({ code: status.ALREADY_EXISTS });
  open();
  expect(await Promise.all([handle.result(), again.result()])).toEqual([42, 42]);
  // Its outcome is there, whoever asks later.
  expect(await (await client.submit<number>('wait', 21, { pool, id: 'a' })).result()).toBe(42);
  expect((await handle.get()).state).toBe('succeeded');
});

test('a failure that repeats is told with code, reason, attempt and details; a permanent one at once', async () => {
  const pool = uniquePool();
  const failed: unknown[] = [];
  await startWorker({ target: replica.target, pool }, (worker) =>
    worker
      .on('failed', ({ kind, attempt, error }) => failed.push([kind, attempt, error instanceof Error && error.message]))
      .handle('flaky', () => {
        throw new Error('no luck');
      })
      .handle('never', () => {
        throw new PermanentError('bad input', { code: status.INVALID_ARGUMENT, reason: 'bad', details: Buffer.from('why') });
      })
      .handle('coded', () => {
        throw new AttemptError('busy', { code: status.RESOURCE_EXHAUSTED, reason: 'full' });
      }),
  );
  const client = newClient({ target: replica.target });
  const flaky = await rejection(client.run('flaky', 1, { pool, retry: { ...quick.retry, maxAttempts: 2 } }));
  expect(flaky).toBeInstanceOf(JobFailed);
  expect(flaky).toMatchObject({ code: status.UNKNOWN, codeName: 'UNKNOWN', reason: 'handler_threw', message: 'no luck', attempt: 2 });
  const never = await rejection(client.run('never', 1, { pool, ...quick }));
  expect(never).toMatchObject({ code: status.INVALID_ARGUMENT, reason: 'bad', message: 'bad input', attempt: 1, details: Buffer.from('why') });
  expect(await rejection(client.run('coded', 1, { pool, retry: { maxAttempts: 1 } }))).toMatchObject({
    code: status.RESOURCE_EXHAUSTED,
    reason: 'full',
  });
  expect(failed).toEqual([
    ['flaky', 1, 'no luck'],
    ['flaky', 2, 'no luck'],
    ['never', 1, 'bad input'],
    ['coded', 1, 'busy'],
  ]);
});

test('RetryLater is the delay that the next attempt gets, instead of the backoff', async () => {
  const pool = uniquePool();
  const at: number[] = [];
  await startWorker({ target: replica.target, pool }, (worker) =>
    worker.handle('later', (_: unknown, { attempt }) => {
      at.push(performance.now());
      if (attempt === 1) throw new RetryLater(300);
      return attempt;
    }),
  );
  const client = newClient({ target: replica.target });
  const handle = await client.submit('later', 1, { pool, retry: { initialBackoffMs: 60_000, maxBackoffMs: 60_000 } });
  const scheduled = await until(async () => {
    const job = await handle.get();
    return job.state === 'scheduled' ? job : undefined;
  });
  expect(scheduled.failure).toMatchObject({ reason: 'retry_later', retryable: true });
  expect(await handle.result()).toBe(2);
  expect((at[1] ?? 0) - (at[0] ?? 0)).toBeGreaterThan(250);
});

test('an unknown kind fails with UNIMPLEMENTED unknown_kind after its attempts', async () => {
  const pool = uniquePool();
  await startWorker({ target: replica.target, pool }, (worker) => worker.handle('known', () => 1));
  const error = await rejection(newClient({ target: replica.target }).run('other', 1, { pool, retry: { ...quick.retry, maxAttempts: 2 } }));
  expect(error).toMatchObject({ code: status.UNIMPLEMENTED, reason: 'unknown_kind', attempt: 2 });
});

test('cancel aborts the signal with its reason, and the slot is free again', async () => {
  const pool = uniquePool();
  const why: unknown[] = [];
  const worker = await startWorker({ target: replica.target, pool }, (made) =>
    made
      .handle(
        'long',
        (_: unknown, { signal }) =>
          new Promise((_resolve, reject) => {
            signal.addEventListener('abort', () => {
              why.push(signal.reason);
              reject(signal.reason);
            });
          }),
      )
      .handle('short', () => 'ok'),
  );
  const client = newClient({ target: replica.target });
  const handle = await client.submit('long', 1, { pool });
  await until(() => worker.running === 1);
  expect((await handle.cancel()).state).toBe('cancelled');
  expect(await rejection(handle.result())).toBeInstanceOf(JobCancelled);
  await until(() => why.length === 1);
  expect(why[0]).toMatchObject({ name: 'JobAborted', why: 'cancelled' });
  expect(await client.run('short', 1, { pool })).toBe('ok');
});

test('a run timeout aborts the signal with "deadline" and fails the attempt', async () => {
  const pool = uniquePool();
  let why: unknown;
  await startWorker({ target: replica.target, pool }, (worker) =>
    worker.handle(
      'long',
      (_: unknown, { signal }) =>
        new Promise((_resolve, reject) => {
          signal.addEventListener('abort', () => {
            why = signal.reason.why;
            reject(signal.reason);
          });
        }),
    ),
  );
  const error = await rejection(newClient({ target: replica.target }).run('long', 1, { pool, runTimeoutMs: 150, retry: { maxAttempts: 1 } }));
  expect(error).toMatchObject({ code: status.DEADLINE_EXCEEDED, reason: 'run_timeout' });
  expect(why).toBe('deadline');
});

test('progress is there for clients while it runs, and for the next attempt', async () => {
  const pool = uniquePool();
  const { opened, open } = gate();
  const last: unknown[] = [];
  await startWorker({ target: replica.target, pool }, (worker) =>
    worker.handle('steps', async (_: unknown, context) => {
      last.push(context.lastProgressJson());
      if (context.attempt === 2) return 'done';
      context.progress({ step: 1 });
      context.progress({ step: 2 });
      await opened;
      throw new Error('at step 2');
    }),
  );
  const client = newClient({ target: replica.target });
  const handle = await client.submit('steps', 1, { pool, ...quick });
  const job = await until(async () => {
    const now = await handle.get();
    return now.progress.length > 0 ? now : undefined;
  });
  expect(JSON.parse(job.progress.toString())).toEqual({ step: 2 });
  open();
  expect(await handle.result()).toBe('done');
  expect(last).toEqual([undefined, { step: 2 }]);
});

test('a schema checks on both sides: what is sent is what was given, what is received is what it made of it', async () => {
  const pool = uniquePool();
  const resize = defineJob({
    kind: 'resize',
    pool,
    input: z.object({ width: z.number().int().positive(), at: z.string().transform((text) => new Date(text)) }),
    output: z.object({ year: z.number(), width: z.coerce.number() }),
  });
  await startWorker({ target: replica.target, pool }, (worker) =>
    worker.handle(resize, ({ width, at }) => ({ year: width > 100 ? Number.NaN : at.getUTCFullYear(), width })),
  );
  const client = newClient({ target: replica.target });
  const { year, width } = await client.run(resize, { width: 10, at: '2026-01-02' });
  expect([year + 1, width]).toEqual([2027, 10]);
  const refused = await rejection(client.run(resize, { width: -1, at: '2026-01-02' }));
  expect(refused).toBeInstanceOf(CodecError);
  expect(String(refused)).toMatch(/input of resize: width: /);
  expect(await rejection(client.run('resize', { width: 'x' }, { pool }))).toMatchObject({
    code: status.INVALID_ARGUMENT,
    reason: 'invalid_input',
    attempt: 1,
  });
  const broken = client.run(resize, { width: 101, at: '2026-01-02' }, { retry: { maxAttempts: 1 } });
  expect(await rejection(broken)).toMatchObject({ code: status.INTERNAL, reason: 'invalid_output' });
});

test("bytes pass as they are, and a codec of one's own does its work", async () => {
  const pool = uniquePool();
  const dates = { encode: (date: Date) => Buffer.from(String(date.getTime())), decode: (bytes: Buffer) => new Date(Number(bytes.toString())) };
  await startWorker({ target: replica.target, pool }, (worker) =>
    worker
      .handle('reverse', (bytes) => Buffer.from(bytes).reverse(), 'bytes')
      .handle('tomorrow', (date) => new Date(date.getTime() + 86_400_000), dates)
      .handleMethod('/a.B/C', (request, { method }) => Buffer.concat([request, Buffer.from(method)]))
      .handleOther((payload, { kind, method }) => Buffer.from(`${kind}${method}:${payload.toString()}`)),
  );
  const client = newClient({ target: replica.target });
  expect(await client.run('reverse', Buffer.from([1, 2, 255]), { pool, codec: 'bytes' })).toEqual(Buffer.from([255, 2, 1]));
  expect(await client.run('tomorrow', new Date(0), { pool, codec: dates })).toEqual(new Date(86_400_000));
  expect(String(await client.run('/a.B/C', Buffer.from('x'), { pool }))).toBe('x/a.B/C');
  expect(String(await client.run('/a.B/D', Buffer.from('y'), { pool }))).toBe('/a.B/D:y');
  expect(String(await client.run('odd', Buffer.from('z'), { pool, codec: 'bytes' }))).toBe('odd:z');
});

test('a wait ends with its signal or deadline, and the job goes on; an expired job says so', async () => {
  const pool = uniquePool();
  const client = newClient({ target: replica.target });
  const handle = await client.submit('none', 1, { pool });
  expect(await rejection(handle.result({ deadlineMs: 20 }))).toMatchObject({ code: status.DEADLINE_EXCEEDED });
  const controller = new AbortController();
  const waiting = rejection(handle.result({ signal: controller.signal }));
  controller.abort();
  expect(await waiting).toMatchObject({ code: status.CANCELLED });
  expect((await handle.get()).state).toBe('waiting');
  expect(await rejection(client.run('none', 1, { pool, queueTimeoutMs: 50 }))).toBeInstanceOf(JobExpired);
  expect(await rejection(client.submit('no such kind!', 1, { pool }))).toMatchObject({ code: status.INVALID_ARGUMENT });
});

test('jobs are listed page by page', async () => {
  const pool = uniquePool();
  const client = newClient({ target: replica.target });
  await Promise.all(Array.from({ length: 7 }, (_, i) => client.submit('none', i, { pool, id: `j${i}` })));
  const ids: string[] = [];
  for await (const { id, state, kind } of client.list({ pool, state: 'waiting', pageSize: 3 })) ids.push(`${id} ${state} ${kind}`);
  expect(ids.sort()).toEqual(Array.from({ length: 7 }, (_, i) => `j${i} waiting none`));
});

test('a result that is larger than the replica keeps fails its job, and the worker stays', async () => {
  const pool = uniquePool();
  const errors: Error[] = [];
  const worker = await startWorker({ target: replica.target, pool }, (made) =>
    made.on('error', (error) => errors.push(error)).handle('big', (bytes: number) => 'x'.repeat(bytes)),
  );
  const client = newClient({ target: replica.target });
  for (const bytes of [300_000, 10_000_000]) {
    expect(await rejection(client.run('big', bytes, { pool }))).toMatchObject({
      code: status.RESOURCE_EXHAUSTED,
      reason: 'result_too_large',
      attempt: 1,
    });
  }
  expect(await client.run('big', 3, { pool })).toBe('xxx');
  expect([errors, worker.attached]).toEqual([[], true]);
});
