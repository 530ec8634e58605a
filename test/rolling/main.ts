/**
 * `npm run rolling`: every replica restarted in turn behind a real load balancer while workers and clients work through it. The table on
 * stdout, the story on stderr. Exit code 1 when anything was lost, run twice, or failed; 2 for usage.
 */
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { inspect, parseArgs } from 'node:util';
import { table } from '../../src/cli/table.js';
import { BALANCERS, type BalancerName } from './balancers.js';
import { type Drilled, drill } from './drill.js';
import { isClean } from './verdict.js';

const USAGE = `npm run rolling -- [--rolls N] [--balancer nginx|haproxy|both] [--build MAIN_JS]

  --rolls     so often all three replicas are restarted, one after another (default 10)
  --balancer  what stands before them (default both, one after the other)
  --build     main.js of the build that is drilled (default: dist/main.js)`;
const SIGNALS = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const;

const say = (text: string): void => void process.stderr.write(`rolling: ${text}\n`);

interface Options {
  rolls: number;
  balancers: readonly BalancerName[];
  main: string;
}

class UsageError extends Error {}

/** Throws UsageError. */
function readOptions(args: string[]): Options {
  const { rolls = '10', balancer = 'both', build } = parsed(args);
  if (!/^[1-9]\d{0,3}$/.test(rolls)) throw new UsageError(`--rolls ${rolls}: a whole number from 1 to 9999`);
  const balancers = balancer === 'both' ? BALANCERS : BALANCERS.filter((name) => name === balancer);
  if (balancers.length === 0) throw new UsageError(`--balancer ${balancer}: nginx, haproxy or both`);
  return {
    rolls: Number(rolls),
    balancers,
    main: build === undefined ? fileURLToPath(new URL('../../dist/main.js', import.meta.url)) : resolve(build),
  };
}

function parsed(args: string[]) {
  try {
    return parseArgs({ args, options: { rolls: { type: 'string' }, balancer: { type: 'string' }, build: { type: 'string' } } }).values;
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

const HEAD = [
  'balancer',
  'rolls',
  'restarts',
  'seconds',
  'jobs',
  'lost',
  'run twice',
  'failed calls',
  'spent attempts',
  'worst gap ms',
  'moves',
  'cuts',
];
const rowOf = ({ balancer, rolls, seconds, jobs, lost, twice, failed, spent, worstGapMs, moves, cuts }: Drilled) => [
  ...[balancer, rolls, 3 * rolls, seconds, jobs],
  ...[lost, twice, failed, spent, worstGapMs, moves, cuts],
];

async function main(args: string[]): Promise<number> {
  if (args.includes('--help') || args.includes('-h')) {
    process.stdout.write(`${USAGE}\n`);
    return 0;
  }
  try {
    const { rolls, balancers, main } = readOptions(args);
    const rows: Drilled[] = [];
    for (const balancer of balancers) rows.push(await drill({ balancer, rolls, main, tell: say }));
    process.stdout.write(table(HEAD, rows.map(rowOf), false));
    for (const { balancer, complaints } of rows) for (const complaint of complaints) say(`${balancer}: ${complaint}`);
    return rows.every(isClean) ? 0 : 1;
  } catch (error) {
    if (error instanceof UsageError) {
      say(`${error.message}\n${USAGE}`);
      return 2;
    }
    say(inspect(error));
    return 1;
  }
}

for (const [signal, code] of Object.entries(SIGNALS)) process.once(signal, () => process.exit(code));
process.exit(await main(process.argv.slice(2)));
