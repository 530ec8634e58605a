import { fileURLToPath } from 'node:url';
import { Child, scriptArgs } from '../helpers/children.js';
import { ROOT } from '../helpers/source.js';
import { ATTACKS, type AttackName } from '../hostile/attacks.js';
import { FLOODS, type FloodName } from '../hostile/floods.js';
import { besiegeByFrames } from '../hostile/frame-siege.js';
import { Broken, type Fault, NotFired } from './arena.js';
import { pick } from './random.js';

const ATTACK_MS = 90_000;
const MAIN = fileURLToPath(new URL('dist/main.js', ROOT));

/** Each attack of the siege, as brief as CI has it, on one replica of a fleet at work. Heap and times of others are the siege's own business. */
const attacks: Fault[] = (Object.keys(ATTACKS) as AttackName[]).map((attack) => ({
  group: 'hostile',
  name: attack.replaceAll(' ', '-'),
  run: async ({ fleet, draw }) => {
    const seat = pick(draw, fleet.replicas);
    const { child } = seat;
    const attacker = new Child(attack, [...scriptArgs('test/hostile/attacker.ts'), attack, String(seat.grpcPort), String(ATTACKS[attack].brief)]);
    try {
      await attacker.ended(ATTACK_MS);
    } finally {
      await attacker.dispose();
    }
    const hits = Number(attacker.lines.join('\n').match(/hits (\d+)/)?.[1] ?? 0);
    if (!child.running) throw new Broken(`${seat.name} ended under ${attack}:\n${child.tail()}`);
    if (hits === 0) throw new NotFired(`${attack} reached nobody:\n${attacker.tail()}`);
  },
}));

/** Of the calm: so much longer may one of a hundred jobs of a healthy client take. */
const P99_FACTOR = 5;
const MORE_MIB = 64;
const FLOOD_MS = 3_000;
const FLOOD_BYTES_A_SECOND = 200 * 1_024;

/**
 * Four identities with every kind of frame beside a healthy client of another pool, at a replica of its own. Only when it is named: it needs the
 * machine. Floods of unary calls are measured and not judged: HTTP/2 costs more for each of them than a replica can refuse them for.
 */
const siege: Fault = {
  group: 'hostile',
  name: 'siege',
  asked: true,
  run: async () => {
    const names = Object.keys(FLOODS) as FloodName[];
    const isCall = (name: FloodName) => 'unary' in FLOODS[name];
    const rounds = names.filter((name) => !isCall(name)).map((kind) => [kind]);
    const calls = names.filter(isCall).map((kind) => [kind]);
    const story: string[] = [];
    const tell = (line: string) => void story.push(line);
    const found = await besiegeByFrames({ main: MAIN, rounds, forMs: FLOOD_MS, bytesPerSecond: FLOOD_BYTES_A_SECOND, tell });
    await besiegeByFrames({
      main: MAIN,
      rounds: calls,
      forMs: FLOOD_MS,
      bytesPerSecond: FLOOD_BYTES_A_SECOND,
      tell: (line) => tell(`not judged: ${line}`),
    });
    const { calm, p99Ms, failed, suspected, grewMiB, alive } = found;
    const figures = `p99 ${p99Ms} ms after ${calm.p99Ms} ms, ${failed} failed, ${suspected} suspected, ${Math.round(grewMiB)} MiB more`;
    process.stderr.write(`chaos: siege: ${figures}\n${story.map((line) => `chaos: siege: ${line}\n`).join('')}`);
    if (found.floods.some(({ sent }) => sent === 0)) throw new NotFired(`a flood reached nobody:\n${story.join('\n')}`);
    if (!alive || failed > 0 || suspected > 0 || p99Ms > P99_FACTOR * calm.p99Ms || grewMiB > MORE_MIB)
      throw new Broken(`${figures}\n${story.join('\n')}`);
  },
};

export const hostileFaults: Fault[] = [...attacks, siege];
