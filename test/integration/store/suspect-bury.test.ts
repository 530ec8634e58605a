import { expect, test } from 'vitest';
import { backsOff } from '../../helpers/store-diffs.js';
import { StoreFixture } from '../../helpers/store-fixture.js';

const fixture = new StoreFixture();

test('suspect: at its limit of misses, not before; off the list, and its leases stay', async () => {
  const p = await fixture.pool();
  const lease = await p.leased('j1', 'w1', { info: { slots: 2 } });
  await p.at(1_000);
  const first = await p.during(() => p.r1.workers.suspect(lease, 2, 'missed'));
  expect(first.value.reply).toBe('missed');
  expect(first.diff).toEqual({ 'worker:w1.misses': '+ 1' });
  const second = await p.during(() => p.r1.workers.suspect(lease, 2, 'missed'));
  expect(second.value.reply).toBe('suspect');
  expect(second.diff).toEqual({
    events: '+ worker.suspect w1 reason=missed',
    free: '- w1',
    'worker:w1.listed': '1 → 0',
    'worker:w1.misses': '1 → 2',
    'worker:w1.reason': '+ missed',
    'worker:w1.state': 'free → suspect',
    'worker:w1.suspected': '+ t+1000',
  });
  await p.job('j2');
  expect(await p.waiting()).toEqual(['j2']);
});

test('suspect: one more miss of a suspect is counted and is no news', async () => {
  const p = await fixture.pool();
  const ref = await p.worker();
  await p.r1.workers.suspect(ref, 1, 'missed');
  expect(await p.during(() => p.r1.workers.suspect(ref, 1, 'missed'))).toMatchObject({
    value: { reply: 'suspect' },
    diff: { 'worker:w1.misses': '1 → 2' },
  });
});

test.each(['boot', 'link', 'home', 'id'])('suspect: another %s stands there: stale, nothing is written', async (what) => {
  const p = await fixture.pool();
  const ref = await p.worker();
  const by = what === 'home' ? p.r2 : p.r1;
  expect(await p.during(() => by.workers.suspect(what === 'home' ? ref : { ...ref, [what]: '9' }, 1, 'missed'))).toMatchObject({
    value: { reply: 'stale' },
    diff: {},
  });
});

test('bury: what it held goes to others, its address is free, and it is forgotten later', async () => {
  const p = await fixture.pool();
  const lease = await p.leased();
  await p.at(1_000);
  const { value, diff } = await p.during(() => p.r2.workers.bury(lease, 1_000, 'unreachable'));
  expect(value.reply).toBe('buried');
  expect(diff).toEqual({
    ...backsOff('j1', '14 worker_lost retryable: the worker w1 is gone: unreachable', 1_900),
    'addresses.10.0.0.1:1': '- w1',
    'dead.w1': '+ t+1000',
    events: '+ worker.dead w1 reason=unreachable',
    'held:w1.j1': '- F1',
    'leases.j1': '- t+30000',
    'worker:w1.reason': '+ unreachable',
    'worker:w1.state': 'busy → dead',
    'workers.w1': '- t+0',
  });
  expect(await p.during(() => p.r2.workers.bury(lease, 1_000, 'unreachable'))).toMatchObject({ value: { reply: 'buried' }, diff: {} });
});

test('bury: a sign of life younger than the evidence saves it, one as old does not', async () => {
  const p = await fixture.pool();
  const ref = await p.worker();
  await p.at(1_000);
  expect(await p.during(() => p.r1.workers.bury(ref, 1_001, 'unreachable'))).toMatchObject({ value: { reply: 'stale' }, diff: {} });
  expect((await p.r1.workers.bury(ref, 1_000, 'unreachable')).reply).toBe('buried');
});

test.each(['boot', 'link'])('bury: another %s stands there: stale', async (what) => {
  const p = await fixture.pool();
  const ref = await p.worker();
  expect(await p.during(() => p.r1.workers.bury({ ...ref, [what]: '9' }, 0, 'unreachable'))).toMatchObject({ value: { reply: 'stale' }, diff: {} });
});

test('bury: nobody dies in the grace after an outage, but at an operator’s word', async () => {
  const p = await fixture.pool();
  const [ref, other] = [await p.worker('w1'), await p.worker('w2')];
  await p.tick();
  await p.at(6_000);
  await p.tick();
  await p.at(20_999);
  expect((await p.r1.workers.bury(ref, 0, 'unreachable')).reply).toBe('stale');
  expect((await p.r1.workers.bury({ ...other, boot: '' }, 0, 'evicted')).reply).toBe('buried');
  await p.at(21_000);
  expect((await p.r1.workers.bury(ref, 0, 'unreachable')).reply).toBe('buried');
});

test('bury: one that is not on the roll is unknown', async () => {
  const p = await fixture.pool();
  await p.worker();
  const ghost = { pool: p.name, id: 'w9', boot: '', link: '' };
  expect(await p.during(() => p.r1.workers.bury(ghost, 0, 'evicted'))).toMatchObject({ value: { reply: 'unknown' }, diff: {} });
});

test('bury: an undelivered job of a worker that was missed goes to another worker at once', async () => {
  const p = await fixture.pool();
  const lease = await p.leased('j1', 'w1', { delivered: false });
  await p.worker('w2');
  await p.r1.workers.suspect(lease, 1, 'missed');
  const { assignments } = await p.r1.workers.bury(lease, 0, 'unreachable');
  expect(p.given(assignments)).toEqual(['j1 F2 w2 1']);
});

test('bury: what a worker with a good link was sent a moment ago has had an attempt, confirmed or not', async () => {
  const p = await fixture.pool();
  const lease = await p.leased('j1', 'w1', { delivered: false });
  expect(await p.diff(() => p.r1.workers.bury(lease, 0, 'evicted'))).toMatchObject({ 'job:j1.state': 'running → scheduled' });
});
