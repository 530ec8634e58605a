import type { Command } from 'commander';
import { fields } from '../../config.js';
import { ServingStatus } from '../../sdk/messages.js';
import { type AccessOptions, accessOptions } from '../access.js';
import { example, withApi } from '../common.js';
import { Ended, Exit } from '../exit.js';
import type { Io } from '../io.js';
import { parseDuration } from '../parse.js';

interface HealthcheckOptions extends AccessOptions {
  service: string;
  timeout: number;
}

/** Shorter than what supervisors give a check. */
const TIMEOUT_MS = 2_000;

export function addHealthcheck(program: Command, io: Io): void {
  const begun = program
    .command('healthcheck')
    .description(
      'Ask a replica by grpc.health.v1 whether it serves, once: for containers and scripts. Default target: where MUSTER_GRPC_ADDR listens',
    );
  // The replicas of MUSTER_TARGET are others': this asks for the one beside it.
  const command = accessOptions(begun, { ...io, env: { ...io.env, MUSTER_TARGET: ownTarget(io.env) } })
    .option('--service <name>', 'of one service, such as muster.v1.JobService; empty: of the replica', '')
    .option('--timeout <time>', 'how long to wait for the answer', parseDuration('--timeout'), TIMEOUT_MS);
  example(command, 'muster healthcheck', 'muster healthcheck --target 10.0.0.7:50051 --service muster.v1.WorkerService');
  command.action(async (options: HealthcheckOptions) => {
    const { target, service, timeout } = options;
    const { status } = await withApi(options, (api) => api.check({ service }, { deadlineMs: timeout }));
    if (status !== ServingStatus.SERVING) throw new Ended(Exit.FAILED, `${target} answers, and does not serve: it starts or stops`);
    await io.out('serving\n');
  });
}

/** Where a replica with this environment can be reached from beside it: it may listen on all addresses. */
function ownTarget(env: Io['env']): string {
  const address = env['MUSTER_GRPC_ADDR'] || fields.GRPC_ADDR.parse(undefined);
  return address.replace(/^(0\.0\.0\.0|\[::\])(?=:\d+$)/, (host) => (host === '[::]' ? '[::1]' : '127.0.0.1'));
}
