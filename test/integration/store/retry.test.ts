import { expect, test } from 'vitest';
import { keys } from '../../../src/store/keys.js';
import { failure, StoreFixture, T0, type TestPool } from '../../helpers/store-fixture.js';

const fixture = new StoreFixture();

/** A dead letter `j1` of a worker that was drained after it. */
async function withDeadLetter(): Promise<TestPool> {
  const p = await fixture.pool();
  const lease = await p.leased('j1', 'w1', {
    job: { payload: Buffer.from('in'), metadata: { a: 'b' }, queueTimeoutMs: 60_000, totalTimeoutMs: 90_000 },
  });
  await p.at(10);
  await p.finish([p.result(lease, failure({ retryable: false }))]);
  await p.r1.workers.drain(p.name, 'w1', true);
  return p;
}

test('a dead letter is in its queue again, as new, without the deadlines of its first life', async () => {
  const p = await withDeadLetter();
  const { value, diff } = await p.during(() => p.r1.jobs.retry(p.name, [{ id: 'j1', buriedAt: T0 + 10 }]));
  expect(value.reply).toEqual(['retried']);
  expect(diff).toEqual({
    'buried.j1': '- t+10',
    events: '+ job.retried j1',
    'job:j1.attempt': '1 → 0',
    'job:j1.finished': '- t+10',
    'job:j1.handovers': '+ 0',
    'job:j1.queue': '- 60000',
    'job:j1.state': 'failed → waiting',
    'job:j1.total': '- 90000',
    'job:j1:error': '- 2 test final: no',
    'ttl job:j1': '- 604800 s',
    'ttl job:j1:error': '- 604800 s',
    'ttl job:j1:metadata': '- 604800 s',
    'ttl job:j1:payload': '- 604800 s',
    'waiting:0': '+ j1',
  });
});

test('it runs with its payload, under a fence of its own, and counts its attempts anew', async () => {
  const p = await withDeadLetter();
  await p.worker('w2');
  const { assignments } = await p.r1.jobs.retry(p.name, [{ id: 'j1' }]);
  expect(assignments).toMatchObject([{ jobId: 'j1', attempt: 1, payload: Buffer.from('in'), metadata: { a: 'b' } }]);
  expect(p.given(assignments)).toEqual(['j1 F2 w2 1']);
});

test('another time of burial: it was retried and buried again since, so nothing happens', async () => {
  const p = await withDeadLetter();
  const { value, diff } = await p.during(() => p.r1.jobs.retry(p.name, [{ id: 'j1', buriedAt: T0 + 9 }]));
  expect([value.reply, diff]).toEqual([['not_buried'], {}]);
});

test('twice is once', async () => {
  const p = await withDeadLetter();
  const { reply } = await p.r1.jobs.retry(p.name, [
    { id: 'j1', buriedAt: T0 + 10 },
    { id: 'j1', buriedAt: T0 + 10 },
  ]);
  expect(reply).toEqual(['retried', 'not_buried']);
  expect(await p.waiting()).toEqual(['j1']);
});

test('what is no dead letter stays as it is; an entry whose job is gone is dropped', async () => {
  const p = await withDeadLetter();
  await p.job('j2');
  await p.raw.zadd(keys.buried(p.name), '1', 'j9');
  const { value, diff } = await p.during(() => p.r1.jobs.retry(p.name, [{ id: 'j2' }, { id: 'j8' }, { id: 'j9' }]));
  expect(value.reply).toEqual(['not_buried', 'unknown', 'unknown']);
  expect(diff).toEqual({ 'buried.j9': '- 1' });
});

test('what the workers of the pool cannot run any more stays a dead letter', async () => {
  const p = await withDeadLetter();
  await p.r1.workers.deregister(p.name, 'w1', '', undefined);
  await p.worker('w2', { contract: 'METHOD' });
  const { value, diff } = await p.during(() => p.r1.jobs.retry(p.name, [{ id: 'j1' }]));
  expect([value.reply, diff]).toEqual([['family METHOD'], {}]);
});
