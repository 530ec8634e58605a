import { expect, test } from 'vitest';
import { StoreFixture } from '../../helpers/store-fixture.js';

const fixture = new StoreFixture();

test('the adopter is the home over a new link; fences stay, leases move', async () => {
  const p = await fixture.pool();
  const lease = await p.leased('j1', 'w1', { info: { slots: 3 } });
  await p.job('j2');
  await p.lease(lease, 'j2', false);
  await p.job('j3');
  await p.lease(lease, 'j3');
  await p.r1.jobs.cancel(p.name, ['j3']);
  await p.at(1_000);
  const { value, diff } = await p.during(() => p.r2.workers.adopt(lease));
  const fences = ['j1', 'j2', 'j3'].map((_, i) => String(Number(lease.fence) + i));
  expect(value.reply).toEqual({
    kind: 'ok',
    link: '2',
    leases: [
      { jobId: 'j1', fence: fences[0], delivered: true, quarantined: false },
      { jobId: 'j2', fence: fences[1], delivered: false, quarantined: false },
      { jobId: 'j3', fence: fences[2], delivered: false, quarantined: true },
    ],
  });
  expect(p.given(value.assignments)).toEqual(['j1 F1 w1 2', 'j2 F2 w1 2']);
  expect(diff).toEqual({
    events: '+ worker.adopted w1 home=r2',
    'homes.r2': '+ t+1000',
    'worker:w1.home': 'r1 → r2',
    'worker:w1.link': '1 → 2',
    'workers.w1': 't+0 → t+1000',
  });
});

test.each(['LEGACY', 'METHOD'] as const)('a %s worker cannot be sent a delivered job again', async (contract) => {
  const p = await fixture.pool();
  const job = { kind: '', method: '/job.JobService/RunJob' };
  const lease = await p.leased('j1', 'w1', { info: { contract, slots: 2 }, job });
  await p.job('j2', job);
  expect(p.given((await p.r2.workers.adopt(lease)).assignments)).toEqual(['j2 F2 w1 2']);
});

test('the second of two adopters is stale, and so is the first again', async () => {
  const p = await fixture.pool();
  const lease = await p.leased();
  await p.r2.workers.adopt(lease);
  for (const by of [p.r1, p.r2]) {
    const { value, diff } = await p.during(() => by.workers.adopt(lease));
    expect(value).toEqual({ reply: { kind: 'stale' }, assignments: [], more: false });
    expect(diff).toEqual({});
  }
});

test.each(['boot', 'link', 'id'])('another %s: stale', async (what) => {
  const p = await fixture.pool();
  const ref = await p.worker();
  expect(await p.during(() => p.r2.workers.adopt({ ...ref, [what]: '9' }))).toMatchObject({ value: { reply: { kind: 'stale' } }, diff: {} });
});

test('the dead are not adopted', async () => {
  const p = await fixture.pool();
  const ref = await p.worker();
  await p.r1.workers.bury({ ...ref, boot: '' }, 0, 'evicted');
  expect(await p.during(() => p.r2.workers.adopt(ref))).toMatchObject({ value: { reply: { kind: 'stale' } }, diff: {} });
});

test('a suspect that is adopted is free again and takes what waits', async () => {
  const p = await fixture.pool();
  const ref = await p.worker();
  await p.r1.workers.suspect(ref, 1, 'missed');
  await p.job();
  const { value, diff } = await p.during(() => p.r2.workers.adopt(ref));
  expect(p.given(value.assignments)).toEqual(['j1 F1 w1 2']);
  expect(diff).toMatchObject({ 'worker:w1.state': 'suspect → busy', 'worker:w1.misses': '- 1', 'worker:w1.home': 'r1 → r2' });
});

test('a leaving suspect that is adopted gets no more jobs', async () => {
  const p = await fixture.pool();
  const lease = await p.leased('j1', 'w1', { info: { slots: 2 } });
  await p.r1.workers.deregister(p.name, 'w1', '');
  await p.r1.workers.suspect(lease, 1, 'missed');
  await p.job('j2');
  await p.r2.workers.adopt(lease);
  expect([await p.workerState(), await p.free(), await p.waiting()]).toEqual(['draining', [], ['j2']]);
});

test('the old home may say nothing more about it', async () => {
  const p = await fixture.pool();
  const lease = await p.leased();
  await p.r2.workers.adopt(lease);
  expect((await p.r1.workers.beat(p.name, [{ worker: 'w1', link: '1', lease }], false)).reply).toEqual(['not_home']);
  expect((await p.r1.workers.probed(lease, 0, false, [])).reply).toBe('stale');
});
