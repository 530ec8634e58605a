import { type Flood, runFlood } from './floods.js';

/** `flooder.ts FLOOD_JSON`: a process of its own, as each identity is. Prints how many messages of each kind it sent. */
const [flood = ''] = process.argv.slice(2);
process.stdout.write(`${JSON.stringify(await runFlood(JSON.parse(flood) as Flood))}\n`);
process.exit(0);
