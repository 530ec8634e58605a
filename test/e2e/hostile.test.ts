import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { ROOT } from '../helpers/source.js';
import { ATTACKS, type AttackName } from '../hostile/attacks.js';
import { besiege, HEAP_MAX } from '../hostile/siege.js';

const main = fileURLToPath(new URL('dist/main.js', ROOT));
/** Of jobs that take about 2 ms when all is calm; the enemy has one of two cores to itself. */
const P99_MAX_MS = 1_000;

test('hostile peers bring no replica down, keep no memory of it, and nobody else waits long for them', async () => {
  const attacks = Object.keys(ATTACKS) as AttackName[];
  const story: string[] = [];
  const found = await besiege({ main, attacks, scale: 'brief', tell: (line) => void story.push(line) });
  console.log(story.map((line) => `FIGURE siege: ${line}`).join('\n'));
  expect(found.map(({ attack }) => attack)).toEqual(attacks);
  for (const { attack, hits, failed, p99Ms, heap, alive } of found) {
    expect(hits, attack).toBeGreaterThan(0);
    expect({ alive, failed }, attack).toEqual({ alive: true, failed: 0 });
    expect(p99Ms, attack).toBeLessThan(P99_MAX_MS);
    expect(heap, attack).toBeLessThanOrEqual(HEAP_MAX);
  }
}, 300_000);
