import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { beforeAll, describe, expect, test } from 'vitest';
import { addConform } from '../../src/cli/commands/conform.js';
import { conform } from '../../src/sdk/conform/conform.js';
import { build, cached, FOLDER, launch, launchReplica, type Program, works } from '../helpers/programs.js';
import { redisUrl, uniquePool } from '../helpers/redis.js';

interface Language {
  name: string;
  /** Is the toolchain here, with the packages that it needs? */
  ready: boolean;
  build(): void;
  /** The command line of one of its three programs. */
  program(which: 'runner' | 'attach' | 'client'): [string, ...string[]];
}

const goFolder = join(FOLDER, 'examples/go');
const pythonFolder = join(FOLDER, 'examples/python');
const venv = join(cached('python'), 'venv');
const python = join(venv, 'bin', 'python');

/** A virtual environment with what the examples need, made once. */
function pythonReady(): boolean {
  if (existsSync(python) && works(python, ['-c', 'import grpc_tools'])) return true;
  const packages = ['-m', 'pip', 'install', '-q', '-r', join(pythonFolder, 'requirements.txt')];
  return works('python3', ['-m', 'venv', venv]) && works(python, packages);
}

const languages: Language[] = [
  {
    name: 'Go',
    ready: works('go', ['version']) && works('go', ['mod', 'download'], goFolder),
    build: () => {
      build('sh', ['generate.sh'], goFolder);
      build('go', ['build', '-o', `${cached('go')}/`, './...'], goFolder);
    },
    program: (which) => [join(cached('go'), which)],
  },
  {
    name: 'Python',
    ready: pythonReady(),
    build: () => build('sh', ['generate.sh'], pythonFolder, { PYTHON: python }),
    program: (which) => [python, join(pythonFolder, `${which}.py`)],
  },
];

let target = '';
beforeAll(async () => {
  target = (await launchReplica(redisUrl)).target;
});

function start(language: Language, which: 'runner' | 'attach', flags: Record<string, string>): Program {
  const [command, ...args] = language.program(which);
  return launch(command, [...args, ...Object.entries(flags).flatMap(([name, value]) => [`--${name}`, value])]);
}

/** One job through the client of that language; its output. */
async function ask(language: Language, pool: string, payload: string): Promise<string> {
  const [command, ...args] = language.program('client');
  const client = launch(command, [...args, '--target', target, '--pool', pool, 'shout', payload]);
  expect(await client.end(), client.output()).toBe(0);
  return client.output();
}

/** `muster conform`, as typed. */
async function typed(args: string[]): Promise<unknown> {
  let out = '';
  const io = {
    out: async (chunk: string | Uint8Array) => {
      out += chunk;
    },
    tell: () => {},
    stdin: (async function* () {})(),
    env: {},
    colours: false,
    now: () => 0,
    onInterrupt: () => () => {},
  };
  const program = new Command().exitOverride();
  addConform(program, io);
  await program.parseAsync(['conform', ...args], { from: 'user' }).catch((error: unknown) => {
    throw new Error(`${String(error)}\n${out}`);
  });
  return JSON.parse(out);
}

for (const language of languages) {
  const why = language.ready ? '' : ' (not run: its toolchain, or what it would download, is not here)';
  describe.runIf(language.ready)(`the examples in ${language.name}${why}`, () => {
    beforeAll(() => language.build());

    test('the dialed worker registers at a replica, runs jobs of the client, and passes the basic level', async () => {
      const pool = uniquePool('example');
      const worker = start(language, 'runner', { target, pool });
      expect(await ask(language, pool, 'hello')).toBe('HELLO');
      expect(await ask(language, pool, 'again')).toBe('AGAIN');
      const port = await worker.written(/register(?:ed|ing) at port (\d+)/);
      const report = await typed([`127.0.0.1:${port}`, '--pid', String(worker.pid), '--hold', '300ms', '--json']);
      expect(report).toMatchObject({ passed: true, contract: 'RUNNER', level: 'basic' });
      expect(await worker.end()).toBe(0);
    });

    test('the attached worker attaches to a replica and runs jobs of the client', async () => {
      const pool = uniquePool('example');
      const worker = start(language, 'attach', { target, pool });
      const answers = await Promise.all(['one', 'two', 'three'].map((payload) => ask(language, pool, payload)));
      expect(answers).toEqual(['ONE', 'TWO', 'THREE']);
      worker.signal('SIGTERM');
      expect(await worker.end()).toBe(0);
    });

    test('the attached worker passes the full level', async () => {
      let worker: Program | undefined;
      const onListening = (port: number) => {
        worker = start(language, 'attach', { target: `127.0.0.1:${port}`, slots: '2' });
      };
      const report = await conform({ listen: '127.0.0.1:0', level: 'full', holdMs: 300, onListening, stop: () => worker?.signal('SIGTERM') });
      expect(report.checks.filter(({ outcome }) => outcome !== 'passed')).toEqual([]);
      expect(await worker?.end()).toBe(0);
    });
  });
}
