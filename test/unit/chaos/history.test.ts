import { appendFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { History, type HistoryLine } from '../../chaos/history.js';

const folder = mkdtempSync(join(tmpdir(), 'muster-history-'));
afterAll(() => rmSync(folder, { recursive: true }));

const begun = (id: string): HistoryLine => ({ at: 1, event: 'invoke', id, pool: 'p', kind: 'slow', payload: '5' });
const text = (...lines: HistoryLine[]) => lines.map((line) => `${JSON.stringify(line)}\n`).join('');
let files = 0;

function history(): { history: History; append: (words: string) => void } {
  const file = join(folder, `${++files}`);
  return { history: new History(file), append: (words) => appendFileSync(file, words) };
}

test('what a client notes is read as it comes: begun, acknowledged, refused, given up, ended', () => {
  const { history: one, append } = history();
  one.read();
  expect(one.operations.size).toBe(0);
  append(text(begun('a'), begun('b'), begun('c'), { at: 2, event: 'ok', id: 'a' }));
  one.read();
  expect(one.operations.get('a')).toEqual({ id: 'a', pool: 'p', kind: 'slow', payload: '5', invokedAt: 1, ackedAt: 2 });
  append(text({ at: 3, event: 'fail', id: 'b', error: 'no' }, { at: 3, event: 'unknown', id: 'c', error: 'away' }));
  append(text({ at: 4, event: 'end', id: 'a', state: 'JOB_STATE_FAILED', right: false, attempt: 2 }));
  one.read();
  expect(one.operations.get('a')?.end).toEqual({ at: 4, state: 'JOB_STATE_FAILED', right: false, attempt: 2 });
  expect(['b', 'c'].map((id) => one.operations.get(id))).toMatchObject([
    { outcome: 'fail', error: 'no' },
    { outcome: 'unknown', error: 'away' },
  ]);
});

test('a line that is cut off is waited for, and left out when its client died over it', () => {
  const { history: one, append } = history();
  append(text(begun('a')) + text({ at: 2, event: 'ok', id: 'a' }).slice(0, 9));
  one.read();
  expect(one.operations.get('a')?.ackedAt).toBeUndefined();
  append(text({ at: 2, event: 'ok', id: 'a' }).slice(9) + text(begun('b')).slice(0, 9));
  one.died();
  expect(one.operations.get('a')?.ackedAt).toBe(2);
  expect(one.operations.has('b')).toBe(false);
});

test('of a client that died: what was not acknowledged is unknown, what had not ended is an orphan', () => {
  const { history: one, append } = history();
  append(text(begun('a'), begun('b'), begun('c'), { at: 2, event: 'ok', id: 'b' }, { at: 2, event: 'ok', id: 'c' }));
  append(text({ at: 4, event: 'end', id: 'c', state: 'JOB_STATE_SUCCEEDED', right: true, attempt: 1 }));
  one.died();
  const [a, b, c] = ['a', 'b', 'c'].map((id) => one.operations.get(id));
  expect([a?.outcome, a?.orphan]).toEqual(['unknown', undefined]);
  expect([b?.outcome, b?.orphan]).toEqual([undefined, true]);
  expect([c?.outcome, c?.orphan]).toEqual([undefined, undefined]);
});

test('a line of a job that nobody began is told', () => {
  const { history: one, append } = history();
  append(text({ at: 2, event: 'ok', id: 'x' }));
  expect(() => one.read()).toThrow('x was not begun');
});
