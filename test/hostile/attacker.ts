import { ATTACKS, type AttackName } from './attacks.js';

/** `attacker.ts NAME PORT TIMES`: a process of its own, so that a healthy client does not wait for the enemy's event loop. Prints its hits. */
const [name = '', port = '', times = ''] = process.argv.slice(2);
const hits = await ATTACKS[name as AttackName].run({ host: '127.0.0.1', port: Number(port) }, Number(times));
process.stdout.write(`hits ${hits}\n`);
process.exit(0);
