import { expect, test } from 'vitest';
import { keys } from '../../../src/store/keys.js';
import { StoreFixture } from '../../helpers/store-fixture.js';

const fixture = new StoreFixture();
const METHOD = { job: { kind: '', method: '/a.B/C' }, info: { contract: 'METHOD' } } as const;

test('a gap of 5 s between ticks is none; one of 1 ms more begins the grace', async () => {
  const p = await fixture.pool();
  await p.tick();
  await p.at(5_000);
  expect(await p.diff(() => p.tick())).toEqual({ 'meta.ticked': 't+0 → t+5000' });
  await p.at(10_001);
  expect(await p.diff(() => p.tick())).toEqual({ events: '+ pool.grace gap=5001', 'meta.grace': '+ t+25001', 'meta.ticked': 't+5000 → t+10001' });
});

test('a pool that was never ticked: the silence of its homes is the gap', async () => {
  const p = await fixture.pool();
  await p.leased('j1', 'w1', { delivered: false });
  await p.at(20_000);
  expect(await p.diff(() => p.tick())).toEqual({ events: '+ pool.grace gap=20000', 'meta.grace': '+ t+35000', 'meta.ticked': '+ t+20000' });
});

test('in the grace no lease expires and no home is dead; at its end they are', async () => {
  const p = await fixture.pool();
  await p.leased('j1', 'w1');
  await p.leased('j2', 'w2', { delivered: false });
  await p.tick();
  await p.at(40_000);
  const before = await p.diff(() => p.tick());
  expect(before).toEqual({ events: '+ pool.grace gap=40000', 'meta.grace': '+ t+55000', 'meta.ticked': 't+0 → t+40000' });
  for (const ms of [45_000, 50_000, 54_999]) {
    await p.at(ms);
    expect((await p.tick()).reply).toEqual([]);
  }
  expect([await p.state('j1'), await p.state('j2')]).toEqual(['running', 'running']);
  await p.at(55_000);
  expect((await p.tick()).reply).toEqual(['r1']);
  expect([await p.state('j1'), await p.state('j2')]).toEqual(['scheduled', 'waiting']);
});

test('the grace ends once: ticks in it do not prolong it, one more outage does', async () => {
  const p = await fixture.pool();
  await p.tick();
  for (const ms of [6_000, 10_000]) {
    await p.at(ms);
    await p.tick();
  }
  expect(await p.raw.hget(keys.meta(p.name), 'grace')).toBe(String(1_800_000_021_000));
  await p.at(15_001);
  expect(await p.diff(() => p.tick())).toMatchObject({ 'meta.grace': 't+21000 → t+30001' });
});

test('a step back of an hour: the pool keeps its time, and nothing in it changes', async () => {
  const p = await fixture.pool();
  await p.at(3_600_000);
  await p.leased('j1', 'w1');
  await p.tick();
  await p.at(0);
  expect(await p.diff(() => p.tick())).toEqual({ events: '+ pool.clock back=3600000', 'meta.shift': '+ 3600000' });
});

test('a step forward and back between two ticks: the pool keeps the time that was written meanwhile', async () => {
  const p = await fixture.pool();
  await p.tick();
  await p.at(3_600_000);
  await p.leased('j1', 'w1');
  await p.at(500);
  expect(await p.diff(() => p.tick())).toEqual({
    events: '+ pool.clock back=3599500 | pool.grace gap=3600000',
    'meta.grace': '+ t+3615000',
    'meta.idle': '- t+0',
    'meta.shift': '+ 3239500',
    'meta.ticked': 't+0 → t+3600000',
  });
});

test("a step back that the first tick of a pool finds is one from its homes' last words", async () => {
  const p = await fixture.pool();
  await p.at(3_600_000);
  await p.worker();
  await p.at(0);
  expect(await p.diff(() => p.tick())).toEqual({
    events: '+ pool.clock back=3600000',
    'meta.shift': '+ 3600000',
    'meta.ticked': '+ t+3600000',
  });
});

test('when the clock is set right again, no time passes in the pool', async () => {
  const p = await fixture.pool();
  await p.at(3_600_000);
  await p.leased('j1', 'w1');
  await p.tick();
  await p.at(0);
  await p.tick();
  await p.at(3_600_500);
  expect(await p.diff(() => p.tick())).toEqual({ 'meta.shift': '- 3600000', 'meta.ticked': 't+3600000 → t+3600500' });
});

test("a pool's clock comes back to that of Redis by a tenth of the time that passes", async () => {
  const p = await fixture.pool();
  await p.at(2_000);
  await p.tick();
  await p.at(1_000);
  await p.tick();
  const shifts: string[] = [];
  for (const ms of [3_000, 5_000, 7_000, 9_000, 11_000, 13_000]) {
    await p.at(ms);
    await p.tick();
    shifts.push((await p.raw.hget(keys.meta(p.name), 'shift')) ?? 'none');
  }
  expect(shifts).toEqual(['800', '620', '438', '257', '76', 'none']);
});

test('a worker that dies after time ran back can be buried', async () => {
  const p = await fixture.pool();
  await p.at(3_600_000);
  const ref = await p.worker();
  await p.tick();
  await p.at(0);
  await p.tick();
  await p.pass(1, 15_000);
  expect((await p.r1.workers.bury(ref, 10_000, 'unreachable')).reply).toBe('buried');
});

test("an outage does not cut a METHOD worker's quarantine short", async () => {
  const p = await fixture.pool();
  await p.leased('j1', 'w1', METHOD);
  await p.tick();
  await p.r1.jobs.cancel(p.name, ['j1']);
  await p.at(6_000);
  expect(await p.diff(() => p.tick())).toEqual({ events: '+ pool.grace gap=6000', 'meta.grace': '+ t+21000', 'meta.ticked': 't+0 → t+6000' });
});

test('a drain timeout that passes in the grace kills at its end', async () => {
  const p = await fixture.pool();
  await p.leased();
  await p.r1.workers.deregister(p.name, 'w1', '', 10_000);
  await p.tick();
  await p.at(12_000);
  await p.tick();
  expect(await p.workerState()).toBe('draining');
  await p.pass(12_001, 26_999);
  expect(await p.workerState()).toBe('draining');
  await p.at(27_000);
  await p.tick();
  expect(await p.workerState()).toBe('dead');
});

test('deadlines of jobs are of their owners and hold in the grace too', async () => {
  const p = await fixture.pool();
  await p.job('j1', { queueTimeoutMs: 1_000 });
  await p.tick();
  await p.at(20_000);
  await p.tick();
  expect(await p.state()).toBe('expired');
});
