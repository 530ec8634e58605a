import { expect, test } from 'vitest';
import type { WorkerRef } from '../../../src/domain/worker.js';
import type { Store } from '../../../src/store/store.js';
import { StoreFixture, type TestPool } from '../../helpers/store-fixture.js';

const fixture = new StoreFixture();

interface Options {
  by?: Store;
  boot?: string;
  slots?: number;
  held?: { jobId: string; fence: string; done: boolean }[];
}

function attach(p: TestPool, { by = p.r1, boot = 'b1', slots = 1, held = [] }: Options = {}) {
  return by.workers.attach({ pool: p.name, id: 'w1', region: '', slots, labels: {}, kinds: [], version: '', boot }, held);
}

/** A worker that is attached at r1, and its jobs leased there, delivered or not. */
async function holding(p: TestPool, jobs: { id: string; delivered: boolean }[]) {
  await attach(p, { slots: 4 });
  const ref: WorkerRef = { pool: p.name, id: 'w1', boot: 'b1', link: '1' };
  const leases = [];
  for (const { id, delivered } of jobs) {
    await p.job(id);
    leases.push(await p.lease(ref, id, delivered));
  }
  return { ref, leases };
}

const held = (lease: { jobId: string; fence: string }, done = false) => ({ jobId: lease.jobId, fence: lease.fence, done });

test('a new worker is on the roll, free, without an address', async () => {
  const p = await fixture.pool();
  const { value, diff } = await p.during(() => attach(p));
  expect(value.reply).toEqual({ kind: 'ok', link: '1', state: 'free', kept: [], abandon: [] });
  expect(diff).toEqual({
    events: '+ worker.registered w1 contract=ATTACHED',
    free: '+ w1',
    'homes.r1': '+ t+0',
    'meta.family': '+ RUNNER',
    'meta.fence': '+ 0',
    'worker:w1.boot': '+ b1',
    'worker:w1.contract': '+ ATTACHED',
    'worker:w1.home': '+ r1',
    'worker:w1.link': '+ 1',
    'worker:w1.listed': '+ 1',
    'worker:w1.joined': '+ t+0',
    'worker:w1.slots': '+ 1',
    'worker:w1.state': '+ free',
    'workers.w1': '+ t+0',
  });
});

test('attaching elsewhere with what it holds: that goes on under the new link, delivered; fences stay', async () => {
  const p = await fixture.pool();
  const { leases } = await holding(p, [
    { id: 'j1', delivered: true },
    { id: 'j2', delivered: false },
  ]);
  await p.at(2_000);
  const { reply, assignments } = await attach(p, { by: p.r2, slots: 4, held: leases.map((lease) => held(lease)) });
  expect(reply).toMatchObject({ kind: 'ok', link: '2', kept: leases.map(({ jobId, fence }) => ({ jobId, fence })), abandon: [] });
  expect(assignments).toEqual([]);
  const dump = await p.dump();
  expect(dump.get('job:j2.delivered')).toBe('1');
  expect(dump.get('leases.j2')).toBe('t+32000');
});

test('what it does not hold is sent again with its fence, delivered or not: the streams may have overtaken each other', async () => {
  const p = await fixture.pool();
  await holding(p, [
    { id: 'j1', delivered: true },
    { id: 'j2', delivered: false },
  ]);
  const { reply, assignments } = await attach(p, { by: p.r2, slots: 4 });
  expect(reply).toMatchObject({ kept: [], abandon: [] });
  expect(p.given(assignments).sort()).toEqual(['j1 F1 w1 2', 'j2 F2 w1 2']);
  const dump = await p.dump();
  expect([dump.get('job:j1.delivered'), dump.get('job:j1.attempt'), dump.get('leases.j1')]).toEqual(['0', '1', 't+5000']);
});

test('what is held without a lease is abandoned, and its slot is taken until the worker says that it has stopped', async () => {
  const p = await fixture.pool();
  const { reply } = await attach(p, { held: [{ jobId: 'gone', fence: '77', done: false }] });
  expect(reply).toMatchObject({ state: 'busy', abandon: [{ jobId: 'gone', fence: '77' }] });
  const ref = { pool: p.name, id: 'w1', boot: 'b1', link: '1' };
  await p.r1.workers.probed(ref, 0, false, [{ what: 'idle', jobId: 'gone', fence: '77' }]);
  expect(await p.workerState()).toBe('free');
});

test('what ended over the stream before, since this Hello was made, takes no slot', async () => {
  const p = await fixture.pool();
  const { leases } = await holding(p, [{ id: 'j1', delivered: true }]);
  const [lease] = leases;
  if (!lease) throw new Error('no lease');
  await p.finish([p.result(lease)]);
  const { reply } = await attach(p, { by: p.r2, held: [held(lease)] });
  expect(reply).toMatchObject({ state: 'free', kept: [], abandon: [] });
});

test('a result that is outstanding takes no slot: its verdict comes with the result', async () => {
  const p = await fixture.pool();
  const { reply } = await attach(p, { held: [{ jobId: 'gone', fence: '77', done: true }] });
  expect(reply).toMatchObject({ state: 'free', abandon: [] });
});

test('a new boot is refused while the old life is attached; once its stream is gone it takes over, and what the old one held goes on', async () => {
  const p = await fixture.pool();
  const { ref } = await holding(p, [{ id: 'j1', delivered: true }]);
  expect((await attach(p, { by: p.r2, boot: 'b2' })).reply).toEqual({ kind: 'exists', home: 'r1' });
  await p.r1.workers.detach(ref, 'cut', 15_000);
  expect((await attach(p, { by: p.r2, boot: 'b2' })).reply).toMatchObject({ kind: 'ok', link: '2' });
  expect(await p.state('j1')).toBe('scheduled');
  await p.r2.workers.detach({ ...ref, boot: 'b2', link: '2' }, 'cut', 15_000);
  expect((await attach(p)).reply).toEqual({ kind: 'superseded' });
});

test.each([
  ['another incarnation', 'other'],
  ['one that says the boot of the attached worker', 'b1'],
])('register: %s is refused while the worker is attached, and nothing is written', async (_, boot) => {
  const p = await fixture.pool();
  await attach(p);
  const { value, diff } = await p.during(() => p.r2.workers.register(p.info('w1', { boot }), true));
  expect(value.reply).toEqual({ kind: 'attached' });
  expect(diff).toEqual({});
});

test('register: the worker is dialed once its stream is gone', async () => {
  const p = await fixture.pool();
  const { ref } = await holding(p, [{ id: 'j1', delivered: true }]);
  await p.r1.workers.detach(ref, 'cut', 15_000);
  expect((await p.r2.workers.register(p.info('w1', { boot: 'b2' }), true)).reply).toMatchObject({ kind: 'ok', link: '2' });
  expect(await p.state('j1')).toBe('scheduled');
});

test.each([
  ['another incarnation', 'other'],
  ['one that guessed the boot of the dialed worker, its address', '10.0.0.1:1'],
])('attach: %s is refused while the worker is dialed, and nothing is written', async (_, boot) => {
  const p = await fixture.pool();
  await p.leased('j1', 'w1', { info: { boot: '10.0.0.1:1', bootDerived: true } });
  const { value, diff } = await p.during(() => attach(p, { by: p.r2, boot }));
  expect(value.reply).toEqual({ kind: 'exists', home: 'r1' });
  expect(diff).toEqual({});
});

test('a pool of another family refuses it', async () => {
  const p = await fixture.pool();
  await p.worker('old', { contract: 'LEGACY' });
  expect((await attach(p)).reply).toEqual({ kind: 'family', family: 'LEGACY' });
});

test('detach: suspect at once, its leases stay; dead at the end of its grace, not before', async () => {
  const p = await fixture.pool();
  const { ref } = await holding(p, [{ id: 'j1', delivered: true }]);
  expect((await p.r1.workers.detach(ref, 'cut', 15_000)).reply).toBe('ok');
  expect(await p.workerState()).toBe('suspect');
  expect(await p.free()).toEqual([]);
  expect(await p.state('j1')).toBe('running');
  await p.pass(0, 14_999);
  expect(await p.workerState()).toBe('suspect');
  await p.pass(14_999, 15_000);
  expect(await p.workerState()).toBe('dead');
  expect(await p.state('j1')).toBe('scheduled');
});

test('one that attaches again in time lives on', async () => {
  const p = await fixture.pool();
  const { ref, leases } = await holding(p, [{ id: 'j1', delivered: true }]);
  await p.r1.workers.detach(ref, 'cut', 15_000);
  await p.pass(0, 14_000);
  await attach(p, { slots: 4, held: leases.map((lease) => held(lease)) });
  await p.pass(14_000, 16_000);
  expect(await p.workerState()).toBe('free');
  expect(await p.state('j1')).toBe('running');
});

test('a stream that was replaced ends without any meaning', async () => {
  const p = await fixture.pool();
  await attach(p);
  await attach(p, { by: p.r2 });
  const { value, diff } = await p.during(() => p.r1.workers.detach({ pool: p.name, id: 'w1', boot: 'b1', link: '1' }, 'cut', 15_000));
  expect(value.reply).toBe('stale');
  expect(diff).toEqual({});
});

test('orphans: an attached worker is not for others to check; it has its grace', async () => {
  const p = await fixture.pool();
  await attach(p);
  await p.at(6_000);
  expect((await p.r2.workers.orphans(p.name, '0', 100)).orphans).toEqual([]);
  expect(await p.workerState()).toBe('suspect');
  expect((await p.dump()).get('deadlines.@w1')).toBe('t+21000');
});

test('resize: up gives it more, to none takes it off the list; another link writes nothing', async () => {
  const p = await fixture.pool();
  await attach(p);
  const ref = { pool: p.name, id: 'w1', boot: 'b1', link: '1' };
  await p.job('j1');
  await p.job('j2');
  expect(await p.state('j2')).toBe('waiting');
  expect(p.given((await p.r1.workers.resize(ref, 2)).assignments)).toEqual(['j2 F1 w1 1']);
  await p.r1.workers.resize(ref, 3);
  expect(await p.workerState()).toBe('free');
  await p.r1.workers.resize(ref, 0);
  expect(await p.workerState()).toBe('busy');
  expect(await p.free()).toEqual([]);
  expect(await p.during(() => p.r1.workers.resize({ ...ref, link: '9' }, 5))).toMatchObject({ value: { reply: 'stale' }, diff: {} });
});

test('a leaving worker whose stream broke and that is back does not die of that stream, once it has said goodbye again', async () => {
  const p = await fixture.pool();
  const { ref, leases } = await holding(p, [{ id: 'j1', delivered: true }]);
  await p.r1.workers.deregister(p.name, 'w1', 'b1');
  await p.r1.workers.detach(ref, 'cut', 15_000);
  await attach(p, { slots: 4, held: leases.map((lease) => held(lease)) });
  await p.r1.workers.deregister(p.name, 'w1', 'b1');
  await p.pass(0, 16_000);
  expect([await p.workerState(), await p.state('j1')]).toEqual(['draining', 'running']);
});

test('detach: said again with less time, the worker has that; with more, it keeps what it had', async () => {
  const p = await fixture.pool();
  const { ref } = await holding(p, [{ id: 'j1', delivered: true }]);
  await p.r1.workers.detach(ref, 'cut', 15_000);
  await p.r1.workers.detach(ref, 'cut', 2_000);
  await p.r1.workers.detach(ref, 'cut', 15_000);
  expect((await p.dump()).get('deadlines.@w1')).toBe('t+2000');
});
