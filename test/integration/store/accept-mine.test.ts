import { expect, test } from 'vitest';
import { keys } from '../../../src/store/keys.js';
import { StoreFixture } from '../../helpers/store-fixture.js';

const fixture = new StoreFixture();

test('accept: a lease that stands comes with its payload, under its link or none; nothing is written', async () => {
  const p = await fixture.pool();
  const lease = await p.leased('j1', 'w1', { job: { payload: Buffer.from('in') }, delivered: false });
  const { value, diff } = await p.during(() => p.r1.jobs.accept(p.name, [lease, { ...lease, link: '' }]));
  expect(value.reply).toEqual([true, true]);
  expect(value.assignments.map(({ jobId, payload }) => `${jobId} ${payload}`)).toEqual(['j1 in', 'j1 in']);
  expect(diff).toEqual({});
});

test('accept: another home, link, fence, worker or job is dropped, each by itself', async () => {
  const p = await fixture.pool();
  const lease = await p.leased('j1', 'w1', { delivered: false });
  await p.worker('w2');
  const wrong = [{ link: '2' }, { fence: '1' }, { worker: 'w2' }, { worker: 'w9' }, { jobId: 'j9' }].map((fields) => ({ ...lease, ...fields }));
  const { reply, assignments } = await p.r1.jobs.accept(p.name, [...wrong, lease]);
  expect(reply).toEqual([false, false, false, false, false, true]);
  expect(p.given(assignments)).toEqual(['j1 F1 w1 1']);
  expect((await p.r2.jobs.accept(p.name, [lease])).reply).toEqual([false]);
});

test('accept: not after it was cancelled, finished or taken by the clock', async () => {
  const p = await fixture.pool();
  const lease = await p.leased('j1', 'w1', { delivered: false });
  await p.r1.jobs.cancel(p.name, ['j1']);
  expect(await p.r1.jobs.accept(p.name, [lease])).toMatchObject({ reply: [false], assignments: [] });
});

test('mine: the undelivered leases of my workers, and nothing is written', async () => {
  const p = await fixture.pool();
  await p.leased('j1', 'w1', { delivered: false });
  await p.leased('j2', 'w2', { delivered: true });
  await p.leased('j3', 'w3', { delivered: false, by: p.r2 });
  const { value, diff } = await p.during(() => p.r1.jobs.mine(p.name, 0, 10));
  expect([value.reply, p.given(value.assignments)]).toEqual([-1, ['j1 F1 w1 1']]);
  expect(p.given((await p.r2.jobs.mine(p.name, 0, 10)).assignments)).toEqual(['j3 F3 w3 1']);
  expect(diff).toEqual({});
});

test('mine: page by page', async () => {
  const p = await fixture.pool();
  await p.worker('w1', { slots: 5 });
  for (let i = 1; i <= 5; i++) await p.job(`j${i}`);
  const pages: string[][] = [];
  let offset = 0;
  while (offset >= 0) {
    const page = await p.r1.jobs.mine(p.name, offset, 2);
    pages.push(page.assignments.map(({ jobId }) => jobId));
    offset = page.reply;
  }
  expect(pages).toEqual([['j1', 'j2'], ['j3', 'j4'], ['j5']]);
});

test('mine: not a lease whose job is held no more, nor the end of a quarantine', async () => {
  const p = await fixture.pool();
  await p.leased('j1', 'w1', { delivered: false, job: { kind: '', method: '/a.B/C' }, info: { contract: 'METHOD' } });
  await p.r1.jobs.cancel(p.name, ['j1']);
  await p.at(55_000);
  await p.r1.workers.beat(p.name, [], false);
  expect(await p.raw.zcount(keys.leases(p.name), '-inf', '+inf')).toBe(1);
  expect((await p.r1.jobs.mine(p.name, 0, 10)).assignments).toEqual([]);
});
