import { expect, test } from 'vitest';
import { StoreFixture } from '../../helpers/store-fixture.js';

const fixture = new StoreFixture();
const NONE = Buffer.alloc(0);

test("a worker's own word is its sign of life and keeps what it holds, through any replica", async () => {
  const p = await fixture.pool();
  const { jobId, fence, boot } = await p.leased('j1', 'w1', { delivered: false });
  await p.at(1_000);
  const { value, diff } = await p.during(() =>
    p.r2.workers.workerBeat(p.name, 'w1', boot, [{ jobId, fence, done: false, progress: Buffer.from('half') }]),
  );
  expect(value).toEqual({ known: 'ok', revoked: [false] });
  expect(diff).toEqual({
    'job:j1.delivered': '0 → 1',
    'job:j1.progress': '+ 1',
    'job:j1:progress': '+ half',
    'leases.j1': 't+5000 → t+31000',
    'workers.w1': 't+0 → t+1000',
  });
});

test('progress stays until there is news, and goes with the job', async () => {
  const p = await fixture.pool();
  const lease = await p.leased();
  const beat = (progress: Buffer) => p.diff(() => p.r1.workers.workerBeat(p.name, 'w1', lease.boot, [{ ...lease, done: false, progress }]));
  await beat(Buffer.from('half'));
  expect(await beat(NONE)).toEqual({});
  expect(await beat(Buffer.from('most'))).toEqual({ 'job:j1:progress': 'half → most' });
  expect(await p.diff(() => p.finish([p.result(lease)]))).toMatchObject({ 'job:j1:progress': '- most' });
});

test('the run deadline bounds it', async () => {
  const p = await fixture.pool();
  const lease = await p.leased('j1', 'w1', { job: { runTimeoutMs: 40_000 } });
  await p.at(20_000);
  const diff = await p.diff(() => p.r1.workers.workerBeat(p.name, 'w1', lease.boot, [{ ...lease, done: false, progress: NONE }]));
  expect(diff).toMatchObject({ 'leases.j1': 't+30000 → t+40000' });
});

test('what is not its lease is revoked: another fence, another job, a quarantined one', async () => {
  const p = await fixture.pool();
  const lease = await p.leased('j1', 'w1');
  const other = await p.leased('j2', 'w2');
  await p.r1.jobs.cancel(p.name, ['j1']);
  const held = [lease, { ...lease, fence: '1' }, other, { ...lease, jobId: 'j9' }].map(({ jobId, fence }) => ({
    jobId,
    fence,
    done: true,
    progress: NONE,
  }));
  const { value, diff } = await p.during(() => p.r1.workers.workerBeat(p.name, 'w1', lease.boot, held));
  expect(value).toEqual({ known: 'ok', revoked: [true, true, 'foreign', true] });
  expect(diff).toEqual({});
});

test.each([
  ['unknown', 'w9', 'w9-b1'],
  ['superseded', 'w1', 'other'],
  ['dead', 'w2', 'w2-b1'],
] as const)('%s: nothing is written and all is revoked', async (known, worker, boot) => {
  const p = await fixture.pool();
  const lease = await p.leased();
  await p.worker('w2');
  await p.r1.workers.bury({ pool: p.name, id: 'w2', boot: '', link: '' }, 0, 'evicted');
  await p.at(1_000);
  const held = [{ jobId: 'j1', fence: lease.fence, done: false, progress: NONE }];
  const { value, diff } = await p.during(() => p.r1.workers.workerBeat(p.name, worker, boot, held));
  expect(value).toEqual({ known, revoked: [true] });
  expect(diff).toEqual({});
});

test('without a boot, as the first contract has it, the id is enough', async () => {
  const p = await fixture.pool();
  await p.worker();
  await p.at(1_000);
  expect(await p.during(() => p.r1.workers.workerBeat(p.name, 'w1', '', []))).toEqual({
    value: { known: 'ok', revoked: [] },
    diff: { 'workers.w1': 't+0 → t+1000' },
  });
});
