import { randomInt } from 'node:crypto';
import * as fc from 'fast-check';
import { afterAll, expect, test } from 'vitest';
import { ownRedis } from '../helpers/redis.js';
import { Harness } from './harness.js';
import { sequence } from './intents.js';

const seed = Number(process.env['SEED'] ?? randomInt(2 ** 31));
const numRuns = Number(process.env['RUNS'] ?? 1_000);

const redis = await ownRedis();
const harness = await Harness.open(redis.url, ['plain', 'tombstones', 'bounded']);
afterAll(() => harness.close());

test('the scripts do what the model does, and keep the ten properties, whatever is called in whatever order', { timeout: 600_000 }, async () => {
  console.log(`seed ${seed} (SEED=${seed} RUNS=${numRuns} runs it again)`);
  let calls = 0;
  const property = fc.asyncProperty(sequence, async (run) => {
    calls += (await harness.sequence(run)).length;
  });
  await fc.assert(property, { seed, numRuns, interruptAfterTimeLimit: 540_000, markInterruptAsFailure: true });
  console.log(`${numRuns} sequences, ${calls} calls`);
  expect(calls).toBeGreaterThan(numRuns);
});
