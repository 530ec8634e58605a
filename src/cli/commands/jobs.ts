import type { Command } from 'commander';
import { JobState } from '../../sdk/messages.js';
import { ask, type CallingOptions, callingOptions, example, present, printJson, withApi } from '../common.js';
import { Ended, Exit, usage } from '../exit.js';
import type { Io } from '../io.js';
import { jobStateWord, plainJob } from '../plain.js';

export function addJobs(program: Command, io: Io): void {
  const cancel = callingOptions(program.command('cancel').description('End a job that has not ended'), io).argument('<id>', "the job's id");
  example(cancel, 'muster cancel --pool hash 0d3f6c1e-8f0a-4e0f-9a55-0d7c1c8a2b11');
  cancel.action(async (id: string, options: CallingOptions) => {
    const { pool } = options;
    const job = present((await withApi(options, (api) => ask(options, (bounds) => api.cancelJob({ pool, id }, bounds)))).job);
    if (options.output === 'json') await printJson(io, plainJob(job));
    const state = jobStateWord(job.state);
    if (job.state !== JobState.JOB_STATE_CANCELLED) throw new Ended(Exit.FAILED, `job ${id} had ended before: ${state}`);
    if (options.output === 'table') await io.out(`${id} ${state}\n`);
  });

  const retry = callingOptions(program.command('retry').description('Put dead letters back into their queue'), io)
    .argument('[id]', "the job's id")
    .option('--all-buried', 'every dead letter of the pool');
  example(retry, 'muster retry --pool hash 0d3f6c1e-8f0a-4e0f-9a55-0d7c1c8a2b11', 'muster retry --pool hash --all-buried');
  retry.action(async (id: string | undefined, options: CallingOptions & { allBuried?: true }) => {
    if ((id === undefined) === (options.allBuried === undefined)) throw usage("name a job's id, or say --all-buried (one of them)");
    await (id === undefined ? retryAll(io, options) : retryOne(io, options, id));
  });
}

async function retryOne(io: Io, options: CallingOptions, id: string): Promise<void> {
  const { pool } = options;
  const job = present((await withApi(options, (api) => ask(options, (bounds) => api.retryJob({ pool, id }, bounds)))).job);
  if (options.output === 'json') return printJson(io, plainJob(job));
  await io.out(`${id} ${jobStateWord(job.state)}\n`);
}

async function retryAll(io: Io, options: CallingOptions): Promise<void> {
  const { pool } = options;
  const retried = await withApi(options, async (api) => {
    for (let sum = 0; ; ) {
      const part = await ask(options, (bounds) => api.retryBuried({ pool }, bounds));
      sum += part.retried;
      if (part.done) return sum;
      io.tell(`${sum} retried so far`);
    }
  });
  if (options.output === 'json') return printJson(io, { pool, retried });
  await io.out(`${retried} retried\n`);
}
