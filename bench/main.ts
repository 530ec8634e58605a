/**
 * `npm run bench`: Muster and its peers in the same rounds on the same machine. Figures on stdout, the story on stderr; a file a scenario
 * (JSON and a picture) in bench/results/. Exit code 1 when the machine was too loaded to measure, 2 for usage.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { findRedisBinary } from '../src/lifecycle/embedded-redis.js';
import { Children } from './lib/children.js';
import { withResults } from './lib/docs.js';
import { Loaded, untilQuiet } from './lib/load.js';
import { machine, printJson, printTable, type Run } from './lib/report.js';
import { drawResult, readResult, writeResult } from './lib/results.js';
import { type Options, readOptions, USAGE, UsageError } from './options.js';
import type { Bench, Notes, Scenario } from './scenario.js';
import { a1 } from './scenarios/a1.js';
import { b1 } from './scenarios/b1.js';
import { h1 } from './scenarios/h1.js';
import { l1 } from './scenarios/l1.js';
import { l2 } from './scenarios/l2.js';
import { m1 } from './scenarios/m1.js';
import { p1 } from './scenarios/p1.js';
import { r1 } from './scenarios/r1.js';
import { s1 } from './scenarios/s1.js';
import { t1 } from './scenarios/t1.js';
import { t1w } from './scenarios/t1w.js';
import { t2 } from './scenarios/t2.js';
import { PEERS } from './subjects/peers.js';

const SCENARIOS: Scenario[] = [t1, t1w, t2, l1, l2, r1, h1, b1, s1, p1, m1, a1];
const RESULTS = fileURLToPath(new URL('results/', import.meta.url));
const PAGE = new URL('../docs/performance.md', import.meta.url);
const SIGNALS = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const;

const say = (text: string): void => void process.stderr.write(`bench: ${text}\n`);

function redisVersion(): string {
  return /v=(\S+)/.exec(execFileSync(findRedisBinary(), ['--version'], { encoding: 'utf8' }))?.[1] ?? 'unknown';
}

async function measure(options: Options): Promise<void> {
  const children = new Children(options.profile);
  // A profile is no figure, and neither is what was measured beside others.
  const run: Run = { machine: machine(redisVersion()), rounds: options.rounds, seconds: options.seconds, scale: options.scale, loaded: false };
  const quiet = async () => {
    if (run.loaded) return;
    try {
      await untilQuiet(() => children.pids(), say, options.force);
    } catch (error) {
      if (!options.force || !(error instanceof Loaded)) throw error;
      say(`${error.message}; going on`);
      run.loaded = true;
    }
  };
  let notes: Notes = { peers: [], skipped: [] };
  const bench: Bench = {
    options,
    children,
    say,
    quiet,
    used: (peer, how) => void notes.peers.push({ peer, how }),
    skipped(peer, reason) {
      say(`${peer} is skipped: ${reason}`);
      notes.skipped.push({ peer, reason });
    },
  };
  const folder = options.results ?? (options.profile === undefined && options.scale === 1 ? RESULTS : undefined);
  for (const scenario of SCENARIOS) {
    if (options.only.length > 0 && !options.only.includes(scenario.name)) continue;
    say(`${scenario.name}: ${scenario.title}`);
    notes = { peers: [], skipped: [] };
    const figures = await scenario.run(bench);
    await children.endAll();
    if (options.output === 'json') printJson(scenario, figures, notes, run);
    else printTable(scenario, figures, notes, run);
    if (folder !== undefined) writeResult(folder, scenario, figures, notes, run);
  }
}

/** The tables of the page, and the pictures that it shows. */
function writeDocs(folder: string): void {
  for (const { name } of SCENARIOS) drawResult(folder, name);
  const page = readFileSync(PAGE, 'utf8');
  writeFileSync(
    PAGE,
    withResults(page, SCENARIOS, (scenario) => readResult(folder, scenario)),
  );
}

async function main(): Promise<number> {
  const args = process.argv.slice(2);
  if (args.includes('--help') || args.includes('-h')) {
    process.stdout.write(`${USAGE}\n`);
    return 0;
  }
  try {
    const options = readOptions(
      args,
      SCENARIOS.map(({ name }) => name),
      PEERS.map(({ name }) => name),
    );
    if (options.docs) writeDocs(options.results ?? RESULTS);
    else await measure(options);
    return 0;
  } catch (error) {
    if (error instanceof UsageError) {
      say(`${error.message}\n${USAGE}`);
      return 2;
    }
    say(error instanceof Loaded ? `refused: ${error.message}` : String(error instanceof Error ? error.stack : error));
    return 1;
  }
}

// A signal that comes twice (from a terminal's group and from npm) must not break off what is done at the exit.
for (const [signal, code] of Object.entries(SIGNALS)) process.on(signal, () => process.exit(code));
// The clock's timers keep no process alive, and the end of a scenario waits for nothing else.
setInterval(() => undefined, 60_000);
// Whatever is still open (clients, Redis connections) is of no use any more.
process.exit(await main());
