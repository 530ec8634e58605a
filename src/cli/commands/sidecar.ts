import { hostname } from 'node:os';
import type { Command } from 'commander';
import { readDescriptors } from '../../domain/descriptors.js';
import { VERSION } from '../../lifecycle/version.js';
import { Sidecar } from '../../sdk/sidecar/sidecar.js';
import { isTarget } from '../../sdk/target.js';
import { type AccessOptions, accessOptions, asTyped, readAccess } from '../access.js';
import { example } from '../common.js';
import { drainWhenTold } from '../draining.js';
import { usage } from '../exit.js';
import type { Io } from '../io.js';
import { asUsage, DESCRIPTORS, readDescriptorFile } from '../method.js';
import { parseCount, parseDuration, parsePair } from '../parse.js';
import { printable } from '../table.js';

interface SidecarCommand extends AccessOptions {
  pool: string;
  upstream: string;
  slots: number;
  id?: string;
  region?: string;
  label?: Record<string, string>;
  healthInterval: number;
  descriptors?: string;
  maxResultBytes: number;
  jobCredentials?: boolean;
  drainTimeout?: number;
}

export function addSidecar(program: Command, io: Io): void {
  const begun = program
    .command('sidecar')
    .description('Make the gRPC server beside it a worker: attaches outward, calls the methods that jobs name')
    .requiredOption('-u, --upstream <host:port>', 'the server; unix:path too');
  const sidecar = accessOptions(begun, io)
    .option('-p, --pool <pool>', 'the pool', 'default')
    .option('--slots <count>', 'how many calls at once', parseCount('--slots', 1, 4_096), 1)
    .option('--id <id>', "the worker's id, unique in its pool (default: the host and the upstream's port)")
    .option('--region <region>', 'where it is, for people to see')
    .option('--label <key=value>', 'for people to see; may be repeated', parsePair('--label'))
    .option('--health-interval <time>', "between two looks at the upstream's health", parseDuration('--health-interval'), 2_000)
    .option('--descriptors <file>', `${DESCRIPTORS.replace(/ \(default.*/, '')} (default: what the upstream's reflection says)`)
    .option('--max-result-bytes <count>', 'as the replicas are set', parseCount('--max-result-bytes', 1, 16_777_216), 262_144)
    .option('--job-credentials', "send the credentials in a job's metadata on: authorization, cookie, and the like")
    .option('--drain-timeout <time>', 'told to stop, how long what runs may still take (default: until it ends)', parseDuration('--drain-timeout'));
  example(
    sidecar,
    'muster sidecar --pool ocr --upstream 127.0.0.1:9000',
    'muster sidecar --pool ocr --upstream 127.0.0.1:9000 --slots 4 --target dns:///muster:50051 --label zone=a',
  );
  sidecar.action((options: SidecarCommand) => run(options, io));
}

/** Resolves when it was told to stop and holds nothing any more. */
async function run(options: SidecarCommand, io: Io): Promise<void> {
  const { pool, upstream, slots, id = defaultId(upstream), region, label, healthInterval, maxResultBytes } = options;
  const where = await readAccess(options);
  if (!isTarget(upstream)) throw usage(`--upstream: ${JSON.stringify(upstream)} is none; write host:port or unix:path`);
  const descriptors = options.descriptors === undefined ? undefined : await readDescriptorFile(options.descriptors);
  if (descriptors !== undefined) asUsage(() => readDescriptors(descriptors, `--descriptors ${options.descriptors}`));
  const made = () =>
    asTyped(
      () =>
        new Sidecar({
          ...where,
          pool,
          upstream,
          slots,
          id,
          region,
          labels: label,
          version: VERSION,
          healthIntervalMs: healthInterval,
          maxResultBytes,
          descriptors,
          jobCredentials: options.jobCredentials,
          tell: (line) => io.tell(printable(line)),
        }),
    );
  const sidecar = asUsage(made);
  sidecar.start();
  await drainWhenTold(io, where, {
    refused: sidecar.refused,
    drain: () => (options.drainTimeout === undefined ? sidecar.drain() : sidecar.stop(options.drainTimeout)),
    stop: () => sidecar.stop(),
  });
}

/** One upstream, one worker: a new life on the same host takes the place of the one before. */
function defaultId(upstream: string): string {
  const name = `${hostname()}-${upstream.slice(upstream.lastIndexOf(':') + 1)}`;
  return name
    .replace(/[^A-Za-z0-9._-]+/g, '-')
    .replace(/^[^A-Za-z0-9]+/, '')
    .slice(0, 128);
}
