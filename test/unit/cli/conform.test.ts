import { Command } from 'commander';
import { afterEach, expect, test } from 'vitest';
import { addConform } from '../../../src/cli/commands/conform.js';
import { Ended } from '../../../src/cli/exit.js';
import { WrongRunner } from '../sdk/conform/wrong-runner.js';

const open: WrongRunner[] = [];
afterEach(() => {
  for (const worker of open.splice(0)) worker.close();
});

async function runner(...faults: ConstructorParameters<typeof WrongRunner>): Promise<WrongRunner> {
  const worker = await new WrongRunner(...faults).start();
  open.push(worker);
  return worker;
}

/** `muster conform` with these arguments; whoever is asked to stop the worker does it. */
async function typed(args: string[], worker?: WrongRunner): Promise<{ code: number; out: string; story: string[]; said: string }> {
  let out = '';
  const story: string[] = [];
  const io = {
    out: async (chunk: string | Uint8Array) => {
      out += chunk;
    },
    tell: (line: string) => {
      story.push(line);
      if (line.startsWith('now stop')) worker?.stop();
    },
    stdin: (async function* () {})(),
    env: {},
    colours: false,
    now: () => 0,
    onInterrupt: () => () => {},
  };
  const program = new Command().exitOverride().configureOutput({ writeErr: () => {} });
  addConform(program, io);
  try {
    await program.parseAsync(['conform', ...args], { from: 'user' });
    return { code: 0, out, story, said: '' };
  } catch (error) {
    if (!(error instanceof Ended)) throw error;
    return { code: error.exitCode, out, story, said: error.message };
  }
}

test('a worker that passes is told as a table and by 0; without --pid a person is asked to stop it', async () => {
  const worker = await runner();
  const { code, out, story } = await typed([worker.address, '--hold', '100ms'], worker);
  expect(code).toBe(0);
  expect(out.split('\n').filter((line) => line.includes('passed'))).toHaveLength(5);
  expect(story.some((line) => line.startsWith('now stop the worker'))).toBe(true);
  expect(story.at(-1)).toBe('worker w1 (RUNNER) passed all 5 checks of level basic');
});

test('a failure is told with what was found and its remedy, and by 1', async () => {
  const worker = await runner('always free');
  const { code, out, said } = await typed([worker.address, '--hold', '100ms'], worker);
  expect(code).toBe(1);
  expect(out).toMatch(/says what it holds +basic +failed +with 1 of 1 slots taken it says FREE +name in Probe/);
  expect(said).toBe('1 of 5 checks not passed');
});

test('--json and -o json print the whole report', async () => {
  for (const flags of [['--json'], ['-o', 'json']]) {
    const worker = await runner();
    const { out } = await typed([worker.address, '--hold', '100ms', '--level', 'full', ...flags], worker);
    expect(JSON.parse(out)).toMatchObject({ passed: true, contract: 'RUNNER', worker: 'w1', level: 'full' });
  }
});

test('another kind may be named', async () => {
  const worker = await runner();
  const { code, out } = await typed([worker.address, '--hold', '100ms', '--kind', 'other'], worker);
  expect(code).toBe(1);
  expect(out).toMatch(/serves the kind +basic +failed .*UNIMPLEMENTED/);
});

test('nobody there is 3', async () => {
  const dialed = await typed(['127.0.0.1:1', '--timeout', '200ms']);
  expect([dialed.code, dialed.said]).toEqual([3, expect.stringContaining('does not answer a probe')]);
  const attached = await typed(['--listen', '127.0.0.1:0', '--timeout', '100ms']);
  expect([attached.code, attached.said]).toEqual([3, expect.stringContaining('no worker came within 100 ms')]);
});

test.each([
  [[], 'one of them'],
  [['127.0.0.1:6000', '--listen', '127.0.0.1:1'], 'one of them'],
  [['nowhere'], 'write 127.0.0.1:6000'],
  [['127.0.0.1:0'], 'write 127.0.0.1:6000'],
  [['--listen', '127.0.0.1'], '--listen'],
  [['127.0.0.1:6000', '--level', 'ful'], 'did you mean full?'],
  [['127.0.0.1:6000', '--pid', '0'], '--pid'],
])('%j is refused with what can be written instead', async (args, remedy) => {
  const { code, said } = await typed(args);
  expect([code, said]).toEqual([2, expect.stringContaining(remedy)]);
});
