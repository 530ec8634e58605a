import { status } from '@grpc/grpc-js';
import { afterEach, expect, test } from 'vitest';
import { JobState } from '../../../src/grpc/generated/muster/v1/job.js';
import { Client, type ClientOptions, JobGone } from '../../../src/sdk/index.js';
import { until } from '../../helpers/until.js';
import { type SessionReplica, startSessionReplica } from './session-replica.js';

const ends: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

async function make(options: Partial<ClientOptions> = {}): Promise<{ replica: SessionReplica; client: Client }> {
  const replica = await startSessionReplica();
  const client = new Client({ target: replica.target, ...options });
  ends.push(
    () => replica.kill(),
    () => client.close(),
  );
  return { replica, client };
}

const rejected = (promise: Promise<unknown>) =>
  promise.then(
    (value) => Promise.reject(new Error(`it resolved: ${String(value)}`)),
    (error: unknown) => error,
  );

const run = (client: Client, id: string, pool = 'p') => client.run('work', 1, { pool, id });

test('nothing is opened before the first job; submissions of one turn share a frame of at most 64, outcomes are acknowledged', async () => {
  const { replica, client } = await make();
  expect(replica.streams).toEqual([]);
  const all = Promise.all(Array.from({ length: 100 }, (_, i) => run(client, `j${i}`)));
  const stream = await replica.stream();
  expect(stream.awaiting()).toEqual([]);
  stream.opened(1_000);
  await until(() => stream.submitted().length === 100);
  expect(stream.all('submit').map(({ specs }) => specs.length)).toEqual([64, 36]);
  for (let i = 0; i < 100; i++) {
    stream.accept(`j${i}`);
    stream.ended('p', `j${i}`, String(i));
  }
  expect(await all).toEqual(Array.from({ length: 100 }, (_, i) => i));
  await until(() => stream.acked().length === 100);
  expect(replica.streams).toHaveLength(1);
});

test('no more jobs are under way than the window allows, which may grow', async () => {
  const { replica, client } = await make();
  const all = Promise.all(['a', 'b', 'c', 'd', 'e'].map((id) => run(client, id)));
  const stream = await replica.stream();
  stream.opened(2);
  await until(() => stream.submitted().length === 2);
  for (const id of ['a', 'b']) stream.accept(id);
  stream.ended('p', 'a');
  await until(() => stream.submitted().length === 3);
  stream.say('window', { window: 3 });
  await until(() => stream.submitted().length === 4);
  for (const id of ['c', 'd']) stream.accept(id);
  for (const id of ['b', 'c', 'd']) stream.ended('p', id);
  await until(() => stream.submitted().length === 5);
  stream.accept('e');
  stream.ended('p', 'e');
  await all;
  expect(stream.submitted()).toEqual(['p a', 'p b', 'p c', 'p d', 'p e']);
});

test('after a break the accepted are awaited, and what was not accepted is submitted again under its id', async () => {
  const { replica, client } = await make();
  const all = Promise.all(['a', 'b', 'c'].map((id) => run(client, id)));
  const first = await replica.stream(0);
  first.opened();
  await until(() => first.submitted().length === 3);
  first.accept('a');
  first.accept('c');
  first.ended('p', 'c', '3');
  await until(() => first.acked().length === 1);
  first.end(status.UNAVAILABLE);
  const second = await replica.stream(1);
  expect([second.awaiting(), second.submitted()]).toEqual([['p a'], []]);
  second.opened();
  await until(() => second.submitted().length === 1);
  expect(second.submitted()).toEqual(['p b']);
  second.accept('b', { created: false });
  second.ended('p', 'a', '1');
  second.ended('p', 'b', '2');
  expect(await all).toEqual([1, 2, 3]);
});

test('an awaited job that is not known any more rejects with JobGone', async () => {
  const { replica, client } = await make();
  const gone = rejected(run(client, 'a'));
  const first = await replica.stream(0);
  first.opened();
  await until(() => first.submitted().length === 1);
  first.accept('a');
  await until(() => first.frames.length > 0);
  first.ended('p', 'a', '', JobState.JOB_STATE_UNSPECIFIED);
  expect(await gone).toBeInstanceOf(JobGone);
  expect(await gone).toMatchObject({ pool: 'p', id: 'a' });
});

test('Reopen: another connection awaits what is accepted; the old one is used until Opened, and then ended', async () => {
  const { replica, client } = await make();
  const all = Promise.all(['a', 'b', 'c'].map((id) => run(client, id)));
  const first = await replica.stream(0);
  first.opened();
  await until(() => first.submitted().length === 3);
  for (const id of ['a', 'b', 'c']) first.accept(id);
  first.ended('p', 'c', '3');
  await until(() => first.acked().length === 1);
  first.say('reopen', { reason: 'draining' });
  const second = await replica.stream(1);
  expect(second.awaiting()).toEqual(['p a', 'p b']);
  expect(second.call.getPeer()).not.toBe(first.call.getPeer());
  first.ended('p', 'a', '1');
  const late = run(client, 'd');
  await until(() => first.acked().length === 2);
  expect([first.over, first.submitted().length]).toEqual([false, 3]);
  second.opened();
  await until(() => first.over && second.submitted().length === 1);
  second.accept('d');
  // Both replicas tell it.
  for (const id of ['a', 'b', 'd']) second.ended('p', id, '2');
  expect(await all).toEqual([1, 2, 3]);
  expect(await late).toBe(2);
  await until(() => second.acked().length === 3);
});

test('a replica that is stopping is not taken for a new session', async () => {
  const { replica, client } = await make();
  const job = run(client, 'a');
  const first = await replica.stream(0);
  first.say('reopen', { reason: 'draining' });
  first.opened();
  const second = await replica.stream(1);
  second.opened();
  await until(() => second.submitted().length === 1);
  second.accept('a');
  second.ended('p', 'a');
  expect(await job).toBe(1);
  expect(first.submitted()).toEqual([]);
});

test('a refusal reaches the one who submitted; what is refused for the moment is submitted again', async () => {
  const { replica, client } = await make();
  const bad = rejected(run(client, 'bad'));
  const good = run(client, 'good');
  const stream = await replica.stream();
  stream.opened();
  await until(() => stream.submitted().length === 2);
  stream.accept('bad', { created: false, code: status.RESOURCE_EXHAUSTED, reason: 'BACKLOG_FULL', message: 'pool p: full' });
  stream.accept('good', { created: false, code: status.UNAVAILABLE, reason: 'REDIS_AWAY', message: 'away' });
  expect(await bad).toMatchObject({ code: status.RESOURCE_EXHAUSTED, reason: 'BACKLOG_FULL', message: 'pool p: full' });
  await until(() => stream.submitted().length === 3);
  stream.accept('good');
  stream.ended('p', 'good', '5');
  expect(await good).toBe(5);
});

test('one id in two pools is two jobs, though answers name no pool', async () => {
  const { replica, client } = await make();
  const both = Promise.all([run(client, 'x', 'p'), run(client, 'x', 'q')]);
  const stream = await replica.stream();
  stream.opened();
  await until(() => stream.submitted().length === 1);
  stream.accept('x');
  await until(() => stream.submitted().length === 2);
  stream.accept('x');
  stream.ended('q', 'x', '2');
  stream.ended('p', 'x', '1');
  expect(await both).toEqual([1, 2]);
  expect(stream.submitted()).toEqual(['p x', 'q x']);
});

test('what no replica would take rejects everybody who waits', async () => {
  const { replica, client } = await make();
  const all = Promise.all([rejected(run(client, 'a')), rejected(run(client, 'b'))]);
  (await replica.stream()).end(status.UNAUTHENTICATED);
  expect(await all).toMatchObject([{ code: status.UNAUTHENTICATED }, { code: status.UNAUTHENTICATED }]);
});

test('as many jobs as may are under way: one more is refused; closing gives up what waits', async () => {
  const { client } = await make({ maxPending: 2 });
  const waiting = Promise.all([rejected(run(client, 'a')), rejected(run(client, 'b'))]);
  expect(await rejected(run(client, 'c'))).toMatchObject({ code: status.RESOURCE_EXHAUSTED, reason: 'TOO_MANY_PENDING' });
  await client.close();
  expect(await waiting).toMatchObject([{ code: status.CANCELLED }, { code: status.CANCELLED }]);
  expect(await rejected(run(client, 'd'))).toMatchObject({ code: status.FAILED_PRECONDITION, reason: 'CLOSED' });
});
