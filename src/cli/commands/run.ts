import type { Command } from 'commander';
import { type ApiError, codeName } from '../../sdk/api-error.js';
import { type Job, JobState } from '../../sdk/messages.js';
import type { Methods } from '../../sdk/methods.js';
import { isEnd, type RunOptions, runToEnd, waitToEnd } from '../../sdk/run.js';
import { ask, type CallingOptions, callingOptions, example, present, printJson, withApi } from '../common.js';
import { brief, Ended, Exit, usage } from '../exit.js';
import type { Io } from '../io.js';
import { DESCRIPTORS, decodeOutput, type JsonOptions, readMethods } from '../method.js';
import { jobStateWord, plainJob } from '../plain.js';
import { readSpec, type SpecOptions, specOptions } from '../spec.js';
import { printable, span } from '../table.js';

const WAIT = 'how long to wait for the end, such as 30s, 5m (default: for ever)';
/** Nobody waits a minute to learn of a wrong --target; three replicas do not all restart within a few seconds. */
const GIVE_UP_MS = 10_000;

export function addRun(program: Command, io: Io): void {
  const run = callingOptions(specOptions(program.command('run').description('Submit a job, wait for its end and print its output')), io, WAIT);
  example(
    run,
    'muster run --pool hash --kind sha256 --file README.md',
    'echo hello | muster run --kind echo --timeout 30s -',
    `muster run --pool ocr --method /ocr.v1.Ocr/Read --json '{"imageUrl": "https://example.com/a.png"}'`,
  );
  run.action(async (stdin: string | undefined, options: SpecOptions) => {
    const { spec, methods } = await readSpec(options, stdin, io);
    await toEnd(io, options, spec.id, methods, (wait, api) => runToEnd(api, spec, wait));
  });

  const submit = callingOptions(specOptions(program.command('submit').description('Submit a job and print its id')), io);
  example(submit, 'muster submit --kind sha256 --data hello --retries 2 --delay 10s', 'muster wait "$(muster submit --kind echo --data hello)"');
  submit.action(async (stdin: string | undefined, options: SpecOptions) => {
    const { spec } = await readSpec(options, stdin, io);
    const { job: answer, created } = await withApi(options, (api) => ask(options, (bounds) => api.submitJob({ spec }, bounds)));
    const job = present(answer);
    if (options.output === 'json') return printJson(io, { created, job: plainJob(job) });
    io.tell(`${created ? 'submitted' : 'was there already'}, ${standing(job)}; muster wait --pool ${options.pool} ${spec.id}`);
    await io.out(`${spec.id}\n`);
  });

  const wait = callingOptions(program.command('wait').description('Wait for the end of a job and print its output'), io, WAIT)
    .argument('<id>', "the job's id")
    .option('--decode', "print a method's response as JSON")
    .option('--descriptors <file>', `with --decode: ${DESCRIPTORS}`);
  example(
    wait,
    'muster wait --pool hash 0d3f6c1e-8f0a-4e0f-9a55-0d7c1c8a2b11 --timeout 5m',
    'muster wait --pool ocr --decode 0d3f6c1e-8f0a-4e0f-9a55-0d7c1c8a2b11',
  );
  wait.action(async (id: string, options: JsonOptions & { decode?: true }) => {
    if (options.descriptors !== undefined && !options.decode) throw usage('--descriptors goes with --decode');
    const methods = options.decode ? await readMethods(options) : undefined;
    await toEnd(io, options, id, methods, (bounds, api) => waitToEnd(api, options.pool, id, bounds));
  });
}

type Waiting = (wait: RunOptions, api: Parameters<typeof runToEnd>[0]) => Promise<Job>;

async function toEnd(io: Io, options: CallingOptions, id: string, methods: Methods | undefined, waiting: Waiting): Promise<void> {
  const interrupt = new AbortController();
  const release = io.onInterrupt(() => interrupt.abort());
  let last = '';
  const news = (line: string) => {
    if (line !== last) io.tell(line);
    last = line;
  };
  const onRetry = (error: ApiError) => news(`${options.target}: ${brief(error)}; asking again`);
  const onProgress = (job: Job) => news(`job ${id}: ${standing(job)}`);
  const wait: RunOptions = { deadlineMs: options.timeout, giveUpMs: GIVE_UP_MS, signal: interrupt.signal, onRetry, onProgress };
  try {
    const job = await withApi(options, (api) => waiting(wait, api));
    await print(io, options, job, methods);
    conclude(io, options, id, job);
  } catch (error) {
    if (interrupt.signal.aborted)
      throw new Ended(Exit.INTERRUPTED, `job ${id} goes on: \`${again('wait', options, id)}\` or \`${again('cancel', options, id)}\``);
    throw error;
  } finally {
    release();
  }
}

/** The output: raw, or as JSON where it was asked for as that. */
async function print(io: Io, options: CallingOptions, job: Job, methods: Methods | undefined): Promise<void> {
  const json = methods && decodeOutput(methods, job, io);
  if (options.output === 'json') return printJson(io, { ...plainJob(job), ...(json === undefined ? {} : { outputJson: json }) });
  if (json !== undefined) return printJson(io, json);
  if (job.outcome?.$case === 'output') await io.out(job.outcome.value);
}

/** Says how it ended; throws what the shell is told unless that was well. */
function conclude(io: Io, options: CallingOptions, id: string, job: Job): void {
  if (!isEnd(job.state)) throw new Ended(Exit.WAITED_OUT, `job ${id} has not ended: ${standing(job)}. \`${again('wait', options, id)}\` waits on.`);
  if (job.state !== JobState.JOB_STATE_SUCCEEDED) throw new Ended(Exit.FAILED, `job ${id} ${ending(job)}.${remedy(options, id, job)}`);
  io.tell(`job ${id} ${ending(job)}`);
}

function again(command: string, { pool, target }: CallingOptions, id: string): string {
  return `muster ${command} --target ${target} --pool ${pool} ${id}`;
}

function remedy(options: CallingOptions, id: string, job: Job): string {
  return job.state === JobState.JOB_STATE_FAILED ? ` \`${again('retry', options, id)}\` puts it back into its queue.` : '';
}

function standing(job: Job): string {
  const why = job.waitingReason === '' ? '' : ` (${job.waitingReason})`;
  const who = job.state === JobState.JOB_STATE_RUNNING ? ` on ${job.worker}, attempt ${job.attempt}` : '';
  return printable(`${jobStateWord(job.state)}${why}${who}`);
}

function ending(job: Job): string {
  const took = job.createTime && job.finishTime ? ` after ${span(job.finishTime.getTime() - job.createTime.getTime())}` : '';
  const where = job.worker === '' ? '' : `, last on ${job.worker}`;
  const failure = job.outcome?.$case === 'failure' ? job.outcome.value : undefined;
  const why =
    failure === undefined ? '' : `: ${failure.message} (${[codeName(failure.code), failure.reason].filter((text) => text !== '').join(', ')})`;
  return printable(`${jobStateWord(job.state)}${took}${where}, attempt ${job.attempt}${why}`);
}
