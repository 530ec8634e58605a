import { expect, test } from 'vitest';
import { runTrials, summaryOf } from '../chaos/run.js';
import { FAULTS } from '../chaos/schedule.js';

/**
 * A selection of `npm run chaos`, another one each day: of each group that the usual fleet serves, one fault a seed. CHAOS_SEED begins with
 * that one. `npm run chaos -- --trials 100` is the long form.
 */
const SEEDS = 2;
const DAY_MS = 86_400_000;
const first = Number(process.env['CHAOS_SEED'] ?? SEEDS * Math.floor(Date.now() / DAY_MS));
/** Of one seed: what would begin later is left for another day. */
const BEGIN_WITHIN_MS = 30_000;
/** With the longest trial that is still well. */
const MOST_MS = 170_000;
/** What another file of this suite does by itself, or what takes a fleet of its own. */
const ELSEWHERE = new Set(['clocks', 'hostile']);

const faults = FAULTS.filter(({ group, fleet = 'usual' }) => fleet === 'usual' && !ELSEWHERE.has(group));

test.each(Array.from({ length: SEEDS }, (_, n) => first + n))(
  'faults under load, seed %i: nothing lost, nothing accepted twice, nothing in limbo, and it heals',
  async (seed) => {
    const told: string[] = [];
    const trials = await runTrials({ faults, trials: 1, seed, beginWithinMs: BEGIN_WITHIN_MS, tell: (line) => told.push(line) });
    const summary = summaryOf(trials, seed);
    console.info(`FIGURE chaos=${JSON.stringify({ ...summary, faults: trials.map(({ group, fault }) => `${group}/${fault}`) })}`);
    expect(
      trials.flatMap(({ violations }) => violations),
      told.join('\n'),
    ).toEqual([]);
    expect(summary).toMatchObject({ faultsFired: trials.length, lost: 0, duplicated: 0, limbo: 0 });
    expect(trials.length).toBeGreaterThan(0);
  },
  MOST_MS,
);
