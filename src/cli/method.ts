import type { JsonValue } from '@bufbuild/protobuf';
import { MAX_DESCRIPTORS_BYTES } from '../domain/descriptors.js';
import { MusterError } from '../domain/errors.js';
import { ApiError } from '../sdk/api-error.js';
import type { Api } from '../sdk/connect.js';
import type { Job } from '../sdk/messages.js';
import { Methods } from '../sdk/methods.js';
import { ask, type CallingOptions, printJson, withApi } from './common.js';
import { Ended, Exit, usage } from './exit.js';
import type { Io } from './io.js';
import { didYouMean } from './parse.js';
import { readFile, readStream } from './payload.js';
import { sheet, table } from './table.js';

/** How a method's messages are written and read as JSON. */
export interface JsonOptions extends CallingOptions {
  json?: string;
  descriptors?: string;
}

export const DESCRIPTORS =
  'what the messages look like: a FileDescriptorSet, as buf build or protoc --include_imports write it (default: what the pool has)';

/** The methods of --descriptors FILE, or of the pool. */
export async function readMethods(options: JsonOptions): Promise<Methods> {
  if (options.descriptors !== undefined) {
    const set = await readDescriptorFile(options.descriptors);
    return asUsage(() => new Methods(set, `--descriptors ${options.descriptors}`));
  }
  const set = await withApi(options, (api) => fetchSet(api, options));
  return asUsage(() => new Methods(set, `the descriptors of pool ${options.pool}`));
}

export function readDescriptorFile(path: string): Promise<Buffer> {
  return readFile(path, '--descriptors', MAX_DESCRIPTORS_BYTES);
}

/** The request's bytes, out of --json (`-`: stdin). */
export async function encodeJson(methods: Methods, method: string, text: string, io: Io): Promise<Buffer> {
  const json = parseJson(text === '-' ? (await readStream(io.stdin, 'stdin')).toString() : text);
  try {
    return asUsage(() => methods.encode(method, json, '--json'));
  } catch (error) {
    const paths = methods.list().map(({ path }) => path);
    if (paths.includes(method) || !(error instanceof Ended)) throw error;
    throw usage(`--${error.message}${didYouMean(method, paths)}`);
  }
}

/** The output of a job that ran a method, as JSON; undefined when there is none, or it is no such message, which is told. */
export function decodeOutput(methods: Methods, job: Job, io: Io): JsonValue | undefined {
  const { spec, outcome } = job;
  if (outcome?.$case !== 'output' || spec?.work?.$case !== 'method') return undefined;
  try {
    return methods.decode(spec.work.value, outcome.value, 'the output');
  } catch (error) {
    if (!(error instanceof MusterError)) throw error;
    io.tell(`${error.message}; printed as it came`);
    return undefined;
  }
}

/** `get methods`: what can be run in a pool by --method and --json. */
export async function getMethods(io: Io, options: JsonOptions, path: string | undefined): Promise<void> {
  const methods = await readMethods(options);
  const all = methods.list();
  if (path === undefined) {
    if (options.output === 'json') return printJson(io, { methods: all });
    if (all.length === 0) return io.tell('no methods');
    const rows = all.map((method) => [method.path, method.request, method.response]);
    return io.out(table(['METHOD', 'REQUEST', 'RESPONSE'], rows, io.colours));
  }
  const one = all.find((method) => method.path === path);
  if (one === undefined) {
    const near = didYouMean(
      path,
      all.map((method) => method.path),
    );
    throw new Ended(Exit.NOT_FOUND, `not found: method ${path} in pool ${options.pool}${near}`);
  }
  const skeleton = methods.skeleton(path);
  if (options.output === 'json') return printJson(io, { ...one, empty: skeleton });
  await io.out(
    sheet(
      [
        ['method', one.path],
        ['request', one.request],
        ['response', one.response],
        ['--json', JSON.stringify(skeleton)],
      ],
      io.colours,
    ),
  );
}

async function fetchSet(api: Api, options: JsonOptions): Promise<Buffer> {
  const { pool } = options;
  try {
    return (await ask(options, (bounds) => api.getPoolDescriptors({ pool }, bounds))).fileDescriptorSet;
  } catch (error) {
    if (!(error instanceof ApiError && error.reason === 'NO_DESCRIPTORS')) throw error;
    throw new Ended(
      Exit.NOT_FOUND,
      `pool ${pool} does not know what its methods look like: a sidecar puts that there, from its upstream's reflection or --descriptors. Name a FileDescriptorSet with --descriptors, or the pool with --pool.`,
    );
  }
}

function parseJson(text: string): JsonValue {
  try {
    return JSON.parse(text) as JsonValue;
  } catch (error) {
    throw usage(`--json: is no JSON: ${(error as Error).message}`);
  }
}

/** What was typed, or what a file holds, cannot be taken. */
export function asUsage<T>(make: () => T): T {
  try {
    return make();
  } catch (error) {
    throw error instanceof MusterError && error.code === 'invalid_argument' ? usage(error.message) : error;
  }
}
