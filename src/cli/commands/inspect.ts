import { type Command, InvalidArgumentError } from 'commander';
import { type Config, ConfigError } from '../../config.js';
import { MusterError } from '../../domain/errors.js';
import { checkPool } from '../../domain/names.js';
import { example, type OutputOptions, outputOption, printJson } from '../common.js';
import { Ended, Exit, usage } from '../exit.js';
import type { Io } from '../io.js';
import { table } from '../table.js';
import { readSettings } from './config.js';

interface InspectOptions extends OutputOptions {
  redisUrl?: string;
}

function parsePool(text: string): string {
  try {
    return checkPool(text, '--pool');
  } catch (error) {
    throw new InvalidArgumentError(error instanceof Error ? error.message : '');
  }
}

/** Commands that look into Redis themselves, with the settings of a replica: they work when no replica does. */
function inspecting(command: Command): Command {
  return outputOption(command.option('--redis-url <url>', 'the Redis of the replicas (env: MUSTER_REDIS_URL); other settings are theirs too'));
}

async function reached<T>(io: Io, { redisUrl }: InspectOptions, use: (config: Config) => Promise<T>): Promise<T> {
  const config = readSettings(io, redisUrl === undefined ? {} : { REDIS_URL: redisUrl });
  try {
    return await use(config);
  } catch (error) {
    if (error instanceof ConfigError) throw usage(error.message);
    if (!(error instanceof MusterError)) throw error;
    const where = 'Is --redis-url (MUSTER_REDIS_URL) right, and does it run?';
    throw error.code === 'unavailable' ? new Ended(Exit.UNREACHABLE, `${error.message}. ${where}`) : new Ended(Exit.FAILED, error.message);
  }
}

export function addInspect(program: Command, io: Io): void {
  const audit = inspecting(
    program.command('audit').description('Look for broken invariants in Redis, beside a fleet at work; writes nothing, exits 1 when there is one'),
  )
    .option('-p, --pool <pool>', 'this pool alone (default: all)', parsePool)
    .option('--live', 'only what is under way: cheap where millions of ended jobs are kept, and may be asked every second');
  example(audit, 'muster audit', 'muster audit --pool hash --redis-url redis://127.0.0.1:6379 -o json');
  audit.action(async (options: InspectOptions & { pool?: string; live?: boolean }) => {
    const { audit: look } = await import('../../lifecycle/inspect.js');
    const findings = await reached(io, options, (config) => look(config, options));
    if (!findings) throw new Ended(Exit.NOT_FOUND, `there is no pool ${options.pool}; \`muster get pools\` lists them`);
    if (options.output === 'json') await printJson(io, { findings });
    else if (findings.length === 0) io.tell('no invariant is broken');
    else {
      const rows = findings.map(({ pool, invariant, subject, what }) => [pool, invariant, subject, what]);
      await io.out(table(['POOL', 'INVARIANT', 'SUBJECT', 'WHAT IS WRONG'], rows, io.colours));
    }
    if (findings.length > 0) throw new Ended(Exit.FAILED);
  });

  const doctor = inspecting(
    program.command('doctor').description('Say what is well and what is not with Redis, the replicas and the pools, and what to do about it'),
  );
  example(doctor, 'muster doctor', 'MUSTER_DURABILITY=durable muster doctor -o json');
  doctor.action(async (options: InspectOptions) => {
    const { examine } = await import('../../lifecycle/inspect.js');
    const checks = await reached(io, options, examine);
    const rows = checks.map(({ level, check, what, remedy }) => [level, check, what, remedy]);
    if (options.output === 'json') await printJson(io, { checks });
    else await io.out(table(['LEVEL', 'CHECK', 'WHAT', 'REMEDY'], rows, io.colours));
    if (checks.some(({ level }) => level === 'error')) throw new Ended(Exit.FAILED);
  });
}
