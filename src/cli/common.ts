import { type Command, Option } from 'commander';
import { systemRandom } from '../domain/clock.js';
import { ApiError } from '../sdk/api-error.js';
import { sdkClock } from '../sdk/clock.js';
import { type Api, type CallOptions, connect } from '../sdk/connect.js';
import { retrying } from '../sdk/retrying.js';
import { type AccessOptions, accessOptions, asTyped, readAccess } from './access.js';
import { explain } from './exit.js';
import type { Io } from './io.js';
import { parseDuration, parseWord } from './parse.js';

export interface OutputOptions {
  output: 'table' | 'json';
}

/** What every command that calls a replica takes. */
export interface CallingOptions extends OutputOptions, AccessOptions {
  pool: string;
  timeout?: number;
}

/** Without --timeout. */
const TIMEOUT_MS = 10_000;
/** A replica that just died is not the last word: the channel looks for another. */
const GIVE_UP_MS = 2_000;

export function outputOption(command: Command): Command {
  return command.addOption(new Option('-o, --output <form>', 'table or json').default('table').argParser(parseWord('--output', ['table', 'json'])));
}

export function callingOptions(
  command: Command,
  io: Io,
  timeout = 'how long to wait for the answer, such as 500ms, 30s, 5m (default: 10s)',
): Command {
  const taking = accessOptions(command, io).option('-p, --pool <pool>', 'the pool', 'default');
  return outputOption(taking.option('--timeout <time>', timeout, parseDuration('--timeout')));
}

export function example(command: Command, ...lines: string[]): Command {
  return command.addHelpText('after', `\nExample${lines.length > 1 ? 's' : ''}:\n${lines.map((line) => `  $ ${line}\n`).join('')}`);
}

/** Runs against the replicas; what they refuse becomes an exit code and a remedy. */
export async function withApi<T>(options: AccessOptions, use: (api: Api) => Promise<T>): Promise<T> {
  const where = await readAccess(options);
  const api = asTyped(() => connect(where.target, where));
  try {
    return await use(api);
  } catch (error) {
    throw error instanceof ApiError ? explain(error, where) : error;
  } finally {
    api.close();
  }
}

/** A replica answers by then, or hangs: another one is asked. */
const ATTEMPT_MS = 5_000;

/** One call within --timeout, made again when it breaks: for what may be asked twice. */
export function ask<T>(options: Pick<CallingOptions, 'timeout'>, call: (bounds: CallOptions) => Promise<T>): Promise<T> {
  const deadlineMs = options.timeout ?? TIMEOUT_MS;
  const end = sdkClock.monotonic() + deadlineMs;
  const leftMs = () => end - sdkClock.monotonic();
  const once = () => call({ deadlineMs: Math.max(1, Math.min(leftMs(), ATTEMPT_MS)) });
  return retrying(once, { clock: sdkClock, random: systemRandom, giveUpMs: GIVE_UP_MS, leftMs });
}

/** The one document of a command. */
export function printJson(io: Io, document: unknown): Promise<void> {
  return io.out(`${JSON.stringify(document, null, 2)}\n`);
}

/** A field that every answer has; its absence means that something else answered. */
export function present<T>(value: T | undefined): T {
  if (value === undefined) throw new ApiError(13, '', 'the answer is empty: what runs at the target is not Muster');
  return value;
}
