import { expect, test } from 'vitest';
import { StoreFixture } from '../../helpers/store-fixture.js';

const fixture = new StoreFixture();

test("a beat carries its workers' own signs of life; the home's own is not one", async () => {
  const p = await fixture.pool();
  await p.worker('w1');
  await p.worker('w2');
  await p.at(1_000);
  const { value, diff } = await p.during(() => p.r1.workers.beat(p.name, [{ worker: 'w1', link: '1', ageMs: 300 }], false));
  expect(value).toEqual({ reply: ['ok'], assignments: [], more: false });
  expect(diff).toEqual({ 'homes.r1': 't+0 → t+1000', 'workers.w1': 't+0 → t+700' });
});

test('an older sign of life than the one that is known changes nothing', async () => {
  const p = await fixture.pool();
  await p.worker('w1');
  expect(await p.diff(() => p.r1.workers.beat(p.name, [{ worker: 'w1', link: '1', ageMs: 1 }], false))).toEqual({});
});

test('a lease that is kept is looked at again after 30 s, and counts as delivered', async () => {
  const p = await fixture.pool();
  const lease = await p.leased('j1', 'w1', { delivered: false });
  await p.at(1_000);
  const { value, diff } = await p.during(() => p.r1.workers.beat(p.name, [{ worker: 'w1', link: '1', lease }], false));
  expect(value.reply).toEqual(['ok']);
  expect(diff).toEqual({ 'homes.r1': 't+0 → t+1000', 'job:j1.delivered': '0 → 1', 'leases.j1': 't+5000 → t+31000' });
});

test.each([
  [29_999, 't+30000 → t+59999'],
  [30_000, 't+30000 → t+60000'],
  [30_001, 't+30000 → t+60000'],
])('at %i ms of a run of 60 s it is looked at again: %s', async (at, look) => {
  const p = await fixture.pool();
  const lease = await p.leased('j1', 'w1', { job: { runTimeoutMs: 60_000 } });
  await p.at(at);
  expect(await p.diff(() => p.r1.workers.beat(p.name, [{ worker: 'w1', link: '1', lease }], false))).toMatchObject({ 'leases.j1': look });
});

test.each([
  ['another link', { link: '2' }, 'not_home'],
  ['another replica', {}, 'not_home'],
  ['a worker that is not on the roll', { worker: 'w9' }, 'not_home'],
])('%s: %s %s, nothing is extended', async (what, fields, answer) => {
  const p = await fixture.pool();
  const lease = await p.leased('j1', 'w1', { delivered: false });
  const by = what === 'another replica' ? p.r2 : p.r1;
  await by.workers.beat(p.name, [], false);
  const beats = [
    { worker: 'w1', link: '1', lease },
    { worker: 'w1', link: '1', ageMs: 0 },
  ].map((beat) => ({ ...beat, ...fields }));
  const { value, diff } = await p.during(() => by.workers.beat(p.name, beats, false));
  expect(value.reply).toEqual([answer, answer]);
  expect(diff).toEqual({});
});

test('a lease that is not there is gone, one that was cancelled is cancelled', async () => {
  const p = await fixture.pool();
  const lease = await p.leased('j1', 'w1');
  const other = await p.leased('j2', 'w2');
  await p.r1.jobs.cancel(p.name, ['j2']);
  const leases = [{ ...lease, fence: '1' }, { ...lease, jobId: 'j9' }, other];
  const beats = leases.map((each) => ({ worker: each.worker, link: '1', lease: each }));
  const { value, diff } = await p.during(() => p.r1.workers.beat(p.name, beats, false));
  expect(value.reply).toEqual(['gone', 'gone', 'cancelled']);
  expect(diff).toEqual({});
});

test('a dead worker is gone', async () => {
  const p = await fixture.pool();
  const lease = await p.leased();
  await p.r1.workers.bury({ ...lease, boot: '' }, 0, 'evicted');
  const beats = [
    { worker: 'w1', link: '1', ageMs: 0 },
    { worker: 'w1', link: '1', lease },
  ];
  expect(await p.during(() => p.r1.workers.beat(p.name, beats, false))).toMatchObject({ value: { reply: ['gone', 'gone'] }, diff: {} });
});

test('a suspect is restored by evidence younger than the suspicion, not by as old', async () => {
  const p = await fixture.pool();
  const ref = await p.worker();
  await p.at(1_000);
  await p.r1.workers.suspect(ref, 1, 'missed');
  await p.at(1_500);
  const beat = (ageMs: number) => p.during(() => p.r1.workers.beat(p.name, [{ worker: 'w1', link: '1', ageMs }], false));
  const old = await beat(500);
  expect(old.diff).toEqual({ 'homes.r1': 't+0 → t+1500', 'workers.w1': 't+0 → t+1000' });
  const young = await beat(499);
  expect(young.diff).toEqual({
    free: '+ w1',
    'worker:w1.listed': '0 → 1',
    'worker:w1.misses': '- 1',
    'worker:w1.reason': '- missed',
    'worker:w1.state': 'suspect → free',
    'workers.w1': 't+1000 → t+1001',
  });
});

test('a suspect that is restored takes what waits; a drained or leaving one is draining again', async () => {
  const p = await fixture.pool();
  const lease = await p.leased('j1', 'w1', { info: { slots: 2 } });
  const drained = await p.worker('w2');
  await p.r1.workers.drain(p.name, 'w2', true);
  await p.r1.workers.deregister(p.name, 'w1', '');
  const third = await p.worker('w3');
  for (const ref of [lease, drained, third]) await p.r1.workers.suspect(ref, 1, 'missed');
  await p.job('j2');
  await p.at(1);
  const { assignments } = await p.r1.workers.beat(
    p.name,
    ['w1', 'w2', 'w3'].map((worker) => ({ worker, link: '1', ageMs: 0 })),
    false,
  );
  expect(p.given(assignments)).toEqual(['j2 F2 w3 1']);
  expect(await Promise.all(['w1', 'w2', 'w3'].map((id) => p.workerState(id)))).toEqual(['draining', 'draining', 'busy']);
});

test('a home that leaves is no home from now on, and the tick says so', async () => {
  const p = await fixture.pool();
  await p.worker();
  expect(await p.diff(() => p.r1.workers.beat(p.name, [], true))).toEqual({ 'homes.r1': 't+0 → 0' });
  expect((await p.tick({}, p.r2)).reply).toEqual(['r1']);
});

test('a call that is open keeps its lease, whoever owns the worker by now, and only as long as the lease stands', async () => {
  const p = await fixture.pool();
  const lease = await p.leased();
  await p.r2.workers.register(p.info('w1'), true);
  await p.at(2_000);
  const beats = [{ worker: 'w1', link: '1', lease, open: true }];
  const { value, diff } = await p.during(() => p.r1.workers.beat(p.name, beats, false));
  expect([value.reply, diff['leases.j1']]).toEqual([['ok'], 't+30000 → t+32000']);
  await p.r1.workers.bury({ ...lease, boot: '' }, 0, 'evicted');
  expect((await p.r1.workers.beat(p.name, beats, false)).reply).toEqual(['gone']);
});

test('the run timeout begins when the lease was sent, as its first beat says', async () => {
  const p = await fixture.pool();
  const lease = await p.leased('j1', 'w1', { delivered: false, job: { runTimeoutMs: 10_000 } });
  await p.at(4_000);
  const beat = (ranMs: number) => p.diff(() => p.r1.workers.beat(p.name, [{ worker: 'w1', link: '1', lease, ranMs }], false));
  expect(await beat(1_000)).toMatchObject({ 'job:j1.started': 't+0 → t+3000', 'leases.j1': 't+5000 → t+13000' });
  expect((await beat(0))['job:j1.started']).toBeUndefined();
});
