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

test('time that runs back: the grace begins, no lease is further than 30 s, homes and workers are of now', async () => {
  const p = await fixture.pool();
  await p.at(3_600_000);
  await p.leased('j1', 'w1');
  await p.tick();
  await p.at(0);
  expect(await p.diff(() => p.tick())).toEqual({
    events: '+ pool.grace gap=-3600000',
    'homes.r1': 't+3600000 → t+0',
    'leases.j1': 't+3630000 → t+30000',
    'meta.grace': '+ t+15000',
    'meta.ticked': 't+3600000 → t+0',
    'workers.w1': 't+3600000 → t+0',
  });
});

test('time that ran ahead and back between two ticks is noticed by what was written meanwhile', async () => {
  const p = await fixture.pool();
  await p.tick();
  await p.at(3_600_000);
  await p.leased('j1', 'w1');
  await p.at(500);
  expect(await p.diff(() => p.tick())).toMatchObject({
    'meta.grace': '+ t+15500',
    'leases.j1': 't+3630000 → t+30500',
    'homes.r1': 't+3600000 → t+500',
  });
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

test('a grace that time ran away from is shortened to its length', async () => {
  const p = await fixture.pool();
  await p.tick();
  await p.at(3_600_000);
  await p.tick();
  await p.at(3_599_999);
  expect(await p.diff(() => p.tick())).toMatchObject({ 'meta.grace': 't+3615000 → t+3614999' });
});

test("an outage does not cut a METHOD worker's quarantine short", async () => {
  const p = await fixture.pool();
  await p.leased('j1', 'w1', METHOD);
  await p.tick();
  await p.r1.jobs.cancel(p.name, ['j1']);
  await p.at(6_000);
  expect(await p.diff(() => p.tick())).toEqual({ events: '+ pool.grace gap=6000', 'meta.grace': '+ t+21000', 'meta.ticked': 't+0 → t+6000' });
});

test('after time ran back a quarantine is no longer than a whole one', async () => {
  const p = await fixture.pool();
  await p.at(3_600_000);
  await p.leased('j1', 'w1', METHOD);
  await p.r1.jobs.cancel(p.name, ['j1']);
  await p.tick();
  await p.at(0);
  expect(await p.diff(() => p.tick())).toMatchObject({ 'leases.!F1 w1 j1': 't+3660000 → t+60000' });
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
