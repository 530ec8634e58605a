import { expect, test } from 'vitest';
import { StoreFixture } from '../../helpers/store-fixture.js';

const fixture = new StoreFixture();

test('a drained worker leaves the list, and what it holds goes on', async () => {
  const p = await fixture.pool();
  await p.leased('j1', 'w1', { info: { slots: 2 } });
  const { value, diff } = await p.during(() => p.r1.workers.drain(p.name, 'w1', true));
  expect(value.reply).toBe('draining');
  expect(diff).toEqual({
    events: '+ worker.drained w1',
    free: '- w1',
    'worker:w1.drained': '+ 1',
    'worker:w1.listed': '1 → 0',
    'worker:w1.reason': '+ drained',
    'worker:w1.state': 'free → draining',
  });
  expect(await p.during(() => p.r1.workers.drain(p.name, 'w1', true))).toMatchObject({ value: { reply: 'draining' }, diff: {} });
});

test('undrained, it takes what waits', async () => {
  const p = await fixture.pool();
  await p.worker();
  await p.r1.workers.drain(p.name, 'w1', true);
  await p.job();
  const { value, diff } = await p.during(() => p.r1.workers.drain(p.name, 'w1', false));
  expect(p.given(value.assignments)).toEqual(['j1 F1 w1 1']);
  expect(diff).toMatchObject({
    events: '+ worker.undrained w1',
    'worker:w1.drained': '- 1',
    'worker:w1.reason': '- drained',
    'worker:w1.state': 'draining → busy',
  });
});

test('undrain of one that is not drained changes nothing', async () => {
  const p = await fixture.pool();
  await p.worker();
  expect(await p.during(() => p.r1.workers.drain(p.name, 'w1', false))).toMatchObject({ value: { reply: 'free' }, diff: {} });
});

test('a drained worker that holds nothing more stays on the roll', async () => {
  const p = await fixture.pool();
  const lease = await p.leased();
  await p.r1.workers.drain(p.name, 'w1', true);
  await p.finish([p.result(lease)]);
  expect([await p.workerState(), await p.free()]).toEqual(['draining', []]);
});

test('a suspect may be drained; the dead and the unknown may not', async () => {
  const p = await fixture.pool();
  const ref = await p.worker();
  await p.r1.workers.suspect(ref, 1, 'missed');
  expect(await p.during(() => p.r1.workers.drain(p.name, 'w1', true))).toMatchObject({
    value: { reply: 'suspect' },
    diff: { 'worker:w1.drained': '+ 1', events: '+ worker.drained w1' },
  });
  await p.r1.workers.bury({ ...ref, boot: '' }, 0, 'evicted');
  expect(await p.during(() => p.r1.workers.drain(p.name, 'w1', false))).toMatchObject({ value: { reply: 'dead' }, diff: {} });
  expect((await p.r1.workers.drain(p.name, 'w9', true)).reply).toBeUndefined();
});

test('deregister: a worker that holds nothing is dead at once', async () => {
  const p = await fixture.pool();
  await p.worker();
  const { value, diff } = await p.during(() => p.r1.workers.deregister(p.name, 'w1', 'w1-b1'));
  expect(value.reply).toEqual({ status: 'ok', held: 0 });
  expect(diff).toEqual({
    'addresses.10.0.0.1:1': '- w1',
    'dead.w1': '+ t+0',
    events: '+ worker.dead w1 reason=deregistered',
    free: '- w1',
    'worker:w1.listed': '1 → 0',
    'worker:w1.reason': '+ deregistered',
    'worker:w1.state': 'free → dead',
    'workers.w1': '- t+0',
  });
  expect((await p.r1.workers.deregister(p.name, 'w1', 'w1-b1')).reply).toEqual({ status: 'unknown', held: 0 });
});

test('deregister: one that holds a lease leaves with it, or when its timeout passes, not 1 ms before', async () => {
  const p = await fixture.pool();
  await p.leased();
  const { value, diff } = await p.during(() => p.r1.workers.deregister(p.name, 'w1', '', 3_000));
  expect(value.reply).toEqual({ status: 'ok', held: 1 });
  expect(diff).toEqual({
    'deadlines.@w1': '+ t+3000',
    'worker:w1.leaving': '+ 1',
    'worker:w1.reason': '+ deregistered',
    'worker:w1.state': 'busy → draining',
  });
  await p.pass(0, 2_999);
  expect(await p.workerState()).toBe('draining');
  await p.at(3_000);
  expect(await p.diff(() => p.tick())).toMatchObject({
    'dead.w1': '+ t+3000',
    'deadlines.@w1': '- t+3000',
    events: '+ worker.dead w1 reason=drain_timeout',
    'job:j1.state': 'running → scheduled',
    'worker:w1.state': 'draining → dead',
  });
});

test('deregister: a worker that went in time leaves no timeout behind; one that registers again neither', async () => {
  const p = await fixture.pool();
  const lease = await p.leased('j1', 'w1');
  await p.r1.workers.deregister(p.name, 'w1', '', 3_000);
  expect(await p.diff(() => p.finish([p.result(lease)]))).toMatchObject({ 'deadlines.@w1': '- t+3000' });
  await p.leased('j2', 'w2');
  await p.r1.workers.deregister(p.name, 'w2', '', 3_000);
  expect(await p.diff(() => p.worker('w2'))).toMatchObject({
    'deadlines.@w2': '- t+3000',
    'worker:w2.leaving': '- 1',
    'worker:w2.state': 'draining → busy',
  });
});

test('deregister: undrain does not call a leaving worker back', async () => {
  const p = await fixture.pool();
  await p.leased('j1', 'w1', { info: { slots: 2 } });
  await p.r1.workers.deregister(p.name, 'w1', '');
  await p.r1.workers.drain(p.name, 'w1', true);
  await p.r1.workers.drain(p.name, 'w1', false);
  expect([await p.workerState(), await p.free()]).toEqual(['draining', []]);
});

test('deregister: an old boot says nothing about the new one', async () => {
  const p = await fixture.pool();
  await p.worker('w1', { boot: 'new' });
  expect(await p.during(() => p.r1.workers.deregister(p.name, 'w1', 'old'))).toMatchObject({
    value: { reply: { status: 'superseded', held: 0 } },
    diff: {},
  });
  expect((await p.r1.workers.deregister(p.name, 'w9', '')).reply).toEqual({ status: 'unknown', held: 0 });
});
