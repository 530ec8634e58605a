import type { Command } from 'commander';
import { PurgeScope } from '../../sdk/messages.js';
import { ask, type CallingOptions, callingOptions, example, printJson, withApi } from '../common.js';
import { usage } from '../exit.js';
import type { Io } from '../io.js';

export function addPools(program: Command, io: Io): void {
  for (const { name, about, paused } of [
    { name: 'pause', about: 'Give out no jobs of a pool until `muster resume`; submissions are still taken', paused: true },
    { name: 'resume', about: 'Give out the jobs of a paused pool again', paused: false },
  ] as const) {
    const command = callingOptions(program.command(name).description(about), io).argument('[pool]', 'the pool (or --pool)');
    example(command, `muster ${name} hash`);
    command.action(async (named: string | undefined, options: CallingOptions) => {
      const pool = named ?? options.pool;
      await withApi<unknown>(options, (api) =>
        ask<unknown>(options, (bounds) => (paused ? api.pausePool({ pool }, bounds) : api.resumePool({ pool }, bounds))),
      );
      if (options.output === 'json') return printJson(io, { pool, paused });
      await io.out(`${pool} ${paused ? 'paused' : 'resumed'}\n`);
    });
  }

  const purge = callingOptions(program.command('purge').description('End the jobs of a pool in bulk; cannot be undone'), io)
    .option('--queued', 'cancel what waits and what is scheduled')
    .option('--buried', 'forget the dead letters')
    .option('--yes', 'it is meant');
  example(purge, 'muster purge --pool hash --queued --yes', 'muster purge --pool hash --buried --yes');
  purge.action(async (options: CallingOptions & { queued?: true; buried?: true; yes?: true }) => {
    if ((options.queued === undefined) === (options.buried === undefined)) throw usage('say what: --queued or --buried (one of them)');
    const scope = options.queued ? 'queued' : 'buried';
    if (!options.yes) throw usage(`all ${scope} jobs of pool ${options.pool} would be gone for good; say --yes if it is meant`);
    await purgeAll(io, options, scope);
  });
}

/** `muster delete pool NAME`. */
export function addDelete(program: Command, io: Io): void {
  const about = 'Delete a pool that has no workers and no unfinished jobs, with its records of both; cannot be undone';
  const command = callingOptions(program.command('delete').description(about), io)
    .argument('<what>', 'pool')
    .argument('[name]', 'the pool (or --pool)')
    .option('--yes', 'it is meant');
  example(command, 'muster delete pool hash --yes');
  command.action(async (what: string, name: string | undefined, options: CallingOptions & { yes?: true }) => {
    if (what !== 'pool') throw usage(`cannot delete ${what}: only a pool can be deleted`);
    const pool = name ?? options.pool;
    if (!options.yes) throw usage(`the records of pool ${pool} would be gone for good; say --yes if it is meant`);
    await withApi(options, async (api) => {
      for (let done = false; !done; ) ({ done } = await ask(options, (bounds) => api.deletePool({ pool }, bounds)));
    });
    if (options.output === 'json') return printJson(io, { pool, deleted: true });
    await io.out(`${pool} deleted\n`);
  });
}

async function purgeAll(io: Io, options: CallingOptions, scope: 'queued' | 'buried'): Promise<void> {
  const { pool } = options;
  const wanted = scope === 'queued' ? PurgeScope.PURGE_SCOPE_QUEUED : PurgeScope.PURGE_SCOPE_BURIED;
  const purged = await withApi(options, async (api) => {
    for (let sum = 0; ; ) {
      const part = await ask(options, (bounds) => api.purgePool({ pool, scope: wanted }, bounds));
      sum += part.purged;
      if (part.done) return sum;
      io.tell(`${sum} purged so far`);
    }
  });
  if (options.output === 'json') return printJson(io, { pool, scope, purged });
  await io.out(`${purged} purged\n`);
}
