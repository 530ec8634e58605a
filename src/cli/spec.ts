import type { Command } from 'commander';
import { systemIds } from '../domain/clock.js';
import { toDuration } from '../sdk/duration.js';
import type { JobSpec } from '../sdk/messages.js';
import type { Methods } from '../sdk/methods.js';
import { jobSpec } from '../sdk/run.js';
import type { CallingOptions } from './common.js';
import { usage } from './exit.js';
import type { Io } from './io.js';
import { DESCRIPTORS, encodeJson, type JsonOptions, readMethods } from './method.js';
import { parseCount, parseDuration, parsePair } from './parse.js';
import { type PayloadOptions, readPayload } from './payload.js';

export interface SpecOptions extends CallingOptions, PayloadOptions, JsonOptions {
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
    .option('-j, --json <json>', "the method's request as JSON (-: from stdin); its response is printed as JSON too")
    .option('--descriptors <file>', DESCRIPTORS)
    .option('-d, --data <text>', 'the payload')
    .option('-f, --file <path>', 'the payload is in this file')
    .option('--id <id>', "the job's id; the same id again is the same job (default: made)")
    .option('--priority <0-3>', '3 goes first', parseCount('--priority', 0, 3), 0)
    .option('--delay <time>', 'not before so long from now', parseDuration('--delay'))
    .option('--retries <count>', 'attempts after the first (default: as the replica is set)', parseCount('--retries', 0, 99))
    .option('--run-timeout <time>', 'for one attempt', parseDuration('--run-timeout'))
    .option('--metadata <key=value>', 'handed to the worker; may be repeated', parsePair('--metadata'));
}

export interface TypedJob {
  spec: JobSpec;
  /** With --json: what its output is read by. */
  methods: Methods | undefined;
}

/** The job as typed. Its id is set, so that calls can be repeated. */
export async function readSpec(options: SpecOptions, stdin: string | undefined, io: Io): Promise<TypedJob> {
  const { kind, method, pool, id = systemIds.jobId(), priority, delay, retries, runTimeout, metadata = {} } = options;
  if ((kind === undefined) === (method === undefined)) throw usage('name the work: --kind KIND or --method /package.Service/Method (one of them)');
  const { payload, methods } = await readInput(options, stdin, io);
  const spec = jobSpec({
    id,
    pool,
    work: method === undefined ? { $case: 'kind', value: kind } : { $case: 'method', value: method },
    payload,
    metadata,
    priority,
    notBefore: delay === undefined ? undefined : new Date(io.now() + delay),
    runTimeout: runTimeout === undefined ? undefined : toDuration(runTimeout),
    retry: retries === undefined ? undefined : { maxAttempts: retries + 1 },
  });
  return { spec, methods };
}

async function readInput(options: SpecOptions, stdin: string | undefined, io: Io): Promise<{ payload: Buffer; methods: Methods | undefined }> {
  const { json, descriptors, method, data, file } = options;
  if (json === undefined) {
    if (descriptors !== undefined) throw usage('--descriptors goes with --json: bytes need no description');
    return { payload: await readPayload(options, stdin, io), methods: undefined };
  }
  if (method === undefined) throw usage('--json is the request of a method: name it with --method /package.Service/Method');
  if ([data, file, stdin].some((source) => source !== undefined)) throw usage('only one of --json, --data, --file and "-" can be the payload');
  const methods = await readMethods(options);
  return { payload: await encodeJson(methods, method, json, io), methods };
}
