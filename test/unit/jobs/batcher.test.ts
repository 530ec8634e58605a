import { expect, test } from 'vitest';
import { Batcher, type BatcherOptions, PoolBatchers } from '../../../src/jobs/batcher.js';

/** Calls that end when they are told to. */
function calls() {
  const batches: number[][] = [];
  const ends: { resolve: (outputs: string[]) => void; reject: (error: Error) => void }[] = [];
  const run = (items: number[]) => {
    batches.push(items);
    return new Promise<string[]>((resolve, reject) => ends.push({ resolve, reject }));
  };
  const end = (i: number) => ends[i]?.resolve((batches[i] ?? []).map((item) => `done ${item}`));
  return { batches, run, end, fail: (i: number, error: Error) => ends[i]?.reject(error) };
}

function options(run: (items: number[]) => Promise<string[]>, more: Partial<BatcherOptions<number, string>> = {}): BatcherOptions<number, string> {
  return { run, sizeOf: () => 1, maxItems: 3, maxBytes: 100, maxQueue: 10, ...more };
}

test('what comes in one turn goes together; what comes while a call is under way is the next batch', async () => {
  const { batches, run, end } = calls();
  const batcher = new Batcher(options(run));
  const first = [batcher.add(1), batcher.add(2)];
  await Promise.resolve();
  expect(batches).toEqual([[1, 2]]);
  const second = [batcher.add(3), batcher.add(4)];
  await Promise.resolve();
  expect(batches).toEqual([[1, 2]]);
  end(0);
  expect(await Promise.all(first)).toEqual(['done 1', 'done 2']);
  expect(batches).toEqual([
    [1, 2],
    [3, 4],
  ]);
  end(1);
  expect(await Promise.all(second)).toEqual(['done 3', 'done 4']);
});

test('a batch ends at its items and at its bytes; one that is too large for any goes alone', async () => {
  const { batches, run, end } = calls();
  const batcher = new Batcher(options(run, { sizeOf: (item) => item, maxItems: 2, maxBytes: 10 }));
  const all = [1, 2, 3, 9, 50, 1].map((item) => batcher.add(item));
  for (let i = 0; i < 5; i++) {
    await Promise.resolve();
    end(i);
    await new Promise((resolve) => setImmediate(resolve));
  }
  await Promise.all(all);
  expect(batches).toEqual([[1, 2], [3], [9], [50], [1]]);
});

test('a failed call fails its own batch only', async () => {
  const { run, end, fail } = calls();
  const batcher = new Batcher(options(run));
  const first = batcher.add(1);
  await Promise.resolve();
  const second = batcher.add(2);
  fail(0, new Error('away'));
  await expect(first).rejects.toThrow('away');
  end(1);
  expect(await second).toBe('done 2');
});

test('the queue is bounded: the call beyond it is refused, and those before it are not', async () => {
  const { run, end } = calls();
  const batcher = new Batcher(options(run, { maxQueue: 2, maxItems: 1 }));
  const under = batcher.add(0);
  await Promise.resolve();
  const queued = [batcher.add(1), batcher.add(2)];
  await expect(batcher.add(3)).rejects.toMatchObject({ code: 'resource_exhausted', reason: 'TOO_MANY_WAITING' });
  for (let i = 0; i < 3; i++) {
    end(i);
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect(await Promise.all([under, ...queued])).toEqual(['done 0', 'done 1', 'done 2']);
});

test('each pool has a batcher of its own', async () => {
  const seen: [string, number[]][] = [];
  const batchers = new PoolBatchers<number, string>((pool) =>
    options(async (items) => {
      seen.push([pool, items]);
      return items.map(String);
    }),
  );
  expect(await Promise.all([batchers.add('a', 1), batchers.add('b', 2), batchers.add('a', 3)])).toEqual(['1', '2', '3']);
  expect(seen).toEqual([
    ['a', [1, 3]],
    ['b', [2]],
  ]);
});
