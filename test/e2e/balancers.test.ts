import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { ROOT } from '../helpers/source.js';
import { BALANCERS, binaryOf } from '../rolling/balancers.js';
import { type Drilled, drill } from '../rolling/drill.js';
import { newcomer } from '../rolling/newcomer.js';

/** One roll of what `npm run rolling` does ten times, and a replica that is new. All at once: most of it is waiting. */
const main = fileURLToPath(new URL('dist/main.js', ROOT));

/** Attached ones, of which a newcomer among three replicas is to get a third. */
const WORKERS = 30;

const absent = BALANCERS.filter((name) => binaryOf(name) === undefined);
const without = absent.length === 0 ? '' : ` (not on PATH, so not tried: ${absent.join(', ')})`;

const there = BALANCERS.filter((name) => !absent.includes(name));

describe.concurrent(`replicas behind a real balancer${without}`, () => {
  test.each(there)('%s, a rolling restart of all: nothing is lost, run twice or failed, and no attempt is spent', async (balancer) => {
    const story: string[] = [];
    const drilled = await drill({ balancer, rolls: 1, main, tell: (line) => void story.push(line) });
    const { lost, twice, failed, spent, complaints } = drilled;
    expect({ lost, twice, failed, spent }, [...story, ...complaints].join('\n')).toEqual({ lost: 0, twice: 0, failed: 0, spent: 0 });
    expect(drilled.jobs).toBeGreaterThan(400);
    expect(everyWorkerMoved(drilled)).toBe(true);
  });

  // Round robin spreads the streams that move over all replicas, so the last ones take several rounds: 8 to 15 s.
  test.each(there)('%s: a new replica gets its share of the links', async (balancer) => {
    const { before, after, ms } = await newcomer({ balancer, workers: WORKERS, main, withinMs: 45_000 });
    console.info(`FIGURE newcomer=${balancer} before=${before} after=${after} ms=${ms}`);
    expect(before.at(-1)).toBeLessThan(WORKERS / 6);
    // What the others may keep is one more than the mean each.
    expect(after.at(-1)).toBeGreaterThanOrEqual(WORKERS / 3 - 2);
  });

  test('is told of each balancer by name, be it there or not', () => {
    expect(absent.every((name) => without.includes(name))).toBe(true);
  });
});

/** Each of three replicas went once, so each worker lost its home at least once. */
function everyWorkerMoved({ moves }: Drilled): boolean {
  return moves >= 6;
}
