import { expect, test } from 'vitest';
import { keys } from '../../../src/store/keys.js';
import { full, started } from '../../helpers/store-diffs.js';
import { StoreFixture, type TestPool } from '../../helpers/store-fixture.js';
import { until } from '../../helpers/until.js';

const fixture = new StoreFixture({ limits: { EXACT_LIST: 2, MATCH_BOUND: 4 } });

/** Runs `seed` while the pool is paused, then lets it go: all that is matched, by r1 until there is no more. */
async function matchAfter(p: TestPool, seed: () => Promise<void>): Promise<string[]> {
  await p.r1.jobs.pause(p.name, true);
  await seed();
  let { assignments, more } = await p.r1.jobs.pause(p.name, false);
  const all = [...assignments];
  while (more) {
    ({ assignments, more } = await p.r1.jobs.match(p.name));
    all.push(...assignments);
  }
  return p.given(all);
}

test('priority 3 goes first; within a priority first in, first out', async () => {
  const p = await fixture.pool();
  const given = await matchAfter(p, async () => {
    for (const [i, priority] of [0, 2, 0, 3, 1, 2].entries()) await p.job(`j${i}`, { priority });
    await p.worker('w1', { slots: 6 });
  });
  expect(given).toEqual(['j3 F1 w1 1', 'j1 F2 w1 1', 'j5 F3 w1 1', 'j4 F4 w1 1', 'j0 F5 w1 1', 'j2 F6 w1 1']);
});

test('workers take turns: first in, first out, back to the tail while there is room', async () => {
  const p = await fixture.pool();
  await p.worker('w1', { slots: 2 });
  await p.worker('w2', { slots: 1 });
  await p.worker('w3', { slots: 3 });
  const workers: string[] = [];
  for (let i = 0; i < 7; i++) workers.push(...(await p.job(`j${i}`)).assignments.map(({ worker }) => worker));
  expect(workers).toEqual(['w1', 'w2', 'w3', 'w1', 'w3', 'w3']);
  expect([await p.free(), await p.waiting()]).toEqual([[], ['j6']]);
});

test('a pair is taken out of both queues together', async () => {
  const p = await fixture.pool();
  await p.worker('w1', { slots: 2 });
  expect(await p.diff(() => p.job('j1'))).toMatchObject({ 'held:w1.j1': '+ F1', 'leases.j1': '+ t+5000', 'job:j1.state': '+ running' });
  expect([await p.free(), await p.workerState()]).toEqual([['w1'], 'free']);
  await p.job('j2');
  expect([await p.free(), await p.workerState()]).toEqual([[], 'busy']);
});

test('a lease of a job that may run shorter than a delivery takes has the time of a delivery all the same', async () => {
  const p = await fixture.pool();
  await p.worker();
  expect(await p.diff(() => p.job('j1', { runTimeoutMs: 100 }))).toMatchObject({ 'leases.j1': '+ t+5000' });
});

test('a match for a worker of another home is told to that home, without the payload', async () => {
  const p = await fixture.pool();
  await p.worker('w1', {}, p.r2);
  const { assignments } = await p.job();
  expect(assignments).toEqual([]);
  expect(await until(() => p.hints('r2').at(0))).toBe('assign j1 F1 w1');
  expect(p.hints('r1')).toEqual([]);
});

test('a worker whose home is gone is suspect and gets nothing; at one ms less it does', async () => {
  const p = await fixture.pool();
  await p.worker('w1', {}, p.r2);
  await p.worker('w2', {}, p.r2);
  await p.at(5_999);
  expect(await p.diff(() => p.job('j1'))).toMatchObject({ 'held:w1.j1': '+ F1' });
  await p.at(6_000);
  const { value, diff } = await p.during(() => p.job('j2'));
  expect(value).toMatchObject({ more: false, assignments: [] });
  expect(diff).toMatchObject({
    events: '+ worker.suspect w2 reason=home_gone',
    free: '- w2',
    'worker:w2.listed': '1 → 0',
    'worker:w2.reason': '+ home_gone',
    'worker:w2.state': 'free → suspect',
    'worker:w2.suspected': '+ t+6000',
    'waiting:0': '+ j2',
  });
});

test('tombstones of jobs are dropped where they stand', async () => {
  const p = await fixture.pool();
  for (let i = 0; i < 4; i++) await p.job(`j${i}`);
  await p.r1.jobs.cancel(p.name, ['j0', 'j2', 'j3']);
  expect(await p.waiting()).toEqual(['j0', 'j1', 'j2', 'j3']);
  const { value, diff } = await p.during(() => p.r1.workers.register(p.info(), false));
  expect(p.given(value.assignments)).toEqual(['j1 F1 w1 1']);
  expect(diff).toMatchObject({ ...started('j1', 'w1', 'F1') });
  await p.job('j9');
  await p.worker('w2');
  expect([await p.waiting(), await p.raw.hget(keys.meta(p.name), 'tombstones')]).toEqual([[], '0']);
});

test('tombstones of workers are dropped where they stand, and a worker comes back into its old entry', async () => {
  const p = await fixture.pool();
  for (const id of ['w1', 'w2', 'w3', 'w4']) await p.worker(id);
  await p.r1.workers.drain(p.name, 'w1', true);
  await p.r1.workers.drain(p.name, 'w2', true);
  expect(await p.free()).toEqual(['w1', 'w2', 'w3', 'w4']);
  expect(await p.diff(() => p.r1.workers.drain(p.name, 'w2', false))).toMatchObject({ 'worker:w2.state': 'draining → free' });
  expect(await p.free()).toEqual(['w1', 'w2', 'w3', 'w4']);
  const diff = await p.diff(() => p.job('j1'));
  expect(diff).toMatchObject({ free: 'w1 w2 w3 w4 → w3 w4', 'worker:w1.listed': '1 → 0', ...full('w2'), 'held:w2.j1': '+ F1' });
});

test('it stops at its bound, says that there is more, and the next calls do the rest', async () => {
  const p = await fixture.pool();
  await p.worker('w1', { slots: 9 });
  await p.r1.jobs.pause(p.name, true);
  for (let i = 0; i < 5; i++) await p.job(`j${i}`);
  // A pair costs two of the bound of four: one discarded or popped worker, one job.
  const first = await p.r1.jobs.pause(p.name, false);
  expect([first.assignments.length, first.more]).toEqual([2, true]);
  const second = await p.r1.jobs.match(p.name);
  expect([second.assignments.length, second.more]).toEqual([2, true]);
  const third = await p.r1.jobs.match(p.name);
  expect([third.assignments.length, third.more]).toEqual([1, false]);
});

test('without a job, or without a worker, there is no more and nothing changes', async () => {
  const p = await fixture.pool();
  await p.worker();
  expect(await p.during(() => p.r1.jobs.match(p.name))).toEqual({ value: { reply: 0, assignments: [], more: false }, diff: {} });
});
