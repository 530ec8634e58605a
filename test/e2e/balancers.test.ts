import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { ROOT } from '../helpers/source.js';
import { BALANCERS, binaryOf } from '../rolling/balancers.js';
import { type Drilled, drill } from '../rolling/drill.js';

/** One roll of what `npm run rolling` does ten times. All balancers at once: most of a roll is waiting. */
const main = fileURLToPath(new URL('dist/main.js', ROOT));

const absent = BALANCERS.filter((name) => binaryOf(name) === undefined);
const without = absent.length === 0 ? '' : ` (not on PATH, so not tried: ${absent.join(', ')})`;

describe.concurrent(`a rolling restart of all replicas${without}`, () => {
  test.each(BALANCERS.filter((name) => !absent.includes(name)))(
    'behind %s: nothing is lost, run twice or failed, and no attempt is spent',
    async (balancer) => {
      const story: string[] = [];
      const drilled = await drill({ balancer, rolls: 1, main, tell: (line) => void story.push(line) });
      const { lost, twice, failed, spent, complaints } = drilled;
      expect({ lost, twice, failed, spent }, [...story, ...complaints].join('\n')).toEqual({ lost: 0, twice: 0, failed: 0, spent: 0 });
      expect(drilled.jobs).toBeGreaterThan(400);
      expect(everyWorkerMoved(drilled)).toBe(true);
    },
  );

  test('is told of each balancer by name, be it there or not', () => {
    expect(absent.every((name) => without.includes(name))).toBe(true);
  });
});

/** Each of three replicas went once, so each worker lost its home at least once. */
function everyWorkerMoved({ moves }: Drilled): boolean {
  return moves >= 6;
}
