import { expect, test } from 'vitest';
import { ended, quarantined } from '../../helpers/store-diffs.js';
import { failure, StoreFixture, T0 } from '../../helpers/store-fixture.js';
import { until } from '../../helpers/until.js';

const fixture = new StoreFixture({ limits: { EXACT_LIST: 2 } });

test('a waiting job leaves a short list at once', async () => {
  const p = await fixture.pool();
  await p.submit([p.spec('j1', { payload: Buffer.from('in'), queueTimeoutMs: 9_000 })], { wait: true });
  await p.job('j2');
  const { value, diff } = await p.during(() => p.r2.jobs.cancel(p.name, ['j1']));
  expect(value).toEqual(['waiting']);
  expect(diff).toEqual({
    ...ended('j1', 'cancelled', 0, 'waiting'),
    'deadlines.j1': '- t+9000',
    'job:j1:payload': '- in',
    'waiting:0': 'j1 j2 → j2',
  });
  expect(await until(() => p.hints('r1').at(0))).toBe('done j1');
});

test('it stays in a long list as a tombstone', async () => {
  const p = await fixture.pool();
  for (const id of ['j1', 'j2', 'j3']) await p.job(id);
  const diff = await p.diff(() => p.r1.jobs.cancel(p.name, ['j2']));
  expect(diff).toEqual({ ...ended('j2', 'cancelled', 0, 'waiting'), 'meta.tombstones': '+ 1' });
});

test('a scheduled one leaves the schedule', async () => {
  const p = await fixture.pool();
  await p.job('j1', { notBefore: T0 + 1_000 });
  const { value, diff } = await p.during(() => p.r1.jobs.cancel(p.name, ['j1']));
  expect(value).toEqual(['scheduled']);
  expect(diff).toEqual({ ...ended('j1', 'cancelled', 0, 'scheduled'), 'later.j1': '- t+1000' });
});

test.each([true, false])('a running one (delivered: %s) ends at once, its slot is quarantined, its home is told', async (delivered) => {
  const p = await fixture.pool();
  await p.leased('j1', 'w1', { delivered });
  const { value, diff } = await p.during(() => p.r2.jobs.cancel(p.name, ['j1']));
  expect(value).toEqual(['running']);
  expect(diff).toEqual({ ...ended('j1', 'cancelled', 0), ...quarantined('j1', 'w1', 'F1', delivered ? 30_000 : 5_000) });
  expect(await until(() => p.hints('r1').at(0))).toBe('cancel j1 F1 w1');
});

test('what has ended stays as it ended, and an unknown job is said to be one', async () => {
  const p = await fixture.pool();
  const done = await p.leased('j1', 'w1');
  const failed = await p.leased('j2', 'w2');
  await p.finish([p.result(done), p.result(failed, failure({ retryable: false }))]);
  await p.job('j3', { kind: 'other', notBefore: T0 + 1 });
  await p.r1.jobs.cancel(p.name, ['j3']);
  const { value, diff } = await p.during(() => p.r1.jobs.cancel(p.name, ['j1', 'j2', 'j3', 'j9']));
  expect(value).toEqual(['succeeded', 'failed', 'cancelled', undefined]);
  expect(diff).toEqual({});
});
