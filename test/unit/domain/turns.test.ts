import { expect, test } from 'vitest';
import { Turns } from '../../../src/domain/turns.js';
import { until } from '../../helpers/until.js';

/** Tasks that end when they are told to. */
function tasks(turns: Turns, count: number) {
  const begun: number[] = [];
  const ends: ((how: 'well' | 'badly') => void)[] = [];
  const all = Array.from({ length: count }, (_, i) =>
    turns.run(
      () =>
        new Promise<number>((resolve, reject) => {
          begun.push(i);
          ends[i] = (how) => (how === 'well' ? resolve(i) : reject(new Error(`task ${i}`)));
        }),
    ),
  );
  return { begun, ends, all };
}

test('so many at once, in their order, and the next when one has ended, well or badly', async () => {
  const turns = new Turns(2);
  const { begun, ends, all } = tasks(turns, 4);
  expect(turns.size).toBe(4);
  await until(() => begun.length === 2);
  ends[1]?.('badly');
  await expect(all[1]).rejects.toThrow('task 1');
  await until(() => begun.length === 3);
  ends[0]?.('well');
  expect(await all[0]).toBe(0);
  await until(() => begun.length === 4);
  expect(begun).toEqual([0, 1, 2, 3]);
  for (const end of ends) end('well');
  expect(await Promise.all([all[2], all[3]])).toEqual([2, 3]);
  expect(turns.size).toBe(0);
});

test('each begins in a turn of the event loop of its own', async () => {
  const turns = new Turns(10);
  const begunIn: number[] = [];
  let turn = 0;
  const count = () => {
    turn++;
    if (begunIn.length < 5) setImmediate(count);
  };
  const all = Array.from({ length: 5 }, () => turns.run(async () => begunIn.push(turn)));
  setImmediate(count);
  await Promise.all(all);
  expect(new Set(begunIn).size).toBe(5);
});
