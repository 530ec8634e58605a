import type { Command } from 'commander';
import { example, type OutputOptions, outputOption } from '../common.js';
import { Ended } from '../exit.js';
import type { Io } from '../io.js';
import { parseCount } from '../parse.js';

interface DemoOptions extends OutputOptions {
  keep: boolean;
  minJobs: number;
  replicas: number;
}

export function addDemo(program: Command, io: Io): void {
  const demo = outputOption(
    program.command('demo').description('A Redis, three replicas and six workers hash the files of a folder, while one of each is killed'),
  )
    .argument('[folder]', 'whose files are hashed (default: node_modules)')
    .option('--keep', 'leave it running and say what to type next', false)
    .option('--min-jobs <count>', 'submit so many jobs at the least, in several passes if need be', parseCount('--min-jobs', 1, 1_000_000), 2_000)
    .option('--replicas <count>', 'so many replicas', parseCount('--replicas', 2, 9), 3);
  example(demo, 'muster demo', 'muster demo ~/pictures -o json');
  demo.action(async (path: string | undefined, options: DemoOptions) => {
    const { runDemo } = await import('../demo/run.js');
    const code = await runDemo({ path, ...options }, io);
    if (code !== 0) throw new Ended(code);
  });
}
