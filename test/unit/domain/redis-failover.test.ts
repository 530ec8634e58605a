import { expect, test } from 'vitest';
import { chooseMaster, ReplicationHistory, type ReplicationState, type SentinelAnswer } from '../../../src/domain/redis-failover.js';

const at = (host: string) => ({ host, port: 6379 });
const answer = (host: string, epoch: number, promoting = false): SentinelAnswer => ({ master: at(host), epoch, promoting });
const master = (host: string, epoch: number) => ({ kind: 'master', master: at(host), epoch });

test.each<[what: string, answers: SentinelAnswer[], seen: number, known: number, choice: object]>([
  ['nobody answers: nothing changes', [], 3, 3, { kind: 'keep' }],
  ['all agree', [answer('a', 1), answer('a', 1), answer('a', 1)], -1, 3, master('a', 1)],
  ['most have not heard of the failover: the newest counts', [answer('a', 1), answer('b', 2), answer('a', 1)], -1, 3, master('b', 2)],
  ['a start hears only one that has not heard: its word is all there is', [answer('a', 1)], -1, 3, master('a', 1)],
  ['one that was cut off does not lead back', [answer('a', 1)], 2, 3, { kind: 'keep' }],
  ['half do not either', [answer('a', 1), answer('a', 1)], 2, 4, { kind: 'keep' }],
  ['most do: they were set up anew', [answer('a', 0), answer('a', 0)], 2, 3, master('a', 0)],
  ['one promotes a replica', [answer('a', 1), answer('a', 1, true)], 1, 3, { kind: 'promoting' }],
  ['one promotes by a configuration that is old', [answer('a', 1, true), answer('b', 2)], 1, 3, master('b', 2)],
  ['in one epoch most count', [answer('a', 1), answer('b', 1), answer('b', 1)], 1, 3, master('b', 1)],
])('%s', (_what, answers, seen, known, choice) => {
  expect(chooseMaster(answers, seen, known)).toEqual(choice);
});

const state = (offset: number, more: Partial<ReplicationState> = {}): ReplicationState => ({
  ...{ runId: 'one', replid: 'x', offset, formerReplid: '0', formerOffset: -1 },
  ...more,
});
const promoted = (formerOffset: number) => state(500, { runId: 'two', replid: 'y', formerReplid: 'x', formerOffset });

function history(): ReplicationHistory {
  const noted = new ReplicationHistory();
  for (const [time, offset] of [
    [1_000, 100],
    [2_000, 200],
    [3_000, 300],
  ] as const)
    noted.note(time, state(offset));
  noted.ended(3_400);
  return noted;
}

test.each<[formerOffset: number, from: number | undefined]>([
  [301, 3_000],
  [300, 2_000],
  [201, 2_000],
  [101, 1_000],
  [100, undefined],
])('a replica that was promoted at byte %s lacks what was acknowledged since %s', (formerOffset, from) => {
  expect(history().lossOf(promoted(formerOffset))).toEqual({ from, to: 3_400 });
});

test('the same server, and one that is no replica of it, lose nothing by that', () => {
  expect(history().lossOf(state(900))).toBeUndefined();
  expect(history().lossOf(state(900, { runId: 'two', replid: 'z' }))).toBeUndefined();
  expect(new ReplicationHistory().lossOf(promoted(1))).toBeUndefined();
});
