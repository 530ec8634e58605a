import { expect, test } from 'vitest';
import { ended, quarantined } from '../../helpers/store-diffs.js';
import { failure, StoreFixture, T0 } from '../../helpers/store-fixture.js';
import { until } from '../../helpers/until.js';

const fixture = new StoreFixture();

test('nothing is due: only the tick itself', async () => {
  const p = await fixture.pool();
  await p.leased();
  const { value, diff } = await p.during(() => p.tick());
  expect(value).toEqual({ reply: [], assignments: [], more: false });
  expect(diff).toEqual({ 'meta.ticked': '+ t+0' });
});

test('a scheduled job waits from its time on, not 1 ms before, behind those that wait already', async () => {
  const p = await fixture.pool();
  await p.job('j1', { notBefore: T0 + 1_000 });
  await p.job('j2');
  await p.at(999);
  expect(await p.diff(() => p.tick())).toEqual({ 'meta.ticked': '+ t+999' });
  await p.at(1_000);
  expect(await p.diff(() => p.tick())).toEqual({
    'job:j1.state': 'scheduled → waiting',
    'later.j1': '- t+1000',
    'meta.ticked': 't+999 → t+1000',
    'waiting:0': 'j2 → j2 j1',
  });
});

test('what becomes due is matched in the same call', async () => {
  const p = await fixture.pool();
  await p.worker();
  await p.job('j1', { notBefore: T0 + 1_000 });
  await p.at(1_000);
  expect(p.given((await p.tick()).assignments)).toEqual(['j1 F1 w1 1']);
});

test('a job that does not start within its queue timeout expires then, not 1 ms before', async () => {
  const p = await fixture.pool();
  await p.submit([p.spec('j1', { queueTimeoutMs: 1_000, payload: Buffer.from('in') })], { wait: true });
  await p.at(999);
  expect(await p.diff(() => p.tick())).toEqual({ 'meta.ticked': '+ t+999' });
  await p.at(1_000);
  expect(await p.diff(() => p.tick({}, p.r2))).toEqual({
    ...ended('j1', 'expired', 1_000, 'waiting'),
    'deadlines.j1': '- t+1000',
    'job:j1:payload': '- in',
    'meta.ticked': 't+999 → t+1000',
    'waiting:0': '- j1',
  });
  expect(await until(() => p.hints('r1').at(0))).toBe('done j1');
});

test('once it has run, the queue timeout counts no more, whatever comes after', async () => {
  const p = await fixture.pool();
  const lease = await p.leased('j1', 'w1', { job: { queueTimeoutMs: 500, totalTimeoutMs: 4_000 } });
  await p.finish([p.result(lease, { ...failure(), retryAfterMs: 3_900 })]);
  await p.pass(0, 3_899);
  expect(await p.state()).toBe('scheduled');
  await p.at(4_000);
  expect(await p.diff(() => p.tick())).toMatchObject({ 'job:j1.state': 'scheduled → expired' });
});

test('a job that was never delivered expires by its queue timeout', async () => {
  const p = await fixture.pool();
  await p.leased('j1', 'w1', { job: { queueTimeoutMs: 5_500 }, delivered: false });
  await p.r1.jobs.pause(p.name, true);
  await p.pass(0, 5_499);
  expect(await p.state()).toBe('waiting');
  await p.at(5_500);
  expect(await p.diff(() => p.tick())).toMatchObject({ 'job:j1.state': 'waiting → expired' });
});

test('the total timeout ends a job that backs off, without a trace in the schedule', async () => {
  const p = await fixture.pool();
  const lease = await p.leased('j1', 'w1', { job: { totalTimeoutMs: 500 } });
  await p.finish([p.result(lease, failure())]);
  await p.at(500);
  expect(await p.diff(() => p.tick())).toMatchObject({
    ...ended('j1', 'expired', 500, 'scheduled'),
    'later.j1': '- t+900',
    'deadlines.j1': '- t+500',
  });
});

test('the total timeout ends a running job: the slot is quarantined, the home told to stop it', async () => {
  const p = await fixture.pool();
  await p.leased('j1', 'w1', { job: { totalTimeoutMs: 1_000 } });
  await p.at(999);
  await p.tick();
  await p.at(1_000);
  expect(await p.diff(() => p.tick({}, p.r2))).toEqual({
    ...ended('j1', 'expired', 1_000),
    ...quarantined('j1', 'w1', 'F1'),
    'deadlines.j1': '- t+1000',
    'meta.ticked': 't+999 → t+1000',
  });
  expect(await until(() => p.hints('r1').at(0))).toBe('cancel j1 F1 w1');
});

test('it handles its limit of each sort, says that there is more, and the next calls do the rest', async () => {
  const p = await fixture.pool();
  for (let i = 0; i < 5; i++) await p.job(`j${i}`, { notBefore: T0 + 10 + i });
  await p.at(100);
  const waiting: number[] = [];
  for (let more = true; more; ) {
    ({ more } = await p.tick({ limit: 2 }));
    waiting.push((await p.waiting()).length);
  }
  expect(waiting).toEqual([2, 4, 5]);
});
