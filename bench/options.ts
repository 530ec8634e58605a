import { parseArgs } from 'node:util';

export interface Options {
  /** Scenario names; empty: all. */
  only: string[];
  /** Names of the peers beside BullMQ; empty: all that can be had. */
  peers: string[];
  rounds: number;
  /** Of one subject in one round. */
  seconds: number;
  output: 'table' | 'json';
  /** Report although other processes use the machine; what is reported says so. */
  force: boolean;
  /** The `main.js` of the build that is measured; undefined: what `npm run build` made. */
  build: string | undefined;
  /** The `main.js` of another build of Muster, to be compared in the same rounds. */
  baseline: string | undefined;
  /** A folder for a CPU profile of each of our Node processes. */
  profile: string | undefined;
  /** Large fleets, bursts and backlogs are so much of what they should be. */
  scale: number;
  /** Where the files of the results go; undefined: bench/results, and nowhere when they are no figures. */
  results: string | undefined;
  /** Nothing is measured: docs/performance.md is written anew from the results. */
  docs: boolean;
}

export const USAGE = `npm run bench -- [--only T1,L1,…] [--peers a,b] [--rounds N] [--seconds N] [-o table|json] [--force]
                     [--build MAIN_JS] [--baseline MAIN_JS] [--profile DIR] [--scale PART] [--results DIR] [--docs]

  --only      scenarios, with commas (default: all)
  --peers     who is measured beside Muster and BullMQ in T1 and L1, with commas; none: nobody (default: all that this machine can have)
  --rounds    interleaved rounds that count (default 5)
  --seconds   length of each subject's turn in a round (default 4)
  -o          table (default), or one line of JSON a figure
  --force     report even when other processes load the machine; the figures are marked
  --build     main.js of the build that is measured (default: dist/main.js)
  --baseline  main.js of another build of Muster, measured in the same rounds
  --profile   write a CPU profile of each Node process into that folder; profiling costs, so its rates are no figures
  --scale     part of the large fleets, bursts and backlogs, 0.001 to 1: to try the bench out; no figures
  --results   where the JSON and the picture of each scenario go (default: bench/results; nowhere with --profile or --scale)
  --docs      measure nothing: write the tables of docs/performance.md and the pictures anew from the JSON of the results`;

export class UsageError extends Error {}

const NOBODY = 'none';

/** Throws UsageError. */
export function readOptions(args: string[], scenarios: string[], peers: string[]): Options {
  const { values } = parsed(args);
  const { output = 'table' } = values;
  if (output !== 'table' && output !== 'json') throw new UsageError(`-o ${output}: table or json`);
  return {
    only: chosen('--only', values.only, scenarios),
    peers: chosen('--peers', values.peers, [...peers, NOBODY]),
    rounds: whole('--rounds', values.rounds ?? '5'),
    seconds: whole('--seconds', values.seconds ?? '4'),
    output,
    force: values.force ?? false,
    build: values.build,
    baseline: values.baseline,
    profile: values.profile,
    scale: part('--scale', values.scale ?? '1'),
    results: values.results,
    docs: values.docs ?? false,
  };
}

function parsed(args: string[]) {
  try {
    return parseArgs({
      args,
      options: {
        only: { type: 'string' },
        peers: { type: 'string' },
        rounds: { type: 'string' },
        seconds: { type: 'string' },
        output: { type: 'string', short: 'o' },
        force: { type: 'boolean' },
        build: { type: 'string' },
        baseline: { type: 'string' },
        profile: { type: 'string' },
        scale: { type: 'string' },
        results: { type: 'string' },
        docs: { type: 'boolean' },
      },
    });
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

/** Some of these names, with commas. */
function chosen(flag: string, text: string | undefined, names: string[]): string[] {
  const found = (text ?? '').split(',').filter((name) => name !== '');
  const unknown = found.filter((name) => !names.includes(name));
  if (unknown.length > 0) throw new UsageError(`${flag} ${unknown.join(',')}: there are ${names.join(', ')}`);
  return found;
}

function whole(flag: string, text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > 600) throw new UsageError(`${flag} ${text}: a whole number, 1 to 600`);
  return value;
}

function part(flag: string, text: string): number {
  const value = Number(text);
  if (!(value >= 0.001 && value <= 1)) throw new UsageError(`${flag} ${text}: a number, 0.001 to 1`);
  return value;
}
