import { expect, test } from 'vitest';
import { buried, roomy, unleased } from '../../helpers/store-diffs.js';
import { type Leased, StoreFixture, T0, type TestPool } from '../../helpers/store-fixture.js';

const fixture = new StoreFixture();

const release = (p: TestPool, lease: Leased, fields: { blocked?: boolean; unreached?: boolean; reason?: string } = {}) =>
  p.r1.jobs.release(p.name, [{ ...lease, blocked: false, reason: 'no such kind', ...fields }]);

test('no attempt is spent, a handover is, and the job comes back after a pause', async () => {
  const p = await fixture.pool();
  const lease = await p.leased();
  const { value, diff } = await p.during(() => release(p, lease));
  expect(value.reply).toEqual([true]);
  expect(diff).toEqual({
    ...unleased('j1', 'w1', 'F1'),
    ...roomy('w1'),
    free: '+ w1',
    'job:j1.attempt': '1 → 0',
    'job:j1.handovers': '+ 1',
    'job:j1.next': '+ t+100',
    'job:j1.state': 'running → scheduled',
    'later.j1': '+ t+100',
  });
});

test('again, or under another fence or link: nothing', async () => {
  const p = await fixture.pool();
  const lease = await p.leased();
  expect(await p.during(() => release(p, { ...lease, fence: '1' }))).toMatchObject({ value: { reply: [false] }, diff: {} });
  expect(await p.during(() => release(p, { ...lease, link: '0' }))).toMatchObject({ value: { reply: [false] }, diff: {} });
  await release(p, lease);
  expect(await p.during(() => release(p, lease))).toMatchObject({ value: { reply: [false] }, diff: {} });
});

test('a worker that said that it is busy is off the list until a probe finds it free', async () => {
  const p = await fixture.pool();
  const lease = await p.leased();
  const diff = await p.diff(() => release(p, lease, { blocked: true }));
  expect(diff).toMatchObject({ 'worker:w1.blocked': '+ 1', 'held:w1.j1': '- F1' });
  expect([await p.free(), await p.workerState()]).toEqual([[], 'busy']);
  expect(await p.diff(() => p.r1.workers.probed(lease, 0, false, []))).toEqual({ ...roomy('w1'), free: '+ w1', 'worker:w1.blocked': '- 1' });
});

test('a worker that was not reached is off the list as well, and the job is none the worse for it', async () => {
  const p = await fixture.pool();
  const diff = await p.diff(async () => release(p, await p.leased(), { blocked: true, unreached: true }));
  expect(diff).toMatchObject({ 'worker:w1.blocked': '+ 1', 'job:j1.state': '+ scheduled', 'later.j1': '+ t+100' });
  expect(diff).not.toHaveProperty('job:j1.handovers');
  expect([await p.free(), await p.workerState()]).toEqual([[], 'busy']);
});

test('the pause doubles, and the fifth handover buries the job as undeliverable', async () => {
  const p = await fixture.pool();
  let lease = await p.leased();
  let now = 0;
  const pauses: number[] = [];
  for (let i = 0; i < 4; i++) {
    await release(p, lease);
    const [next] = await p.r1.readJobs(p.name, ['j1'], { bodies: false });
    const due = (next?.nextAt ?? 0) - T0;
    pauses.push(due - now);
    await p.pass(now, due);
    now = due;
    lease = await p.lease(lease, 'j1');
  }
  expect(pauses).toEqual([100, 200, 400, 800]);
  const diff = await p.diff(() => release(p, lease));
  const message = 'given out 5 times and never delivered; the last time: no such kind';
  expect(diff).toMatchObject({
    ...buried('j1', `14 undeliverable retryable: ${message}`, now),
    events: '+ job.buried j1 reason=undeliverable attempt=0',
    'job:j1.attempt': '1 → 0',
    'job:j1.handovers': '4 → 5',
  });
});

test('a job that never started has its queue timeout back', async () => {
  const p = await fixture.pool();
  const lease = await p.leased('j1', 'w1', { job: { queueTimeoutMs: 60 } });
  const other = await p.leased('j2', 'w2', { job: { queueTimeoutMs: 60, totalTimeoutMs: 1_000 } });
  const third = await p.leased('j3', 'w3', { job: { queueTimeoutMs: 600, totalTimeoutMs: 50 } });
  const diff = await p.diff(async () => {
    for (const each of [lease, other, third]) await release(p, each);
  });
  expect(diff).toMatchObject({ 'deadlines.j1': '+ t+60', 'deadlines.j2': 't+1000 → t+60' });
  expect(Object.keys(diff)).not.toContain('deadlines.j3');
});

test('a leaving worker goes with what it releases', async () => {
  const p = await fixture.pool();
  const lease = await p.leased();
  await p.r1.workers.deregister(p.name, 'w1', '');
  expect(await p.diff(() => release(p, lease))).toMatchObject({ 'worker:w1.state': 'draining → dead', 'dead.w1': '+ t+0' });
});
