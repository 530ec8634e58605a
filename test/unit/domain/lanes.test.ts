import { expect, test } from 'vitest';
import { Lanes } from '../../../src/domain/lanes.js';

test('a slow lane delays no other, is bounded, and is left out until its round has ended', async () => {
  const done: string[] = [];
  let atOnce = 0;
  let most = 0;
  let release = () => {};
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  const lanes = new Lanes<string>((item) => item[0] ?? '', 2);
  const task = async (item: string) => {
    most = Math.max(most, ++atOnce);
    if (item.startsWith('s')) await held;
    atOnce--;
    done.push(item);
  };
  const first = lanes.run(['s1', 's2', 's3', 'f1', 'f2', 'f3'], task);
  await lanes.run(['f4'], task);
  await new Promise(setImmediate);
  expect(done).toEqual(['f1', 'f2', 'f3']);
  await lanes.run(['s1', 'f4'], task);
  expect(done).toEqual(['f1', 'f2', 'f3', 'f4']);
  release();
  await first;
  await lanes.idle();
  expect(done.slice(4)).toEqual(['s1', 's2', 's3']);
  expect(most).toBeLessThanOrEqual(4);
});
