import { expect, test } from 'vitest';
import type { Matched } from '../../../src/store/parse.js';
import { StoreFixture, type TestPool } from '../../helpers/store-fixture.js';

const fixture = new StoreFixture({ limits: { REPLY_BYTES: 100 } });
const payload = Buffer.alloc(60);

/** What came whole, what came by its name alone, and whether there is more. */
const told = ({ assignments, withheld = [], more }: Matched<unknown>) => ({
  whole: assignments.map(({ jobId, payload }) => `${jobId} ${payload.length}`),
  named: withheld.map(({ jobId }) => jobId),
  more,
});

/** Five jobs that wait, and a worker with room for them, in a pool that is paused. */
async function five(): Promise<TestPool> {
  const p = await fixture.pool();
  await p.r1.jobs.pause(p.name, true);
  for (let i = 1; i <= 5; i++) await p.job(`j${i}`, { payload });
  await p.worker('w1', { slots: 5 });
  return p;
}

test('a match stops when its reply is full, and the next one goes on', async () => {
  const p = await five();
  expect(told(await p.r1.jobs.pause(p.name, false))).toEqual({ whole: ['j1 60', 'j2 60'], named: [], more: true });
  expect(await p.waiting()).toEqual(['j3', 'j4', 'j5']);
  expect(told(await p.r1.jobs.match(p.name))).toEqual({ whole: ['j3 60', 'j4 60'], named: [], more: true });
  expect(told(await p.r1.jobs.match(p.name))).toEqual({ whole: ['j5 60'], named: [], more: false });
});

test('a finish claims no more than its reply holds; what it leaves is matched by the next call', async () => {
  const p = await five();
  const first = await p.r1.jobs.pause(p.name, false);
  const second = await p.r1.jobs.match(p.name);
  await p.r1.jobs.match(p.name);
  for (let i = 6; i <= 9; i++) await p.job(`j${i}`, { payload });
  const results = [...first.assignments, ...second.assignments].map(({ pool, worker, link, jobId, fence }) => {
    return { pool, worker, boot: 'w1-b1', link, jobId, fence, outcome: { ok: true as const, output: Buffer.from('x') } };
  });
  const finished = await p.r1.jobs.finish(p.name, results, true);
  expect(told(finished)).toEqual({ whole: ['j6 60', 'j7 60'], named: [], more: true });
  expect(told(await p.r1.jobs.match(p.name))).toEqual({ whole: ['j8 60', 'j9 60'], named: [], more: false });
});

test('leases that are asked for come by name alone when the reply is full, and whole when they are asked for again', async () => {
  const p = await five();
  await p.r1.jobs.pause(p.name, false);
  await p.r1.jobs.match(p.name);
  await p.r1.jobs.match(p.name);
  const mine = await p.r1.jobs.mine(p.name, 0, 10);
  expect(told(mine)).toEqual({ whole: ['j1 60', 'j2 60'], named: ['j3', 'j4', 'j5'], more: false });
  const { value, diff } = await p.during(() => p.r1.jobs.accept(p.name, mine.withheld ?? []));
  expect(value.reply).toEqual([true, true, true]);
  expect(told(value)).toEqual({ whole: ['j3 60', 'j4 60'], named: ['j5'], more: false });
  expect(diff).toEqual({});
});

test('one job that is larger than a reply comes by itself', async () => {
  const p = await five();
  await p.r1.jobs.purge(p.name, 'queued', 10);
  for (const id of ['big', 'other']) await p.job(id, { payload: Buffer.alloc(500) });
  expect(told(await p.r1.jobs.pause(p.name, false))).toEqual({ whole: ['big 500'], named: [], more: true });
});
