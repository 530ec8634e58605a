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

test('same ID, other content: the outcome of the first is not given to the second, whichever answer comes first', async () => {
  const { replica, client } = await make();
  const first = client.run('work', 1, { pool: 'p', id: 'x' });
  const stream = await replica.stream();
  stream.opened();
  await until(() => stream.submitted().length === 1);
  stream.accept('x');
  await new Promise(setImmediate);
  const second = rejected(client.run('work', 2, { pool: 'p', id: 'x' }));
  const third = client.run('work', 1, { pool: 'p', id: 'x' });
  await until(() => stream.submitted().length === 2);
  // It ended before the second submission was answered.
  stream.ended('p', 'x', '7');
  expect(await first).toBe(7);
  stream.accept('x', { created: false, code: status.ALREADY_EXISTS, reason: 'JOB_CONFLICT', message: 'other content' });
  expect(await second).toMatchObject({ code: status.ALREADY_EXISTS, reason: 'JOB_CONFLICT' });
  await until(() => stream.submitted().length === 3);
  stream.ended('p', 'x', '7');
  stream.accept('x', { created: false });
  expect(await third).toBe(7);
});

test('an outcome of a former job is not taken for the one that was made anew under its ID', async () => {
  const { replica, client } = await make();
  const first = run(client, 'x');
  const stream = await replica.stream();
  stream.opened();
  await until(() => stream.submitted().length === 1);
  stream.accept('x');
  await new Promise(setImmediate);
  const second = run(client, 'x');
  await until(() => stream.submitted().length === 2);
  stream.ended('p', 'x', '1');
  stream.accept('x', { created: true });
  expect(await first).toBe(1);
  await until(() => stream.awaited().length === 1);
  stream.ended('p', 'x', '2');
  expect(await second).toBe(2);
});

test('fire and forget: accepted jobs that nobody awaits leave the window; their outcomes are asked for when somebody does', async () => {
  const { replica, client } = await make();
  const stream = replica.stream();
  const all = Promise.all(Array.from({ length: 300 }, (_, i) => client.submit('work', i, { pool: 'p', id: `j${i}` })));
  (await stream).opened(10);
  const open = await stream;
  let accepted = 0;
  let most = 0;
  await until(() => {
    const submitted = open.submitted();
    most = Math.max(most, submitted.length - open.acked().length);
    for (; accepted < submitted.length; accepted++) open.accept(`j${accepted}`);
    return accepted === 300;
  });
  const handles = await all;
  expect(most).toBeLessThanOrEqual(10);
  const result = handles[3]?.result();
  await until(() => open.awaited().length === 1);
  open.ended('p', 'j3', '42');
  expect([await result, open.awaited()]).toEqual([42, ['p j3']]);
});

test('a window full of awaited jobs is an error after giveUpMs, for those that wait for room', async () => {
  const { replica, client } = await make({ giveUpMs: 400 });
  const first = run(client, 'a');
  const stream = await replica.stream();
  stream.opened(1);
  await until(() => stream.submitted().length === 1);
  stream.accept('a');
  expect(await rejected(client.submit('work', 1, { pool: 'p', id: 'b' }))).toMatchObject({ code: status.RESOURCE_EXHAUSTED, reason: 'WINDOW_FULL' });
  stream.ended('p', 'a', '5');
  expect(await first).toBe(5);
});

test('while a pool takes no jobs, one is submitted after each pause, whatever waits; other pools go on; then all are', async () => {
  const { replica, client } = await make({ random: () => 1 });
  const waiting = Array.from({ length: 200 }, (_, i) => run(client, `j${i}`));
  const stream = await replica.stream();
  stream.opened(1_000);
  await until(() => stream.submitted().length === 200);
  let answered = 0;
  const refuse = () => {
    const ids = stream.all('submit').flatMap(({ specs }) => specs);
    for (const { id, pool } of ids.slice(answered)) {
      if (pool === 'p') stream.accept(id, { created: false, code: status.UNAVAILABLE, reason: 'REDIS_AWAY', message: 'away' });
      else stream.accept(id);
    }
    answered = ids.length;
    return ids.length;
  };
  const since = performance.now();
  await until(() => refuse() === 203);
  // 100 + 200 + 400 ms of pauses, and three tries.
  expect(performance.now() - since).toBeGreaterThan(650);
  const other = run(client, 'other', 'q');
  await until(() => refuse() === 204);
  stream.ended('q', 'other', '3');
  expect(await other).toBe(3);
  await until(() => stream.submitted().length === 205);
  const probe = stream.all('submit').at(-1)?.specs[0]?.id ?? '';
  stream.accept(probe);
  await until(() => stream.submitted().length === 404);
  for (let i = 0; i < 200; i++) {
    if (`j${i}` !== probe) stream.accept(`j${i}`);
    stream.ended('p', `j${i}`, '1');
  }
  expect(await Promise.all(waiting)).toEqual(waiting.map(() => 1));
});

test('what is refused for the moment for giveUpMs is given up, though the stream is there', async () => {
  const { replica, client } = await make({ giveUpMs: 400 });
  const all = Promise.all(Array.from({ length: 20 }, (_, i) => rejected(run(client, `j${i}`))));
  const stream = await replica.stream();
  stream.opened();
  let answered = 0;
  const refuse = setInterval(() => {
    const ids = stream.submitted();
    for (; answered < ids.length; answered++)
      stream.accept(ids[answered]?.slice(2) ?? '', { created: false, code: status.UNAVAILABLE, reason: 'REDIS_AWAY', message: 'away' });
  }, 5);
  const errors = await all;
  clearInterval(refuse);
  expect(errors).toEqual(errors.map(() => expect.objectContaining({ code: status.UNAVAILABLE, message: 'given up after 400 ms: away' })));
});

test('what is larger than the replica takes is refused here, alone, with size and limit', async () => {
  const { replica, client } = await make();
  const early = rejected(client.submit('work', 'x'.repeat(2_000), { pool: 'p', id: 'early' }));
  const good = run(client, 'good');
  const stream = await replica.stream();
  stream.opened(100, { maxPayloadBytes: 1_000, maxFrameBytes: 10_000 });
  const expected = { code: status.INVALID_ARGUMENT, reason: 'TOO_LARGE', message: expect.stringMatching(/payload: has 2002 bytes.* 1000 /) };
  expect(await early).toMatchObject(expected);
  expect(await rejected(client.submit('work', 'x'.repeat(2_000)))).toMatchObject(expected);
  const metadata = { big: 'm'.repeat(20_000) };
  expect(await rejected(client.submit('work', 1, { metadata }))).toMatchObject({
    code: status.INVALID_ARGUMENT,
    message: expect.stringMatching(/10000/),
  });
  await until(() => stream.submitted().length === 1);
  stream.accept('good');
  stream.ended('p', 'good', '5');
  expect(await good).toBe(5);
  expect([stream.submitted(), replica.streams.length]).toEqual([['p good'], 1]);
});

test('frames are no larger than the replica receives', async () => {
  const { replica, client } = await make();
  const all = Promise.all(Array.from({ length: 50 }, (_, i) => client.submit('work', 'x'.repeat(3_000), { pool: 'p', id: `j${i}` })));
  const stream = await replica.stream();
  stream.opened(100, { maxPayloadBytes: 10_000, maxFrameBytes: 20_000 });
  await until(() => stream.submitted().length === 50);
  for (let i = 0; i < 50; i++) stream.accept(`j${i}`);
  await all;
  const sizes = stream.all('submit').map(({ specs }) => specs.reduce((sum, { payload }) => sum + payload.length, 0));
  expect(Math.max(...sizes)).toBeLessThan(20_000);
});

test('a job that breaks the stream because something between takes less than was said is found and refused alone', async () => {
  const { replica, client } = await make();
  const bad = rejected(client.submit('work', 'x'.repeat(9_000), { pool: 'p', id: 'bad' }));
  const good = Array.from({ length: 5 }, (_, i) => run(client, `j${i}`));
  let n = 0;
  // Once each: what is asked for is looked at again and again.
  const answered = new Set<string>();
  await until(() => {
    const stream = replica.streams[n];
    if (stream === undefined || stream.all('open').length === 0) return false;
    if (!stream.over && stream.frames.length === 1) stream.opened();
    const submits = stream.all('submit');
    if (submits.some(({ specs }) => specs.some(({ id }) => id === 'bad'))) {
      stream.call.emit('error', { code: status.RESOURCE_EXHAUSTED, details: 'Received message larger than max (9100 vs 4096)' });
      n++;
      return false;
    }
    for (const id of stream.submitted()) {
      if (answered.has(`${n} ${id}`)) continue;
      answered.add(`${n} ${id}`);
      stream.accept(id.slice(2));
      stream.ended('p', id.slice(2), '1');
    }
    return stream.acked().length === 5;
  });
  expect(await bad).toMatchObject({ code: status.INVALID_ARGUMENT, reason: 'TOO_LARGE', message: expect.stringMatching(/9100 vs 4096/) });
  expect(await Promise.all(good)).toEqual([1, 1, 1, 1, 1]);
  expect(replica.streams.length).toBeLessThanOrEqual(3);
});

test('more accepted jobs than the window of another replica are awaited all the same', async () => {
  const { replica, client } = await make();
  const all = Promise.all(Array.from({ length: 6 }, (_, i) => run(client, `j${i}`)));
  const first = await replica.stream(0);
  first.opened(100);
  await until(() => first.submitted().length === 6);
  for (let i = 0; i < 6; i++) first.accept(`j${i}`);
  await new Promise(setImmediate);
  first.end(status.UNAVAILABLE);
  const second = await replica.stream(1);
  expect(second.awaiting()).toHaveLength(6);
  second.end(status.INVALID_ARGUMENT);
  const third = await replica.stream(2);
  expect(third.awaiting()).toEqual([]);
  third.opened(4);
  await until(() => third.awaited().length === 4);
  for (let i = 0; i < 6; i++) {
    await until(() => third.awaited().length > i);
    third.ended('p', `j${i}`, '1');
  }
  expect(await all).toEqual([1, 1, 1, 1, 1, 1]);
});

test('streams that are welcomed and broken at once follow each other at growing pauses', async () => {
  const { replica, client } = await make({ random: () => 1 });
  const job = run(client, 'a');
  const since = performance.now();
  for (let n = 0; n < 4; n++) {
    const stream = await replica.stream(n);
    stream.opened();
    await until(() => stream.submitted().length === 1);
    stream.end(status.INTERNAL);
  }
  const last = await replica.stream(4);
  // 100 + 200 + 400 + 800 ms.
  expect(performance.now() - since).toBeGreaterThan(1_400);
  last.opened();
  await until(() => last.submitted().length === 1);
  last.accept('a');
  last.ended('p', 'a');
  expect(await job).toBe(1);
});
