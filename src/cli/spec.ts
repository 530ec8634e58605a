import type { Command } from 'commander';
import { systemIds } from '../domain/clock.js';
import { toDuration } from '../sdk/duration.js';
import type { JobSpec } from '../sdk/messages.js';
import { jobSpec } from '../sdk/run.js';
import type { CallingOptions } from './common.js';
import { usage } from './exit.js';
import type { Io } from './io.js';
import { parseCount, parseDuration, parsePair } from './parse.js';
import { type PayloadOptions, readPayload } from './payload.js';

export interface SpecOptions extends CallingOptions, PayloadOptions {
  kind?: string;
  method?: string;
  id?: string;
  priority: number;
  delay?: number;
  retries?: number;
  runTimeout?: number;
  metadata?: Record<string, string>;
}

/** What describes a job, for `run` and `submit`. */
export function specOptions(command: Command): Command {
  return command
    .argument('[stdin]', '"-": the payload comes from stdin')
    .option('-k, --kind <kind>', 'the kind of work, for workers with the SDK')
    .option('-m, --method <method>', 'a unary method, /package.Service/Method; the payload is its request')
    .option('-d, --data <text>', 'the payload')
    .option('-f, --file <path>', 'the payload is in this file')
    .option('--id <id>', "the job's id; the same id again is the same job (default: made)")
    .option('--priority <0-3>', '3 goes first', parseCount('--priority', 0, 3), 0)
    .option('--delay <time>', 'not before so long from now', parseDuration('--delay'))
    .option('--retries <count>', 'attempts after the first (default: as the replica is set)', parseCount('--retries', 0, 99))
    .option('--run-timeout <time>', 'for one attempt', parseDuration('--run-timeout'))
    .option('--metadata <key=value>', 'handed to the worker; may be repeated', parsePair('--metadata'));
}

/** The job as typed. Its id is set, so that calls can be repeated. */
export async function readSpec(options: SpecOptions, stdin: string | undefined, io: Io): Promise<JobSpec> {
  const { kind, method, pool, id = systemIds.jobId(), priority, delay, retries, runTimeout, metadata = {} } = options;
  if ((kind === undefined) === (method === undefined)) throw usage('name the work: --kind KIND or --method /package.Service/Method (one of them)');
  return jobSpec({
    id,
    pool,
    work: method === undefined ? { $case: 'kind', value: kind } : { $case: 'method', value: method },
    payload: await readPayload(options, stdin, io),
    metadata,
    priority,
    notBefore: delay === undefined ? undefined : new Date(io.now() + delay),
    runTimeout: runTimeout === undefined ? undefined : toDuration(runTimeout),
    retry: retries === undefined ? undefined : { maxAttempts: retries + 1 },
  });
}
