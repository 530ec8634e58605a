import { expect, test } from 'vitest';
import { keys } from '../../../src/store/keys.js';
import { backsOff, quarantined, roomy, unleased } from '../../helpers/store-diffs.js';
import { StoreFixture } from '../../helpers/store-fixture.js';
import { until } from '../../helpers/until.js';

const fixture = new StoreFixture();
const METHOD = { job: { kind: '', method: '/a.B/C' }, info: { contract: 'METHOD' } } as const;

test('an undelivered lease: a handover at 5 s, not 1 ms before; nothing is quarantined, the home is told', async () => {
  const p = await fixture.pool();
  await p.leased('j1', 'w1', { delivered: false });
  await p.r1.jobs.pause(p.name, true);
  await p.pass(0, 4_999);
  expect(await p.state()).toBe('running');
  await p.at(5_000);
  expect(await p.diff(() => p.tick())).toEqual({
    ...unleased('j1', 'w1', 'F1', 5_000),
    ...roomy('w1'),
    free: '+ w1',
    'job:j1.attempt': '1 → 0',
    'job:j1.handovers': '+ 1',
    'job:j1.state': 'running → waiting',
    'meta.ticked': 't+4999 → t+5000',
    'waiting:0': '+ j1',
  });
  expect(await until(() => p.hints('r1').at(0))).toBe('cancel j1 F1 w1');
});

test('an undelivered lease of a home that fell silent waits for whoever gets the worker next, at most 12 s', async () => {
  const p = await fixture.pool();
  await p.leased('j1', 'w1', { delivered: false });
  await p.tick();
  await p.at(5_000);
  expect(await p.diff(() => p.tick())).toEqual({ 'leases.j1': 't+5000 → t+8000', 'meta.ticked': 't+0 → t+5000' });
  for (const ms of [8_000, 11_000, 11_999]) {
    await p.at(ms);
    await p.tick();
    expect(await p.state()).toBe('running');
  }
  await p.at(14_000);
  await p.tick();
  expect(await p.state()).toBe('waiting');
});

test('an undelivered lease of a home that fell silent is given to the adopter', async () => {
  const p = await fixture.pool();
  const ref = await p.leased('j1', 'w1', { delivered: false });
  await p.pass(0, 0);
  for (const ms of [4_000, 6_500]) {
    await p.at(ms);
    await p.r2.workers.beat(p.name, [], false);
    await p.tick();
  }
  expect(p.given((await p.r2.workers.adopt(ref)).assignments)).toEqual(['j1 F1 w1 2']);
});

test('an undelivered job is given out again in the same call', async () => {
  const p = await fixture.pool();
  await p.leased('j1', 'w1', { delivered: false });
  await p.pass(0, 4_999);
  await p.at(5_000);
  expect(p.given((await p.tick()).assignments)).toEqual(['j1 F2 w1 1']);
});

test('a delivered lease that nobody keeps: an attempt spent at 30 s, not 1 ms before, and the slot stays taken', async () => {
  const p = await fixture.pool();
  await p.leased();
  await p.pass(0, 29_999);
  expect(await p.state()).toBe('running');
  await p.at(30_000);
  expect(await p.diff(() => p.tick())).toEqual({
    ...backsOff('j1', '14 lease_expired retryable: its replica stopped vouching for it', 30_900),
    ...quarantined('j1', 'w1', 'F1'),
    'meta.ticked': 't+29999 → t+30000',
  });
  expect(await until(() => p.hints('r1').at(0))).toBe('cancel j1 F1 w1');
});

test('a lease that is kept ends at its run timeout, not 1 ms before', async () => {
  const p = await fixture.pool();
  const lease = await p.leased('j1', 'w1', { job: { runTimeoutMs: 40_000 } });
  await p.pass(0, 20_000);
  await p.deliver(lease);
  await p.pass(20_001, 39_999);
  expect(await p.state()).toBe('running');
  await p.at(40_000);
  expect(await p.diff(() => p.tick())).toMatchObject({
    ...backsOff('j1', '4 run_timeout retryable: ran longer than 40000 ms', 40_900),
    ...quarantined('j1', 'w1', 'F1', 40_000),
  });
});

test('a quarantined slot takes no job', async () => {
  const p = await fixture.pool();
  await p.leased();
  await p.pass(0, 30_000);
  await p.job('j2');
  await p.pass(30_001, 40_000);
  expect([await p.free(), await p.waiting()]).toEqual([[], ['j2', 'j1']]);
});

test("a METHOD worker's quarantine ends after 60 s, not 1 ms before, and it takes the next job", async () => {
  const p = await fixture.pool();
  await p.leased('j1', 'w1', METHOD);
  await p.pass(0, 1_000);
  expect(await p.diff(() => p.r1.jobs.cancel(p.name, ['j1']))).toMatchObject({ 'leases.!F1 w1 j1': '+ t+61000', 'held:w1.j1': 'F1 → !F1' });
  await p.job('j2', METHOD.job);
  await p.pass(1_001, 60_999);
  expect(await p.waiting()).toEqual(['j2']);
  await p.at(61_000);
  const { value, diff } = await p.during(() => p.tick());
  expect(p.given(value.assignments)).toEqual(['j2 F2 w1 1']);
  expect(diff).toMatchObject({ 'leases.!F1 w1 j1': '- t+61000', 'held:w1.j1': '- !F1', 'held:w1.j2': '+ F2' });
});

test('the end of a quarantine that is over already frees nothing', async () => {
  const p = await fixture.pool();
  const lease = await p.leased('j1', 'w1', METHOD);
  await p.r1.jobs.cancel(p.name, ['j1']);
  await p.raw.zadd(keys.leases(p.name), '1', '!1 w1 j1');
  expect(await p.diff(() => p.tick())).toEqual({ 'leases.!1 w1 j1': '- 1', 'meta.ticked': '+ t+0' });
  expect(await p.raw.hget(keys.held(p.name, 'w1'), 'j1')).toBe(`!${lease.fence}`);
});

test('a leaving worker goes when its undelivered lease is taken back, or its METHOD quarantine ends', async () => {
  const p = await fixture.pool();
  await p.leased('j1', 'w1', { delivered: false });
  await p.r1.workers.deregister(p.name, 'w1', '');
  await p.pass(0, 4_999);
  await p.at(5_000);
  expect(await p.diff(() => p.tick())).toMatchObject({ 'worker:w1.state': 'draining → dead', 'waiting:0': '+ j1' });

  const q = await fixture.pool();
  await q.leased('j1', 'w1', METHOD);
  await q.r1.jobs.cancel(q.name, ['j1']);
  await q.r1.workers.deregister(q.name, 'w1', '');
  await q.pass(0, 60_000);
  expect(await q.workerState()).toBe('dead');
});

test('a lease whose job is gone from Redis frees its slot', async () => {
  const p = await fixture.pool();
  await p.leased();
  await p.raw.del(keys.job(p.name, 'j1'));
  await p.pass(0, 30_000);
  expect([await p.free(), await p.workerState()]).toEqual([['w1'], 'free']);
});

test('a home whose hint was lost has tried no worker: that costs the job no handover, however often; asked for, it is a lease like others', async () => {
  const p = await fixture.pool();
  await p.worker('w2', { slots: 1 }, p.r2);
  await p.job('j1');
  for (let ms = 0; ms <= 60_000; ms += 2_500) {
    await p.at(ms);
    await p.r2.workers.beat(p.name, [], false);
    await p.tick();
  }
  expect((await p.r1.readJobs(p.name, ['j1'], { bodies: false }))[0]).toMatchObject({ state: 'running', handovers: 0, attempt: 1 });
  expect(await p.diff(() => p.r2.jobs.mine(p.name, 0, 10))).toEqual({ 'job:j1.delivered': 'n → 0' });
  for (const ms of [62_500, 65_000]) {
    await p.at(ms);
    await p.r2.workers.beat(p.name, [], false);
    await p.tick();
  }
  expect((await p.r1.readJobs(p.name, ['j1'], { bodies: false }))[0]).toMatchObject({ handovers: 1 });
});

test('the last undelivered handover buries the job as undeliverable', async () => {
  const p = await fixture.pool();
  await p.leased('j1', 'w1', { delivered: false });
  await p.pass(0, 24_999);
  expect(await p.state()).toBe('running');
  await p.at(25_000);
  expect(await p.diff(() => p.tick())).toMatchObject({ 'job:j1.state': 'running → failed', 'job:j1.handovers': '4 → 5', free: '+ w1' });
});

test('the leases of a batch are handled up to the limit, and there is more', async () => {
  const p = await fixture.pool();
  await p.worker('w1', { slots: 3 });
  for (const id of ['j1', 'j2', 'j3']) await p.job(id);
  await p.r1.jobs.pause(p.name, true);
  await p.pass(0, 4_999);
  await p.at(5_000);
  expect((await p.tick({ limit: 2 })).more).toBe(true);
  expect(await p.waiting()).toHaveLength(2);
  expect((await p.tick({ limit: 2 })).more).toBe(false);
  expect(await p.waiting()).toHaveLength(3);
});
