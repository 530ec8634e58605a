import { expect, test } from 'vitest';
import { z } from 'zod';
import { defineJob, type JobContext, JobFailed, PermanentError, RetryLater, testWorker, Worker } from '../../../src/sdk/index.js';
import { until } from '../../helpers/until.js';

const double = defineJob({ kind: 'double', input: z.number(), output: z.number() });

/** Constructing it opens nothing: there is no replica behind that address. */
const worker = new Worker({ target: '127.0.0.1:1' })
  .handle(double, (n) => n * 2)
  .handle('context', (input: unknown, { id, attempt, metadata, lastProgressJson }) => ({ input, id, attempt, metadata, last: lastProgressJson() }))
  .handle('steps', async (_: unknown, { progress, signal }: JobContext) => {
    progress({ step: 1 });
    progress(Buffer.from('two'));
    await new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
  })
  .handle('bad', () => {
    throw new PermanentError('no');
  })
  .handle('later', () => {
    throw new RetryLater(50);
  })
  .handle('reverse', (bytes) => Buffer.from(bytes).reverse(), 'bytes')
  .handleMethod('/a.B/C', (request) => request);

test('a handler runs through its codecs without a replica', async () => {
  const { run } = testWorker(worker);
  const doubled: number = await run(double, 21);
  expect(doubled).toBe(42);
  expect(await run('reverse', Buffer.from('abc'))).toEqual(Buffer.from('cba'));
  expect(await run('/a.B/C', Buffer.from('abc'))).toEqual(Buffer.from('abc'));
  const options = { id: 'j', attempt: 3, metadata: { a: 'b' }, lastProgress: { step: 7 } };
  expect(await run('context', { x: 1 }, options)).toEqual({ input: { x: 1 }, id: 'j', attempt: 3, metadata: { a: 'b' }, last: { step: 7 } });
});

test('errors are what a client would get', async () => {
  const { run } = testWorker(worker);
  await expect(run('bad')).rejects.toMatchObject({ name: 'JobFailed', reason: 'permanent', message: 'no', attempt: 1 });
  await expect(run('later', 1, { attempt: 2 })).rejects.toMatchObject({ name: 'JobFailed', reason: 'retry_later', attempt: 2 });
  await expect(run('no such')).rejects.toThrow(/not known here/);
  await expect(run(double, 'x' as unknown as number)).rejects.toThrow(/input of double/);
});

test('progress is collected, and an abort or a timeout comes with its reason', async () => {
  const test = testWorker(worker);
  const begun = test.begin('steps');
  await until(() => begun.progress.length === 2);
  expect(begun.progress.map(String)).toEqual(['{"step":1}', 'two']);
  begun.abort('cancelled');
  await expect(begun.result).rejects.toMatchObject({ name: 'JobCancelled' });
  const drained = test.begin('steps');
  await until(() => drained.progress.length === 2);
  drained.abort('draining');
  await expect(drained.result).rejects.toMatchObject({ name: 'JobFailed', reason: 'draining' });
  const early = test.begin('steps');
  early.abort('cancelled');
  await expect(early.result).rejects.toMatchObject({ name: 'JobCancelled' });
  const late = await test.run('steps', 1, { runTimeoutMs: 20 }).catch((error: unknown) => error);
  expect(late).toBeInstanceOf(JobFailed);
  expect(late).toMatchObject({ reason: 'run_timeout', codeName: 'DEADLINE_EXCEEDED' });
});
