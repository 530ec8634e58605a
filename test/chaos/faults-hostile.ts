import { Child, scriptArgs } from '../helpers/children.js';
import { ATTACKS, type AttackName } from '../hostile/attacks.js';
import { Broken, type Fault, NotFired } from './arena.js';
import { pick } from './random.js';

const ATTACK_MS = 90_000;

/** Each attack of the siege, as brief as CI has it, on one replica of a fleet at work. Heap and times of others are the siege's own business. */
export const hostileFaults: Fault[] = (Object.keys(ATTACKS) as AttackName[]).map((attack) => ({
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
