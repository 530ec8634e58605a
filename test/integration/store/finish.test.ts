import { expect, test } from 'vitest';
import { keys } from '../../../src/store/keys.js';
import { buried, ended, full, quarantined, roomy, started, unleased } from '../../helpers/store-diffs.js';
import { failure, StoreFixture, success, T0 } from '../../helpers/store-fixture.js';
import { until } from '../../helpers/until.js';

const fixture = new StoreFixture();

test('a result ends its job; the worker goes back on the list when nothing waits', async () => {
  const p = await fixture.pool();
  const lease = await p.leased('j1', 'w1', { job: { payload: Buffer.from('in'), metadata: { a: 'b' }, totalTimeoutMs: 9_000 } });
  await p.at(1_000);
  const { value, diff } = await p.during(() => p.finish([p.result(lease, success('out'))]));
  expect(value).toEqual({
    reply: [{ verdict: 'accepted', state: 'succeeded', attempt: 1, startedAt: T0, at: T0 + 1_000, createdAt: T0 }],
    assignments: [],
    more: false,
  });
  expect(diff).toEqual({
    ...unleased('j1', 'w1', 'F1'),
    ...ended('j1', 'succeeded', 1_000),
    ...roomy('w1'),
    'deadlines.j1': '- t+9000',
    free: '+ w1',
    'job:j1.done': '+ F1',
    'job:j1:metadata': '- {"a":"b"}',
    'job:j1:payload': '- in',
    'job:j1:result': '+ out',
    'ttl job:j1:result': '+ 3600 s',
  });
});

test('the worker gets its next job in the same reply, past the list', async () => {
  const p = await fixture.pool();
  const lease = await p.leased();
  await p.job('j2');
  await p.at(1_000);
  const { value, diff } = await p.during(() => p.finish([p.result(lease)]));
  expect(p.given(value.assignments)).toEqual(['j2 F2 w1 1']);
  expect(diff).toEqual({
    ...unleased('j1', 'w1', 'F1'),
    ...ended('j1', 'succeeded', 1_000),
    ...started('j2', 'w1', 'F2', 1_000),
    'job:j1.done': '+ F1',
    'job:j1:result': '+ done',
    'meta.fence': 'F1 → F2',
    'ttl job:j1:result': '+ 3600 s',
    'waiting:0': '- j2',
  });
});

test.each([
  ['the caller is stopping', (p) => p.finish([p.result(p.lease1)], { claims: false })],
  ['the result came by another way', (p) => p.finish([p.result(p.lease1, success(), { link: '' })])],
  ['the caller is not the home', (p) => p.finish([p.result(p.lease1)], { by: p.r2 })],
  ['the link is an old one', (p) => p.finish([p.result(p.lease1, success(), { link: '0' })])],
] as [string, (p: Awaited<ReturnType<typeof withLease>>) => Promise<unknown>][])('nothing is claimed past the list when %s', async (_, act) => {
  const p = await withLease();
  // Another worker stands in the list first: who claims would jump before it.
  await p.worker('w2');
  await p.r1.jobs.pause(p.name, true);
  await p.job('j2');
  await p.raw.hdel(keys.meta(p.name), 'paused');
  const diff = await p.diff(() => act(p));
  expect(diff).toMatchObject({ 'held:w2.j2': '+ F2', free: 'w2 → w1', ...roomy('w1'), ...full('w2') });
});

async function withLease() {
  const p = await fixture.pool();
  return Object.assign(p, { lease1: await p.leased() });
}

test('in a paused pool, and by a drained worker, nothing is claimed', async () => {
  const p = await fixture.pool();
  const lease = await p.leased();
  await p.job('j2');
  await p.r1.jobs.pause(p.name, true);
  expect((await p.finish([p.result(lease)])).assignments).toEqual([]);
  expect(await p.free()).toEqual(['w1']);
  const next = await p.r1.jobs.pause(p.name, false);
  expect(p.given(next.assignments)).toEqual(['j2 F2 w1 1']);
  const second = await p.lease(lease, 'j2');
  await p.job('j3');
  await p.r1.workers.drain(p.name, 'w1', true);
  expect((await p.finish([p.result(second)])).assignments).toEqual([]);
  expect([await p.free(), await p.workerState(), await p.waiting()]).toEqual([[], 'draining', ['j3']]);
});

test('several results of one worker in a batch: each freed slot takes a job, and what room is left is listed', async () => {
  const p = await fixture.pool();
  const first = await p.leased('j1', 'w1', { info: { slots: 3 } });
  await p.job('j2');
  await p.job('j3');
  const [second, third] = [await p.lease(first, 'j2'), await p.lease(first, 'j3')];
  await p.job('j4');
  await p.job('j5');
  const { value, diff } = await p.during(() => p.finish([first, second, third].map((lease) => p.result(lease))));
  expect(p.given(value.assignments)).toEqual(['j4 F4 w1 1', 'j5 F5 w1 1']);
  expect(diff).toMatchObject({ ...roomy('w1'), free: '+ w1', 'waiting:0': '- j4 j5' });
});

test('a result again is a duplicate: no second claim, and the undelivered lease is answered once more', async () => {
  const p = await fixture.pool();
  const lease = await p.leased();
  await p.job('j2');
  await p.job('j3');
  const first = await p.finish([p.result(lease)]);
  const { value, diff } = await p.during(() => p.finish([p.result(lease)]));
  expect(value.reply).toMatchObject([{ verdict: 'duplicate', state: 'succeeded', attempt: 1 }]);
  expect(value.assignments).toEqual(first.assignments);
  expect(diff).toEqual({});
  await p.lease(lease, 'j2');
  expect((await p.finish([p.result(lease)])).assignments).toEqual([]);
  expect((await p.finish([p.result(lease)], { by: p.r2 })).assignments).toEqual([]);
});

test('a result twice in one batch is accepted once', async () => {
  const p = await fixture.pool();
  const lease = await p.leased();
  await p.job('j2');
  const { reply, assignments } = await p.finish([p.result(lease), p.result(lease)]);
  expect(reply.map(({ verdict }) => verdict)).toEqual(['accepted', 'duplicate']);
  expect(p.given(assignments)).toEqual(['j2 F2 w1 1']);
});

test.each([
  ['another fence', 'stale', { fence: '1' }],
  ['another boot', 'stale', { boot: 'other' }],
  ['another worker', 'foreign', { worker: 'w9' }],
])('%s: %s, and nothing is written', async (_, verdict, fields) => {
  const p = await fixture.pool();
  const lease = await p.leased();
  const { value, diff } = await p.during(() => p.finish([p.result(lease, success(), fields)]));
  expect(value.reply).toMatchObject([{ verdict, state: 'running' }]);
  expect(diff).toEqual({});
});

test('a job that nobody knows is gone', async () => {
  const p = await fixture.pool();
  const lease = await p.leased();
  const { value, diff } = await p.during(() => p.finish([p.result({ ...lease, jobId: 'j9' })]));
  expect(value.reply).toEqual([{ verdict: 'gone', state: '', attempt: 0, startedAt: 0, at: T0, createdAt: 0 }]);
  expect(diff).toEqual({});
});

test('a job whose keys were lost while it was held is gone, and its slot is free', async () => {
  const p = await fixture.pool();
  const lease = await p.leased();
  await p.raw.del(keys.job(p.name, 'j1'));
  const { value, diff } = await p.during(() => p.finish([p.result(lease)]));
  expect(value.reply).toMatchObject([{ verdict: 'gone' }]);
  expect(diff).toEqual({ ...roomy('w1'), free: '+ w1', 'held:w1.j1': '- F1' });
});

test('a result of a cancelled job frees the quarantined slot; again, and it only says so', async () => {
  const p = await fixture.pool();
  const lease = await p.leased();
  expect(await p.diff(() => p.r1.jobs.cancel(p.name, ['j1']))).toMatchObject(quarantined('j1', 'w1', 'F1'));
  const { value, diff } = await p.during(() => p.finish([p.result(lease)]));
  expect(value.reply).toMatchObject([{ verdict: 'cancelled', state: 'cancelled' }]);
  expect(diff).toEqual({ ...roomy('w1'), free: '+ w1', 'held:w1.j1': '- !F1' });
  const again = await p.during(() => p.finish([p.result(lease)]));
  expect(again).toMatchObject({ value: { reply: [{ verdict: 'cancelled' }] }, diff: {} });
});

test('a late result of an expired lease is stale, frees its slot, and takes the next job', async () => {
  const p = await fixture.pool();
  const lease = await p.leased();
  await p.pass(0, 30_000);
  expect(await p.state()).toBe('scheduled');
  await p.job('j2');
  const { value, diff } = await p.during(() => p.finish([p.result(lease)]));
  expect(value.reply).toMatchObject([{ verdict: 'stale', state: 'scheduled' }]);
  expect(p.given(value.assignments)).toEqual(['j2 F2 w1 1']);
  expect(diff).toMatchObject({ 'held:w1.j1': '- !F1', 'held:w1.j2': '+ F2' });
});

test("a quarantined METHOD worker's result ends the quarantine's own end too", async () => {
  const p = await fixture.pool();
  const lease = await p.leased('j1', 'w1', { job: { kind: '', method: '/a.B/C' }, info: { contract: 'METHOD' } });
  await p.r1.jobs.cancel(p.name, ['j1']);
  expect(await p.diff(() => p.finish([p.result(lease)]))).toMatchObject({ 'held:w1.j1': '- !F1', 'leases.!F1 w1 j1': '- t+60000', free: '+ w1' });
});

test('a leaving worker goes with its last attempt', async () => {
  const p = await fixture.pool();
  const lease = await p.leased();
  await p.r1.workers.deregister(p.name, 'w1', 'w1-b1');
  await p.job('j2');
  const { value, diff } = await p.during(() => p.finish([p.result(lease)]));
  expect(value).toMatchObject({ reply: [{ verdict: 'accepted' }], assignments: [] });
  expect(diff).toMatchObject({
    'dead.w1': '+ t+0',
    events: '+ worker.dead w1 reason=deregistered',
    'worker:w1.state': 'draining → dead',
    'workers.w1': '- t+0',
  });
});

test('those who wait elsewhere are told of the end; the caller knows it', async () => {
  const p = await fixture.pool();
  await p.worker('w1', {}, p.r2);
  await p.submit([p.spec()], { wait: true });
  await p.submit([p.spec()], { wait: true, by: p.r2 });
  const lease = await p.lease({ pool: p.name, id: 'w1', boot: 'w1-b1', link: '1' }, 'j1', true, p.r2);
  await p.finish([p.result(lease, failure({ retryable: false }))], { by: p.r2 });
  await until(() => p.hints('r1').includes('done j1'));
  expect(p.hints('r2')).toEqual(['assign j1 F1 w1']);
});

test('a failure that is not retryable buries the job, with its payload', async () => {
  const p = await fixture.pool();
  const lease = await p.leased('j1', 'w1', { job: { payload: Buffer.from('in'), metadata: { a: 'b' } } });
  const { value, diff } = await p.during(() => p.finish([p.result(lease, failure({ code: 3, retryable: false }))]));
  expect(value.reply).toMatchObject([{ verdict: 'accepted', state: 'failed' }]);
  expect(diff).toEqual({
    ...buried('j1', '3 test final: no', 0),
    ...unleased('j1', 'w1', 'F1'),
    ...roomy('w1'),
    events: '+ job.buried j1 reason=test attempt=1',
    free: '+ w1',
    'job:j1.done': '+ F1',
    'ttl job:j1:metadata': '+ 604800 s',
    'ttl job:j1:payload': '+ 604800 s',
  });
});
