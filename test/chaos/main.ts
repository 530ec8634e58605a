/**
 * `npm run chaos`: faults under load on a fleet of processes, each link through a proxy, and a verdict on every job. A table on stdout that
 * ends in one line of JSON, the story on stderr. Exit code 1 when anything was broken or did not fire; 2 for usage.
 */
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { inspect, parseArgs } from 'node:util';
import { table } from '../../src/cli/table.js';
import { GROUPS } from './arena.js';
import { DRILLS, type Drill } from './drills.js';
import { runTrials, summaryOf } from './run.js';
import { chosen, FAULTS } from './schedule.js';
import type { Trial } from './trial.js';

const USAGE = `npm run chaos -- [--trials N] [--only GROUP[/FAULT]] [--seed S] [--beside MAIN_JS] [-o json] [--list]

  --trials    so many trials of each group (default 3)
  --only      one group, or the faults of it whose names begin so: ${GROUPS.join(', ')};
              or drills[/NAME]: topologies of their own with times of production, each done once
  --seed      draws the order of the faults, whom they meet and when; the same seed is the same schedule (default: drawn, and told)
  --beside    one of the replicas runs that build: two versions on the same keys
  -o json     all of it as JSON, a line each trial; without it a table. Either ends in the same one line
  --list      names the faults
Needs Linux: it dials workers on 127.0.0.2, and asks /proc what stands still; the clocks need a C compiler, else they are left out.`;
const SIGNALS = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const;

const say = (text: string): void => void process.stderr.write(`chaos: ${text}\n`);

class UsageError extends Error {}

/** Throws UsageError. */
function readOptions(args: string[]) {
  const { trials = '3', only, seed = String(Math.floor(Math.random() * 1e9)), output = 'table', list = false, help = false, beside } = parsed(args);
  if (!/^[1-9]\d{0,4}$/.test(trials)) throw new UsageError(`--trials ${trials}: a whole number from 1 to 99999`);
  if (!/^\d{1,9}$/.test(seed)) throw new UsageError(`--seed ${seed}: a whole number of up to nine digits`);
  if (output !== 'table' && output !== 'json') throw new UsageError(`-o ${output}: table or json`);
  if (beside !== undefined && !existsSync(beside)) throw new UsageError(`--beside ${beside}: no such file; it is the main.js of a build`);
  const drills = drillsOf(only);
  const faults = chosen(only);
  if ((drills ?? faults).length === 0) throw new UsageError(`--only ${only}: no such group or fault; --list names them`);
  return {
    trials: Number(trials),
    faults,
    drills,
    seed: Number(seed),
    json: output === 'json',
    list,
    help,
    beside: beside === undefined ? undefined : resolve(beside),
  };
}

function parsed(args: string[]) {
  const text = { type: 'string' } as const;
  const flag = { type: 'boolean' } as const;
  try {
    const options = {
      trials: text,
      only: text,
      seed: text,
      beside: text,
      output: { ...text, short: 'o' },
      list: flag,
      help: { ...flag, short: 'h' },
    } as const;
    return parseArgs({ args, options }).values;
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

const HEAD = ['fault', 'trials', 'violations', 'jobs', 're-runs', 'buried', 'worst heal ms'];

function rowsOf(trials: readonly Trial[]): (string | number)[][] {
  const names = [...new Set(trials.map(({ group, fault }) => `${group}/${fault}`))];
  return names.map((name) => {
    const own = trials.filter(({ group, fault }) => `${group}/${fault}` === name);
    const sum = (of: (trial: Trial) => number) => own.reduce((total, trial) => total + of(trial), 0);
    return [
      name,
      own.length,
      sum(({ violations }) => Number(violations.length > 0)),
      sum(({ jobs }) => jobs),
      sum(({ reruns }) => reruns.spent + reruns.handedOver),
      sum(({ buried }) => buried),
      Math.max(...own.map(({ healMs }) => healMs)),
    ];
  });
}

/** The drills that `only` means; undefined: it means faults. */
function drillsOf(only: string | undefined): Drill[] | undefined {
  const [group, ...rest] = only?.split('/') ?? [];
  return group === 'drills' ? DRILLS.filter(({ name }) => name.startsWith(rest.join('/'))) : undefined;
}

async function runDrills(drills: readonly Drill[]): Promise<number> {
  let broken = 0;
  for (const { name, lacks, run } of drills) {
    const what = lacks();
    if (what !== undefined) {
      say(`drills/${name} is left out: it ${what}`);
      continue;
    }
    const { figures, violations } = await run(say);
    if (violations.length > 0) broken++;
    process.stdout.write(`${JSON.stringify({ drill: name, ...figures, violations })}\n`);
  }
  return broken === 0 ? 0 : 1;
}

async function main(args: string[]): Promise<number> {
  try {
    const { trials, faults, drills, seed, beside, json, list, help } = readOptions(args);
    if (help || list) {
      const names = [...FAULTS.map(({ group, name }) => `${group}/${name}`), ...DRILLS.map(({ name }) => `drills/${name}`)];
      process.stdout.write(`${help ? USAGE : names.join('\n')}\n`);
      return 0;
    }
    if (drills !== undefined) return await runDrills(drills);
    const able = faults.filter(({ group, name, lacks }) => {
      const what = lacks?.();
      if (what !== undefined) say(`${group}/${name} is left out: it ${what}`);
      return what === undefined;
    });
    if (able.length === 0) throw new UsageError('nothing is left to do here');
    say(`--seed ${seed} replays this schedule`);
    const done = await runTrials({ faults: able, trials, seed, beside, tell: say });
    const summary = summaryOf(done, seed);
    process.stdout.write(json ? done.map((trial) => `${JSON.stringify(trial)}\n`).join('') : table(HEAD, rowsOf(done), false));
    process.stdout.write(`${JSON.stringify(summary)}\n`);
    return summary.violations === 0 && summary.faultsFired === summary.trials ? 0 : 1;
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
