import { randomInt } from 'node:crypto';
import * as fc from 'fast-check';
import { afterAll, expect, test } from 'vitest';
import { ownRedis } from '../helpers/redis.js';
import type { Call } from './calls.js';
import { Harness } from './harness.js';
import { sequence } from './intents.js';

const KINDS: readonly Call['do'][] = [
  ...(['clock', 'expire', 'submit', 'register', 'finish', 'release', 'beat', 'tick', 'probed', 'suspect', 'bury', 'adopt', 'orphans'] as const),
  ...(['forgetHomes', 'drain', 'deregister', 'pause', 'cancel', 'retry', 'purge', 'mine', 'accept', 'workerBeat', 'match'] as const),
];
const seed = Number(process.env['SEED'] ?? randomInt(2 ** 31));
const numRuns = Number(process.env['RUNS'] ?? 500);

const redis = await ownRedis();
const harness = await Harness.open(redis.url, ['plain', 'tombstones', 'bounded']);
afterAll(() => harness.close());

test('the scripts do what the model does, and keep the ten properties, whatever is called in whatever order', { timeout: 600_000 }, async () => {
  console.log(`seed ${seed} (SEED=${seed} RUNS=${numRuns} runs it again)`);
  let calls = 0;
  const kinds = new Set<string>();
  const property = fc.asyncProperty(sequence, async (run) => {
    const trace = await harness.sequence(run);
    calls += trace.length;
    for (const call of trace) kinds.add(call.do);
  });
  await fc.assert(property, { seed, numRuns, interruptAfterTimeLimit: 540_000, markInterruptAsFailure: true });
  console.log(`${numRuns} sequences, ${calls} calls`);
  // A short run need not have had them all.
  if (numRuns >= 200) expect([...kinds].sort()).toEqual([...KINDS].sort());
  expect(calls).toBeGreaterThan(numRuns);
});
