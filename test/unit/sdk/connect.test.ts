import { status } from '@grpc/grpc-js';
import { afterEach, expect, test } from 'vitest';
import type { WatchEventsRequest, WatchEventsResponse } from '../../../src/grpc/generated/muster/v1/admin.js';
import { ApiError } from '../../../src/sdk/api-error.js';
import { type Api, type ConnectOptions, connect } from '../../../src/sdk/connect.js';
import { isTarget } from '../../../src/sdk/target.js';
import { until } from '../../helpers/until.js';
import { type Answers, answer, job, Refused, type Replica, startReplica } from './replica.js';

const open: { close(): void }[] = [];

async function serve(answers: Answers): Promise<Replica> {
  const replica = await startReplica(answers);
  open.push({ close: () => replica.kill() });
  return replica;
}

function api(target: string, options?: ConnectOptions): Api {
  const made = connect(target, options);
  open.push(made);
  return made;
}

afterEach(() => {
  for (const part of open.splice(0)) part.close();
});

const failure = (promise: Promise<unknown>): Promise<ApiError> =>
  promise.then(
    () => Promise.reject(new Error('it was answered')),
    (error: unknown) => (error instanceof ApiError ? error : Promise.reject(error)),
  );

test('calls of all three services go over one channel and come back decoded', async () => {
  const replica = await serve({
    getJob: answer(({ pool, id }) => ({ job: job({ spec: { pool, id } }) })),
    ping: answer(({ id }) => ({ healthy: id === 'w', reason: '' })),
    listPools: answer(() => ({ pools: [] })),
  });
  const client = api(replica.target);
  expect((await client.getJob({ pool: 'p', id: 'j' })).job?.spec).toMatchObject({ pool: 'p', id: 'j' });
  expect(await client.ping({ id: 'w', pool: 'p', boot: 'b' })).toEqual({ healthy: true, reason: '' });
  expect(await client.listPools({})).toEqual({ pools: [] });
});

test('a refusal carries code, reason, metadata and when to try again', async () => {
  const replica = await serve({
    getJob: answer(() => {
      throw new Refused(status.RESOURCE_EXHAUSTED, 'BACKLOG_FULL', 'pool p: the backlog is full', 200);
    }),
  });
  const error = await failure(api(replica.target).getJob({ pool: 'p', id: 'j' }));
  expect(error).toMatchObject({
    code: status.RESOURCE_EXHAUSTED,
    codeName: 'RESOURCE_EXHAUSTED',
    reason: 'BACKLOG_FULL',
    message: 'pool p: the backlog is full',
    broken: false,
  });
  expect(error.details).toEqual({ domain: 'muster', metadata: { a: 'b' }, fields: [], retryAfterMs: 200 });
});

test('a status without details, or with bytes that are none, still is one', async () => {
  const bad = new Refused(status.NOT_FOUND, 'X', 'no such job');
  bad.metadata.set('grpc-status-details-bin', Buffer.from([0xff, 0xff, 0xff]));
  const replica = await serve({
    getJob: answer(() => {
      throw bad;
    }),
  });
  const client = api(replica.target);
  expect(await failure(client.getJob({ pool: '', id: 'j' }))).toMatchObject({ code: status.NOT_FOUND, reason: '', message: 'no such job' });
  expect(await failure(client.waitJob({ pool: '', id: 'j', wait: undefined }))).toMatchObject({ code: status.UNIMPLEMENTED, reason: '' });
});

test('a call ends at its deadline, at that of the connection, and with its signal', async () => {
  const replica = await serve({ getJob: () => {} });
  const ask = { pool: '', id: 'j' };
  expect(await failure(api(replica.target).getJob(ask, { deadlineMs: 40 }))).toMatchObject({ code: status.DEADLINE_EXCEEDED, broken: true });
  expect(await failure(api(replica.target, { deadlineMs: 40 }).getJob(ask))).toMatchObject({ code: status.DEADLINE_EXCEEDED });
  const client = api(replica.target);
  const controller = new AbortController();
  const call = failure(client.getJob(ask, { signal: controller.signal }));
  controller.abort();
  expect(await call).toMatchObject({ code: status.CANCELLED });
  expect(await failure(client.getJob(ask, { signal: controller.signal }))).toMatchObject({
    code: status.CANCELLED,
    message: 'aborted before it was sent',
  });
});

test('nobody listening is UNAVAILABLE', async () => {
  const replica = await startReplica({});
  replica.kill();
  expect(await failure(api(replica.target).listPools({}))).toMatchObject({ code: status.UNAVAILABLE, broken: true });
});

test('calls are spread over every address, and go on when one dies', async () => {
  const named = (name: string) => serve({ ping: answer(() => ({ healthy: true, reason: name })) });
  const [a, b] = await Promise.all([named('a'), named('b')]);
  const client = api(`ipv4:127.0.0.1:${a.port},127.0.0.1:${b.port}`);
  const ask = async () => (await client.ping({ id: '', pool: '', boot: '' })).reason;
  const seen = new Set<string>();
  await until(async () => seen.add(await ask()).size === 2);
  a.kill();
  await until(async () => {
    const last = await Promise.all([ask(), ask(), ask(), ask()]);
    return last.every((name) => name === 'b');
  });
});

test('a large payload passes both ways', async () => {
  const replica = await serve({
    runJob: answer(({ spec }) => ({ job: job({ outcome: { $case: 'output', value: spec?.payload ?? Buffer.alloc(0) } }) })),
  });
  const { jobSpec } = await import('../../../src/sdk/run.js');
  const payload = Buffer.alloc(3_000_000, 7);
  const { job: done } = await api(replica.target).runJob({ spec: jobSpec({ payload }), wait: undefined, cancelOnDisconnect: false });
  expect(done?.outcome?.$case === 'output' && done.outcome.value.equals(payload)).toBe(true);
}, 30_000);

const event = (id: string): WatchEventsResponse => ({ id, time: undefined, kind: 'worker.dead', subject: 'w', fields: {} });
const from: WatchEventsRequest = { pool: 'p', after: '', within: undefined };

test('watched events come in order, and the loop ends with the stream', async () => {
  const replica = await serve({
    watchEvents: (call) => {
      for (const id of ['1', '2', '3']) call.write(event(id));
      call.end();
    },
  });
  const seen: string[] = [];
  for await (const { id } of api(replica.target).watchEvents(from)) seen.push(id);
  expect(seen).toEqual(['1', '2', '3']);
});

test('leaving the loop ends the stream at the server', async () => {
  let over = false;
  const replica = await serve({
    watchEvents: (call) => {
      call.on('cancelled', () => {
        over = true;
      });
      call.write(event('1'));
    },
  });
  for await (const { id } of api(replica.target).watchEvents(from)) {
    expect(id).toBe('1');
    break;
  }
  await until(() => over, { what: 'the stream to be cancelled' });
});

test('a watch that is refused or aborted throws ApiError', async () => {
  const replica = await serve({
    watchEvents: (call) => {
      if (call.request.pool === 'none') call.emit('error', { code: status.NOT_FOUND, details: 'no such pool' });
    },
  });
  const client = api(replica.target);
  const drain = async (request: WatchEventsRequest, signal?: AbortSignal) => {
    for await (const _ of client.watchEvents(request, { signal }));
  };
  expect(await failure(drain({ ...from, pool: 'none' }))).toMatchObject({ code: status.NOT_FOUND, message: 'no such pool' });
  const controller = new AbortController();
  const watching = failure(drain(from, controller.signal));
  controller.abort();
  expect(await watching).toMatchObject({ code: status.CANCELLED });
});

test('a target is checked before anything is opened', () => {
  for (const good of ['localhost:50051', '10.0.0.1:1', '[::1]:5', 'ipv4:127.0.0.1:1,127.0.0.1:2', 'dns:///muster.svc:50051'])
    expect(isTarget(good), good).toBe(true);
  for (const bad of ['', 'localhost', '::1', 'http://a:1', 'a b:1', 'host:123456']) {
    expect(isTarget(bad), bad).toBe(false);
    expect(() => connect(bad)).toThrow(TypeError);
  }
});
