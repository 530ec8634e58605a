import { expect, test } from 'vitest';
import { full, started } from '../../helpers/store-diffs.js';
import { StoreFixture, T0 } from '../../helpers/store-fixture.js';

const fixture = new StoreFixture();

test('a new job stands with all its fields, and long ones in keys of their own', async () => {
  const p = await fixture.pool();
  const retry = { maxAttempts: 5, initialBackoffMs: 10, maxBackoffMs: 100, multiplier: 1.5, fatalCodes: [3, 5] };
  const spec = p.spec('j1', { payload: Buffer.from('bytes'), metadata: { a: 'b' }, priority: 2, queueTimeoutMs: 50, totalTimeoutMs: 900, retry });
  const { value, diff } = await p.during(() => p.submit([spec], { wait: true }));
  expect(value).toEqual({ reply: [{ kind: 'created' }], now: T0, assignments: [], more: false });
  expect(diff).toEqual({
    'deadlines.j1': '+ t+50',
    'job:j1.attempt': '+ 0',
    'job:j1.created': '+ t+0',
    'job:j1.digest': '+ #',
    'job:j1.fatal': '+ 3,5',
    'job:j1.keep': '+ 3600000',
    'job:j1.kind': '+ k',
    'job:j1.metadata': '+ 1',
    'job:j1.priority': '+ 2',
    'job:j1.queue': '+ 50',
    'job:j1.retry': '+ 5 10 100 1.5',
    'job:j1.run': '+ 300000',
    'job:j1.state': '+ waiting',
    'job:j1.total': '+ 900',
    'job:j1.waiter': '+ r1',
    'job:j1:metadata': '+ {"a":"b"}',
    'job:j1:payload': '+ bytes',
    'meta.family': '+ RUNNER',
    'meta.fence': '+ 0',
    'meta.submitted': '+ 1',
    'waiting:2': '+ j1',
  });
});

test('a job for later is scheduled, and its queue timeout counts from then', async () => {
  const p = await fixture.pool();
  const diff = await p.diff(() => p.job('j1', { notBefore: T0 + 1_000, queueTimeoutMs: 50 }));
  expect(diff).toMatchObject({
    'later.j1': '+ t+1000',
    'deadlines.j1': '+ t+1050',
    'job:j1.state': '+ scheduled',
    'job:j1.next': '+ t+1000',
    'job:j1.from': '+ t+1000',
  });
  expect(await p.waiting()).toEqual([]);
});

test('a start that has passed is now', async () => {
  const p = await fixture.pool();
  await p.job('j1', { notBefore: T0 - 1 });
  await p.job('j2', { notBefore: T0 });
  await p.job('j3', { notBefore: T0 + 1 });
  expect(await p.waiting()).toEqual(['j1', 'j2']);
});

test('again with the same content: its state, nothing written', async () => {
  const p = await fixture.pool();
  await p.job('j1', { payload: Buffer.from('x') });
  const { value, diff } = await p.during(() => p.submit([p.spec('j1', { payload: Buffer.from('x') })]));
  expect(value.reply).toEqual([{ kind: 'exists', state: 'waiting' }]);
  expect(diff).toEqual({});
});

test('again while its assignment is undelivered: the home gets it once more, another replica does not', async () => {
  const p = await fixture.pool();
  await p.worker();
  const first = await p.submit([p.spec()]);
  const again = await p.during(() => p.submit([p.spec()]));
  expect(again.value).toEqual({ ...first, reply: [{ kind: 'exists', state: 'running' }] });
  expect(again.diff).toEqual({});
  expect((await p.submit([p.spec()], { by: p.r2 })).assignments).toEqual([]);
  await p.lease({ pool: p.name, id: 'w1', boot: 'w1-b1', link: '1' }, 'j1');
  expect((await p.submit([p.spec()])).assignments).toEqual([]);
});

test('again from another replica that waits: it is told of the end too', async () => {
  const p = await fixture.pool();
  await p.submit([p.spec()], { wait: true });
  const diff = await p.diff(() => p.submit([p.spec()], { wait: true, by: p.r2 }));
  expect(diff).toEqual({ 'job:j1.waiter': 'r1 → r1 r2' });
});

test('other content under the same id is a conflict, whatever became of the job', async () => {
  const p = await fixture.pool();
  const lease = await p.leased();
  const other = p.spec('j1', { payload: Buffer.from('y') });
  expect((await p.submit([other])).reply).toEqual([{ kind: 'conflict' }]);
  await p.finish([p.result(lease)]);
  const { value, diff } = await p.during(() => p.submit([other, p.spec()]));
  expect(value.reply).toEqual([{ kind: 'conflict' }, { kind: 'exists', state: 'succeeded' }]);
  expect(diff).toEqual({});
});

test('the same id twice in a batch is one job; other content is a conflict', async () => {
  const p = await fixture.pool();
  const { reply } = await p.submit([p.spec(), p.spec(), p.spec('j1', { priority: 1 })]);
  expect(reply).toEqual([{ kind: 'created' }, { kind: 'exists', state: 'waiting' }, { kind: 'conflict' }]);
  expect(await p.waiting()).toEqual(['j1']);
});

test('the backlog is full at its bound, with what is scheduled, and not before', async () => {
  const p = await fixture.pool();
  const specs = [p.spec('j1'), p.spec('j2', { notBefore: T0 + 9_000 }), p.spec('j3'), p.spec('j4')];
  const { reply } = await p.submit(specs, { max: 3 });
  expect(reply).toEqual([{ kind: 'created' }, { kind: 'created' }, { kind: 'created' }, { kind: 'full' }]);
  const { value, diff } = await p.during(() => p.submit([p.spec('j5'), p.spec('j1')], { max: 3 }));
  expect(value.reply).toEqual([{ kind: 'full' }, { kind: 'exists', state: 'waiting' }]);
  expect(diff).toEqual({});
  expect((await p.submit([p.spec('j5')], { max: 4 })).reply).toEqual([{ kind: 'created' }]);
});

test('a job that names a kind settles a new pool as RUNNER; one that names a method does not', async () => {
  const p = await fixture.pool();
  expect(await p.diff(() => p.job('j0', { kind: '', method: '/job.JobService/RunJob' }))).not.toHaveProperty('meta.methods');
  expect(await p.diff(() => p.job('j1', { kind: '', method: '/a.B/C' }))).toMatchObject({ 'meta.methods': '+ 1' });
  expect(Object.keys(Object.fromEntries(await p.dump()))).not.toContain('meta.family');
  expect(await p.diff(() => p.job('j2'))).toMatchObject({ 'meta.family': '+ RUNNER' });
});

test.each([
  ['METHOD', 'k', '', 'family'],
  ['METHOD', '', '/a.B/C', 'created'],
  ['LEGACY', 'k', '', 'family'],
  ['LEGACY', '', '/a.B/C', 'family'],
  ['LEGACY', '', '/job.JobService/RunJob', 'created'],
  ['RUNNER', 'k', '', 'created'],
  ['RUNNER', '', '/a.B/C', 'created'],
] as const)('a pool of %s workers, a job of kind "%s", method "%s": %s', async (contract, kind, method, answer) => {
  const p = await fixture.pool();
  await p.worker('w1', { contract });
  const { reply } = await p.submit([p.spec('j1', { kind, method })]);
  expect(reply).toEqual([answer === 'family' ? { kind: 'family', family: contract } : { kind: 'created' }]);
});

test('one refused item does not touch the others of its batch', async () => {
  const p = await fixture.pool();
  await p.job('j1');
  const { reply } = await p.submit([p.spec('j1', { priority: 3 }), p.spec('j2'), p.spec('j3')], { max: 2 });
  expect(reply).toEqual([{ kind: 'conflict' }, { kind: 'created' }, { kind: 'full' }]);
  expect(await p.waiting()).toEqual(['j1', 'j2']);
});

test('with a free worker there it is matched in the same call', async () => {
  const p = await fixture.pool();
  await p.worker();
  await p.r1.jobs.pause(p.name, true);
  await p.job('j0', { payload: Buffer.from('bytes'), metadata: { a: 'b' } });
  const { value, diff } = await p.during(async () => {
    await p.r1.jobs.pause(p.name, false);
    return p.r1.jobs.mine(p.name, 0, 10);
  });
  expect(value.assignments).toEqual([
    {
      ...{ pool: p.name, jobId: 'j0', fence: String(T0 * 1_000), worker: 'w1', link: '1', kind: 'k', method: '', attempt: 1, runTimeoutMs: 300_000 },
      ...{ payload: Buffer.from('bytes'), metadata: { a: 'b' }, progress: Buffer.alloc(0), waitedMs: 0 },
    },
  ]);
  expect(diff).toEqual({
    ...started('j0', 'w1', 'F1'),
    ...full('w1'),
    events: '+ pool.resumed',
    free: '- w1',
    'meta.fence': '0 → F1',
    'meta.paused': '- 1',
    'waiting:0': '- j0',
  });
});
