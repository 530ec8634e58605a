import { expect, test } from 'vitest';
import type { JobRecord, JobState } from '../../../src/domain/job.js';
import { type End, Waiters } from '../../../src/jobs/waiters.js';
import { FakeClock, settled } from '../../helpers/fake-clock.js';

const END: End = { state: 'succeeded', attempt: 1, worker: 'w', startedAt: 1, finishedAt: 2, output: Buffer.from('x') };

function fixture(states: Record<string, JobState> = {}) {
  const clock = new FakeClock();
  const reads: string[][] = [];
  const errors: unknown[] = [];
  let away = false;
  const read = async (_pool: string, ids: string[]) => {
    reads.push(ids);
    if (away) throw new Error('away');
    return ids.map((id) => (states[id] ? ({ state: states[id] } as JobRecord) : undefined));
  };
  const waiters = new Waiters({ read, clock, rereadMs: 5_000, maxWaiters: 3, onError: (error) => errors.push(error) });
  return { clock, waiters, reads, errors, states, setAway: (is: boolean) => (away = is) };
}

test('an end that this replica made is told to all who wait, without a reading', async () => {
  const { waiters, reads } = fixture();
  const waits = [waiters.wait('p', 'a'), waiters.wait('p', 'a')];
  const other = waiters.wait('q', 'a');
  waiters.ended('p', 'a', END);
  for (const { ended } of waits) expect(await ended).toEqual({ kind: 'end', end: END });
  expect(reads).toEqual([]);
  expect(waiters.size).toBe(1);
  other.end();
  expect(await other.ended).toBeUndefined();
  expect(waiters.size).toBe(0);
});

test('a hint makes a reading: an ended job ends the wait, a live one does not, one that is gone does', async () => {
  const { waiters, states } = fixture({ a: 'running' });
  const wait = waiters.wait('p', 'a');
  waiters.look('p', 'a');
  await settled();
  expect(waiters.size).toBe(1);
  states['a'] = 'failed';
  waiters.look('p', 'a');
  expect(await wait.ended).toEqual({ kind: 'record', record: { state: 'failed' } });
  const gone = waiters.wait('p', 'b');
  waiters.look('p', 'b');
  expect(await gone.ended).toEqual({ kind: 'gone' });
});

test('a hint for a job that nobody waits for is not read', async () => {
  const { waiters, reads } = fixture({ a: 'failed' });
  waiters.look('p', 'a');
  await settled();
  expect(reads).toEqual([]);
});

test('a lost hint costs WAIT_REREAD_MS: not a reading at t−1, one at t', async () => {
  const { clock, waiters, reads } = fixture({ a: 'running' });
  const wait = waiters.wait('p', 'a');
  await clock.pass(4_999);
  waiters.lookAtStale();
  await settled();
  expect(reads).toEqual([]);
  await clock.pass(1);
  waiters.lookAtStale();
  await settled();
  expect(reads).toEqual([['a']]);
  wait.end();
});

test('a reading that fails is reported, and the wait goes on', async () => {
  const { clock, waiters, errors, states, setAway } = fixture({ a: 'succeeded' });
  const wait = waiters.wait('p', 'a');
  setAway(true);
  waiters.look('p', 'a');
  await settled();
  expect(errors).toHaveLength(1);
  setAway(false);
  await clock.pass(5_000);
  waiters.lookAtStale();
  expect(await wait.ended).toEqual({ kind: 'record', record: { state: states['a'] } });
});

test('the wait is over when whoever waits says so', async () => {
  const { waiters } = fixture();
  const wait = waiters.wait('p', 'a');
  wait.end();
  expect(await wait.ended).toBeUndefined();
  expect(waiters.size).toBe(0);
  wait.end();
  expect(waiters.size).toBe(0);
});

test('waits are bounded', () => {
  const { waiters } = fixture();
  const waits = ['a', 'b', 'c'].map((id) => waiters.wait('p', id));
  expect(() => waiters.wait('p', 'd')).toThrow(expect.objectContaining({ code: 'resource_exhausted', reason: 'TOO_MANY_WAITERS' }));
  waits[0]?.end();
  expect(() => waiters.wait('p', 'd')).not.toThrow();
});
