import { expect, test } from 'vitest';
import { backsOff, roomy, unleased } from '../../helpers/store-diffs.js';
import { type Leased, StoreFixture, type TestPool } from '../../helpers/store-fixture.js';

const fixture = new StoreFixture();

const probed = (p: TestPool, lease: Leased, what?: 'lost' | 'idle', { busy = false, ageMs = 0, by = p.r1 } = {}) =>
  by.workers.probed(lease, ageMs, busy, what ? [{ what, jobId: lease.jobId, fence: lease.fence }] : []);

test('an answer is a sign of life and forgives the misses', async () => {
  const p = await fixture.pool();
  const lease = await p.leased();
  await p.r1.workers.suspect(lease, 9, 'missed');
  await p.at(1_000);
  const { value, diff } = await p.during(() => probed(p, lease, undefined, { ageMs: 100, busy: true }));
  expect(value.reply).toBe('ok');
  expect(diff).toEqual({ 'worker:w1.misses': '- 1', 'workers.w1': 't+0 → t+900' });
});

test('a delivered lease that the worker does not have is a lost attempt', async () => {
  const p = await fixture.pool();
  const lease = await p.leased();
  const { diff } = await p.during(() => probed(p, lease, 'lost'));
  expect(diff).toEqual({
    ...backsOff('j1', '14 attempt_lost retryable: the worker w1 answers and does not run it', 900),
    ...unleased('j1', 'w1', 'F1'),
    ...roomy('w1'),
    free: '+ w1',
  });
  expect(await p.diff(() => probed(p, lease, 'lost'))).toEqual({});
});

test('that it runs nothing is no verdict on a lease that stands', async () => {
  const p = await fixture.pool();
  const lease = await p.leased();
  expect(await p.diff(() => probed(p, lease, 'idle'))).toEqual({});
});

test.each(['lost', 'idle'] as const)('%s frees a quarantined slot, and the worker takes the next job', async (what) => {
  const p = await fixture.pool();
  const lease = await p.leased();
  await p.r1.jobs.cancel(p.name, ['j1']);
  await p.job('j2');
  const { value, diff } = await p.during(() => probed(p, lease, what));
  expect(p.given(value.assignments)).toEqual(['j2 F2 w1 1']);
  expect(diff).toMatchObject({ 'held:w1.j1': '- !F1', 'held:w1.j2': '+ F2' });
});

test('a verdict on another fence frees nothing', async () => {
  const p = await fixture.pool();
  const lease = await p.leased();
  await p.r1.jobs.cancel(p.name, ['j1']);
  expect(await p.diff(() => probed(p, { ...lease, fence: '1' }, 'idle'))).toEqual({});
});

test('busy without a lease is blocked, off the list, until an answer says free', async () => {
  const p = await fixture.pool();
  const ref = { ...(await p.worker()), worker: 'w1', jobId: '', fence: '' };
  expect(await p.diff(() => probed(p, ref, undefined, { busy: true }))).toEqual({
    free: '- w1',
    'worker:w1.blocked': '+ 1',
    'worker:w1.listed': '1 → 0',
    'worker:w1.state': 'free → busy',
  });
  await p.job();
  const { assignments } = await probed(p, ref);
  expect(p.given(assignments)).toEqual(['j1 F1 w1 1']);
});

test('a suspect that answers is back', async () => {
  const p = await fixture.pool();
  const ref = { ...(await p.worker()), worker: 'w1', jobId: '', fence: '' };
  await p.r1.workers.suspect(ref, 1, 'missed');
  expect(await p.diff(() => probed(p, ref))).toMatchObject({ free: '+ w1', 'worker:w1.state': 'suspect → free', 'worker:w1.misses': '- 1' });
});

test.each(['boot', 'link', 'home'])('another %s stands there: stale, nothing is written', async (what) => {
  const p = await fixture.pool();
  const lease = await p.leased();
  const ref = what === 'home' ? lease : { ...lease, [what]: '9' };
  const { value, diff } = await p.during(() => probed(p, ref, 'lost', { by: what === 'home' ? p.r2 : p.r1 }));
  expect(value.reply).toBe('stale');
  expect(diff).toEqual({});
});

test('a leaving worker whose last lease is lost is dead', async () => {
  const p = await fixture.pool();
  const lease = await p.leased();
  await p.r1.workers.deregister(p.name, 'w1', '');
  expect(await p.diff(() => probed(p, lease, 'lost'))).toMatchObject({ 'worker:w1.state': 'draining → dead', 'dead.w1': '+ t+0' });
});
