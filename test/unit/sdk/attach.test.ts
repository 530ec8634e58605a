import { status } from '@grpc/grpc-js';
import { expect, test } from 'vitest';
import { Contract } from '../../../src/grpc/generated/muster/v1/common.js';
import { Verdict } from '../../../src/grpc/generated/muster/v1/worker.js';
import { toDuration } from '../../../src/sdk/duration.js';
import { Worker } from '../../../src/sdk/index.js';
import { until } from '../../helpers/until.js';
import { names } from './attach-replica.js';
import { attached, make } from './attached-worker.js';

test('Hello says who it is; one boot a Worker, the same on each stream', async () => {
  const made = await make({ labels: { a: 'b' }, region: 'eu', version: '7' });
  const first = await made.replica.stream(0);
  const [hello] = first.all('hello');
  expect(hello?.worker).toMatchObject({ id: 'w', pool: 'p', slots: 8, labels: { a: 'b' }, region: 'eu', version: '7', kinds: ['work'] });
  expect(hello?.worker).toMatchObject({ contract: Contract.CONTRACT_ATTACHED, boot: made.worker.boot });
  expect(hello?.held).toEqual([]);
  first.welcome();
  first.end();
  const [again] = (await made.replica.stream(1)).all('hello');
  expect(again?.worker?.boot).toBe(made.worker.boot);
  expect(new Worker({ target: made.replica.target }).boot).not.toBe(made.worker.boot);
});

test('a (job, fence) runs once, however often it is assigned; its result is told again', async () => {
  const made = await make();
  const stream = await attached(made);
  stream.assign('j', '5');
  stream.assign('j', '5');
  await until(() => made.runs.length === 1);
  made.runs[0]?.end();
  await until(() => stream.results().length === 1);
  stream.settle('j', '5');
  stream.assign('j', '5');
  await until(() => stream.results().length === 2);
  expect(stream.results()).toEqual(['j/5', 'j/5']);
  expect(made.runs).toHaveLength(1);
});

test("a lease older than one seen is dropped; a newer one aborts what runs, whose result is nobody's", async () => {
  const made = await make();
  const stream = await attached(made);
  stream.assign('j', '9007199254740993');
  await until(() => made.runs.length === 1);
  stream.assign('j', '9007199254740992');
  await until(() => stream.received().includes('j/9007199254740992!'));
  stream.assign('j', '9007199254740994');
  await until(() => made.runs.length === 2);
  expect(made.runs[0]?.signal.reason).toMatchObject({ name: 'JobAborted', why: 'lease_lost' });
  await until(() => stream.received().includes('j/9007199254740993!'));
  made.runs[1]?.end();
  await until(() => stream.results().length > 0);
  expect(stream.results()).toEqual(['j/9007199254740994']);
  expect(made.runs).toHaveLength(2);
});

test('a result is kept until a verdict that it knows settles it, and comes again on the next stream', async () => {
  const made = await make();
  const first = await attached(made);
  for (const id of ['a', 'b', 'c']) first.assign(id, '1');
  await until(() => made.runs.length === 3);
  for (const run of made.runs) run.end();
  await until(() => first.results().length === 3);
  first.settle('a', '1');
  // Of a newer replica: not a word to forget a result on.
  first.settle('b', '1', 77 as Verdict);
  first.settle('b', '1', Verdict.VERDICT_UNSPECIFIED);
  first.say('ping', { nonce: '1' });
  expect(names((await first.next('pong')).held).sort()).toEqual(['b/1!', 'c/1!']);
  first.end(status.UNAVAILABLE);
  const second = await made.replica.stream(1);
  expect(names(second.all('hello')[0]?.held ?? []).sort()).toEqual(['b/1!', 'c/1!']);
  expect(second.results()).toEqual([]);
  second.welcome();
  await until(() => second.results().length === 2);
  for (const [id, verdict] of [
    ['b', Verdict.VERDICT_STALE],
    ['c', Verdict.VERDICT_GONE],
  ] as const)
    second.settle(id, '1', verdict);
  second.say('ping', { nonce: '2' });
  expect((await second.next('pong')).held).toEqual([]);
});

test('Reattach: another connection, Hello with all that is held, and the old stream is ended only after Welcome', async () => {
  const made = await make();
  const first = await attached(made);
  first.assign('long', '1');
  first.assign('done', '1');
  await until(() => made.runs.length === 2);
  made.runs.find(({ id }) => id === 'done')?.end();
  await until(() => first.results().length === 1);
  first.say('reattach', { within: toDuration(0), reason: 'draining' });
  const second = await made.replica.stream(1);
  expect(second.call.getPeer()).not.toBe(first.call.getPeer());
  expect(names(second.all('hello')[0]?.held ?? []).sort()).toEqual(['done/1!', 'long/1']);
  // Not welcomed yet: the old stream is used.
  expect([made.worker.attached, first.over]).toEqual([true, false]);
  first.assign('late', '1');
  first.say('ping', { nonce: '1' });
  // It is here, and not begun: the next replica may know it as lost.
  expect(names((await first.next('pong')).held).sort()).toEqual(['done/1!', 'late/1', 'long/1']);
  expect(made.runs).toHaveLength(2);
  second.welcome();
  await until(() => first.over);
  await until(() => second.results().includes('done/1'));
  second.assign('late', '1');
  await until(() => made.runs.length === 3);
  for (const run of made.runs) run.end();
  await until(() => second.results().length === 3);
  expect(second.results().sort()).toEqual(['done/1', 'late/1', 'long/1']);
  expect(made.runs).toHaveLength(3);
});

test('a new stream that is refused leaves the old one in use', async () => {
  const made = await make();
  const first = await attached(made);
  first.say('reattach', { within: toDuration(0), reason: 'age' });
  (await made.replica.stream(1)).end(status.UNAVAILABLE);
  const third = await made.replica.stream(2);
  first.assign('a', '1');
  third.end(status.UNAVAILABLE);
  await until(() => made.runs.length === 1);
  made.runs[0]?.end();
  await until(() => first.results().length === 1);
  expect(first.over).toBe(false);
  const fourth = await made.replica.stream(3);
  fourth.welcome();
  await until(() => first.over && fourth.results().length === 1);
});

test('Cancel and Revoke abort with their reasons: a cancelled attempt has a result, a revoked one is named as stopped', async () => {
  const made = await make();
  const stream = await attached(made);
  for (const id of ['c', 'r']) stream.assign(id, '1');
  await until(() => made.runs.length === 2);
  const lease = (jobId: string) => ({ jobId, fence: '1', done: false, progress: Buffer.alloc(0) });
  stream.say('cancel', { held: [lease('c'), lease('unknown')] });
  stream.say('revoke', { held: [lease('r'), lease('other')] });
  await until(() => stream.received().length === 3 && stream.results().length === 1);
  expect(stream.results()).toEqual(['c/1']);
  expect(stream.received().sort()).toEqual(['other/1!', 'r/1!', 'unknown/1!']);
  const why = made.runs.map(({ id, signal }) => [id, signal.reason.why]);
  expect(why.sort()).toEqual([
    ['c', 'cancelled'],
    ['r', 'lease_lost'],
  ]);
});

test('an attempt that does not listen is named as held until it is over, and only then as stopped', async () => {
  const made = await make({ deaf: true });
  const stream = await attached(made);
  stream.assign('deaf', '1');
  await until(() => made.runs.length === 1);
  stream.say('revoke', { held: [{ jobId: 'deaf', fence: '1', done: false, progress: Buffer.alloc(0) }] });
  await until(() => made.runs[0]?.signal.aborted);
  stream.say('ping', { nonce: '7' });
  const pong = await stream.next('pong');
  expect([pong.nonce, names(pong.held), stream.received()]).toEqual(['7', ['deaf/1'], []]);
  made.runs[0]?.end();
  await until(() => stream.received().includes('deaf/1!'));
  expect(stream.results()).toEqual([]);
});

test('what Welcome abandons is stopped and named as stopped', async () => {
  const made = await make();
  const first = await attached(made);
  first.assign('a', '1');
  await until(() => made.runs.length === 1);
  first.end(status.UNAVAILABLE);
  const second = await made.replica.stream(1);
  second.welcome({ abandon: [{ jobId: 'a', fence: '1', done: false, progress: Buffer.alloc(0) }] });
  await until(() => second.received().includes('a/1!'));
  expect(made.runs[0]?.signal.reason).toMatchObject({ why: 'lease_lost' });
});
