import { Command, CommanderError } from 'commander';
import { VERSION } from '../lifecycle/version.js';
import { addConfig } from './commands/config.js';
import { addConform } from './commands/conform.js';
import { addDemo } from './commands/demo.js';
import { addDemoWorker } from './commands/demo-worker.js';
import { addGet } from './commands/get.js';
import { addHealthcheck } from './commands/healthcheck.js';
import { addInspect } from './commands/inspect.js';
import { addJobs } from './commands/jobs.js';
import { addDelete, addPools } from './commands/pools.js';
import { addRun } from './commands/run.js';
import { addServe } from './commands/serve.js';
import { addSidecar } from './commands/sidecar.js';
import { addToken } from './commands/token.js';
import { addWorkers } from './commands/workers.js';
import { example } from './common.js';
import { Ended, Exit } from './exit.js';
import type { Io } from './io.js';

const CODES = `
Exit codes:
  0 done, 1 the job failed or something was refused, 2 usage, 3 unreachable,
  4 not found, 124 waited out. Results are on stdout, the story on stderr.`;

const COMMANDS = [
  addServe,
  addHealthcheck,
  addDemo,
  addDemoWorker,
  addSidecar,
  addConform,
  addRun,
  addGet,
  addWorkers,
  addJobs,
  addPools,
  addDelete,
  addInspect,
  addToken,
  addConfig,
];

/** The whole command line. Parsing it throws CommanderError for what commander itself refuses, Ended for the rest. */
export function buildProgram(io: Io): Command {
  const program = new Command('muster')
    .description('Keeps the roll of a fleet of workers and gives every job to exactly one free worker')
    .version(VERSION)
    .exitOverride()
    .showHelpAfterError('(--help shows what it takes)')
    .configureOutput({
      writeOut: (text) => void io.out(text),
      writeErr: (text) => io.tell(text.trimEnd()),
      getOutHasColors: () => io.colours,
      getErrHasColors: () => io.colours,
    });
  for (const add of COMMANDS) add(program, io);
  example(program, 'muster demo', 'muster serve --insecure', 'muster run --kind echo --data hello').addHelpText('after', CODES);
  return program;
}

/** Runs what was typed (without `node` and the script). Resolves with the exit code, once all was written; never rejects. */
export async function runProgram(io: Io, argv: readonly string[]): Promise<number> {
  try {
    await buildProgram(io).parseAsync([...argv], { from: 'user' });
    return Exit.DONE;
  } catch (error) {
    // Commander has told the person already.
    if (error instanceof CommanderError) return error.exitCode === 0 ? Exit.DONE : Exit.USAGE;
    if (!(error instanceof Ended)) {
      io.tell(`muster: ${error instanceof Error ? error.message : String(error)}`);
      return Exit.FAILED;
    }
    if (error.message !== '') io.tell(`muster: ${error.message}`);
    return error.exitCode;
  }
}
