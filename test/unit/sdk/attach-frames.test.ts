import { status } from '@grpc/grpc-js';
import { expect, test } from 'vitest';
import { Verdict } from '../../../src/grpc/generated/muster/v1/worker.js';
import { toDuration } from '../../../src/sdk/duration.js';
import { Worker } from '../../../src/sdk/index.js';
import { until } from '../../helpers/until.js';
import { attached, make } from './attached-worker.js';

test('results of one turn share a frame of at most 64, and no more go out than may be unsettled', async () => {
  const made = await make({ slots: 200 });
  const stream = await attached(made, { maxUnsettled: 100 });
  for (let i = 0; i < 150; i++) stream.assign(`j${i}`, '1');
  await until(() => made.runs.length === 150);
  for (const run of made.runs) run.end();
  await until(() => stream.results().length === 100);
  expect(stream.all('results').map(({ results }) => results.length)).toEqual([64, 36]);
  stream.say('settled', { settlements: Array.from({ length: 60 }, (_, i) => ({ jobId: `j${i}`, fence: '1', verdict: Verdict.VERDICT_ACCEPTED })) });
  await until(() => stream.results().length === 150);
  expect(new Set(stream.results()).size).toBe(150);
});

test('frames are at most 256 KiB, unless one result alone is larger', async () => {
  const made = await make();
  const stream = await attached(made, { maxFrameBytes: 2_000_000 });
  for (let i = 0; i < 6; i++) stream.assign(`j${i}`, '1');
  await until(() => made.runs.length === 6);
  made.runs.forEach((run, i) => {
    run.end('x'.repeat(i === 5 ? 600_000 : 100_000));
  });
  await until(() => stream.results().length === 6);
  expect(stream.all('results').map(({ results }) => results.length)).toEqual([2, 2, 1, 1]);
});

test('a job that runs for longer is received and beaten for, with its newest progress once', async () => {
  const made = await make();
  const stream = await attached(made, { beatInterval: toDuration(200) });
  stream.assign('a', '1');
  await until(() => made.runs.length === 1);
  made.runs[0]?.progress({ step: 1 });
  made.runs[0]?.progress({ step: 2 });
  await until(() => stream.received().includes('a/1'));
  await until(() => stream.all('beat').length >= 3);
  const said = stream.all('beat').flatMap(({ held }) => held.map(({ progress }) => progress.toString()).filter((text) => text !== ''));
  expect(said).toEqual(['{"step":2}']);
  expect(stream.received()).toEqual(['a/1']);
  expect(() => made.runs[0]?.progress('x'.repeat(5_000))).toThrow(/4096/);
});

test('the progress of many attempts goes up in beats of at most 256 KiB of it, and the last one names all', async () => {
  const made = await make({ slots: 200 });
  const stream = await attached(made, { beatInterval: toDuration(200) });
  for (let i = 0; i < 150; i++) stream.assign(`j${i}`, '1');
  await until(() => made.runs.length === 150);
  for (const run of made.runs) run.progress('x'.repeat(4_000));
  const sizes = () => stream.all('beat').map(({ held }) => held.reduce((sum, { progress }) => sum + progress.length, 0));
  await until(() => sizes().reduce((sum, size) => sum + size, 0) === 150 * 4_002);
  expect(Math.max(...sizes())).toBeLessThanOrEqual(262_144);
  expect(stream.all('beat').at(-1)?.held).toHaveLength(150);
});

test('resize is told at once, and by the Hello of the next stream', async () => {
  const made = await make();
  const first = await attached(made);
  made.worker.resize(3);
  expect(await first.next('resize')).toEqual({ slots: 3 });
  first.end(status.UNAVAILABLE);
  const second = await made.replica.stream(1);
  expect(second.all('hello')[0]?.worker?.slots).toBe(3);
  expect(() => made.worker.resize(-1)).toThrow(TypeError);
});

test('no slots are told by each Hello: nothing is given out in between', async () => {
  const made = await make({ slots: 0 });
  const first = await attached(made);
  expect(first.all('hello')[0]?.paused).toBe(true);
  first.end(status.UNAVAILABLE);
  const second = await made.replica.stream(1);
  expect(second.all('hello')[0]?.paused).toBe(true);
  second.welcome();
  made.worker.resize(2);
  expect(await second.next('resize')).toEqual({ slots: 2 });
});

test('a refusal is told as an error, and tried again', async () => {
  const made = await make();
  for (const [n, code] of [status.ALREADY_EXISTS, status.FAILED_PRECONDITION].entries()) (await made.replica.stream(n)).end(code);
  const first = await made.replica.stream(2);
  first.welcome();
  await until(() => made.worker.attached);
  // What would be final for its first stream is not for one that was attached.
  first.end(status.UNAVAILABLE);
  (await made.replica.stream(3)).end(status.INVALID_ARGUMENT);
  (await made.replica.stream(4)).welcome();
  await until(() => made.worker.attached);
  expect(made.errors).toMatchObject([{ code: status.ALREADY_EXISTS }, { code: status.FAILED_PRECONDITION }, { code: status.INVALID_ARGUMENT }]);
});

test('drain says Goodbye, on each stream, and resolves when what is held is settled and the roll agrees', async () => {
  const made = await make();
  const first = await attached(made);
  first.assign('a', '1');
  await until(() => made.runs.length === 1);
  let drained = false;
  const draining = made.worker.drain().then(() => {
    drained = true;
  });
  await first.next('goodbye');
  first.end(status.UNAVAILABLE);
  const second = await made.replica.stream(1);
  second.welcome();
  await second.next('goodbye');
  made.runs[0]?.end();
  await until(() => second.results().length === 1);
  expect([drained, made.replica.deregistered]).toEqual([false, []]);
  second.settle('a', '1');
  await draining;
  expect(made.replica.deregistered).toEqual(['w']);
  await until(() => second.over);
  expect(made.replica.streams).toHaveLength(2);
});

test('stop aborts what is left after the grace with "draining", and gives it back to be retried', async () => {
  const made = await make();
  const stream = await attached(made);
  stream.assign('a', '1');
  await until(() => made.runs.length === 1);
  const stopping = made.worker.stop({ graceMs: 10 });
  await until(() => stream.results().length === 1);
  expect(made.runs[0]?.signal.reason).toMatchObject({ why: 'draining' });
  const [frame] = stream.all('results');
  expect(frame?.results[0]?.outcome).toMatchObject({ $case: 'failure', value: { code: status.CANCELLED, reason: 'draining', retryable: true } });
  stream.settle('a', '1');
  await stopping;
  await until(() => stream.over);
});

test('an unknown frame is ignored', async () => {
  const made = await make();
  const stream = await attached(made);
  stream.call.write({ frame: undefined });
  stream.assign('a', '1');
  await until(() => made.runs.length === 1);
  expect(made.worker.attached).toBe(true);
});

test('a worker is used once, with something to do', async () => {
  const worker = new Worker({ target: '127.0.0.1:1' });
  await expect(worker.start()).rejects.toThrow(/handles nothing/);
  worker.handle('a', () => 1);
  expect(() => worker.handle('a', () => 2)).toThrow(/handler already/);
  expect(() => new Worker({ target: 'nowhere' })).toThrow(/target/);
  expect(() => new Worker({ target: '127.0.0.1:1', pool: 'Bad Pool' })).toThrow(/pool/);
  await worker.stop();
  await expect(worker.start()).rejects.toThrow(/stopped/);
});
