import { isIP } from 'node:net';
import type { Command } from 'commander';
import { type CheckReport, conform, Unreachable } from '../../sdk/conform/conform.js';
import { example, type OutputOptions, outputOption, printJson } from '../common.js';
import { Ended, Exit, usage } from '../exit.js';
import type { Io } from '../io.js';
import { parseCount, parseDuration, parseWord } from '../parse.js';
import { table } from '../table.js';

interface ConformCommand extends OutputOptions {
  listen?: string;
  level: 'basic' | 'full';
  kind: string;
  slots: number;
  timeout: number;
  hold: number;
  pid?: number;
  json?: true;
}

const PID_MAX = 2 ** 31 - 1;

export function addConform(program: Command, io: Io): void {
  const command = outputOption(program.command('conform').description('Test whether a worker keeps the contract; it is told to stop at the end'))
    .argument('[address]', 'where the worker serves RunnerService, ip:port')
    .option('--listen <host:port>', 'wait there for a worker that attaches or registers, instead of dialing one')
    .option('--level <level>', 'basic, or full', parseWord('--level', ['basic', 'full']), 'basic')
    .option('--kind <kind>', 'the kind that the worker serves for the test (see docs/workers.md)', 'muster.conform')
    .option('--slots <count>', 'how many jobs a worker at an address takes at once', parseCount('--slots', 1, 256), 1)
    .option('--pid <pid>', 'its process, to be sent SIGTERM at the end; without it you are asked to stop it', parseCount('--pid', 1, PID_MAX))
    .option(
      '--timeout <time>',
      'how long to wait for the worker, and for its stop when you are asked (default: 30s)',
      parseDuration('--timeout'),
      30_000,
    )
    .option('--hold <time>', 'how long the jobs of the test last (default: 1s)', parseDuration('--hold'), 1_000)
    .option('--json', 'the same as -o json');
  example(command, 'muster conform 127.0.0.1:6000 --pid 4711', 'muster conform --listen 127.0.0.1:50051 --level full');
  command.action(async (address: string | undefined, options: ConformCommand) => {
    checkWhere(address, options.listen);
    const { pid, timeout, listen, level, kind, slots, hold } = options;
    const stop = pid === undefined ? () => io.tell('now stop the worker, by SIGTERM (--pid does it for you)') : () => signal(pid);
    const report = await conform({
      address,
      listen,
      level,
      kind,
      slots,
      timeoutMs: timeout,
      holdMs: hold,
      stop,
      stopWithinMs: pid === undefined ? timeout : undefined,
      onListening: (port) => io.tell(`waiting for a worker at port ${port}`),
      onCheck: ({ name, outcome }) => io.tell(`${outcome}: ${name}`),
    }).catch((error: unknown) => {
      if (error instanceof Unreachable) throw new Ended(Exit.UNREACHABLE, `${error.message}. Does the worker run, and was it told where?`);
      throw error;
    });
    if (options.json || options.output === 'json') await printJson(io, report);
    else await io.out(table(['CHECK', 'LEVEL', 'OUTCOME', 'FOUND', 'REMEDY'], report.checks.map(row), io.colours));
    const failed = report.checks.filter(({ outcome }) => outcome !== 'passed').length;
    if (!report.passed) throw new Ended(Exit.FAILED, `${failed} of ${report.checks.length} checks not passed`);
    io.tell(`worker ${report.worker} (${report.contract}) passed all ${report.checks.length} checks of level ${report.level}`);
  });
}

function row({ name, level, outcome, found, remedy }: CheckReport): string[] {
  return [name, level, outcome, found, remedy];
}

function checkWhere(address: string | undefined, listen: string | undefined): void {
  if ((address === undefined) === (listen === undefined)) throw usage('name the address of the worker, or --listen where it comes to (one of them)');
  const [, bracketed, bare, port] = /^(?:\[(.+)\]|([^:]+)):(\d{1,5})$/.exec(address ?? listen ?? '') ?? [];
  const host = bracketed ?? bare ?? '';
  const named = isIP(host) !== 0 || host === 'localhost';
  if (!named || Number(port) > 65_535 || (address !== undefined && Number(port) < 1))
    throw usage(
      `${address === undefined ? '--listen' : 'address'}: ${JSON.stringify(address ?? listen)} is none; write 127.0.0.1:6000 or [fd00::7]:6000`,
    );
}

function signal(pid: number): void {
  try {
    process.kill(pid, 'SIGTERM');
  } catch (error) {
    throw usage(`--pid: ${pid} cannot be sent SIGTERM: ${error instanceof Error ? error.message : String(error)}`);
  }
}
