import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { expect, test } from 'vitest';
import { settings } from '../../../src/cli/commands/config.js';
import { parseDuration } from '../../../src/cli/parse.js';
import { buildProgram } from '../../../src/cli/program.js';
import { age, printable, table } from '../../../src/cli/table.js';
import { fields } from '../../../src/config.js';
import { hashOf, parseTokens } from '../../../src/domain/tokens.js';
import { VERSION } from '../../../src/lifecycle/version.js';
import { muster } from './harness.js';

/** Every command that does something, as it is typed. */
function commands(parent: Command, path: string[] = []): string[][] {
  return parent.commands.flatMap((command) =>
    command.commands.length > 0 ? commands(command, [...path, command.name()]) : [[...path, command.name()]],
  );
}

const io = {
  out: async () => {},
  tell: () => {},
  stdin: (async function* () {})(),
  env: {},
  colours: false,
  now: () => 0,
  onInterrupt: () => () => {},
};
const all = commands(buildProgram(io));

test('every command of the design is there', () => {
  const names =
    'serve healthcheck demo demo-worker sidecar conform run submit wait get drain undrain evict cancel retry purge pause resume delete audit doctor config'
      .split(' ')
      .map((name) => [name]);
  expect(all.toSorted()).toEqual([...names, ['worker', 'register'], ['token', 'create']].toSorted());
});

test.each(all)('the help of %s %s shows an example of itself', async (...path) => {
  const words = path.filter((word) => typeof word === 'string');
  const ran = await muster([...words, '--help']);
  expect(ran.code).toBe(0);
  expect(ran.text.slice(ran.text.indexOf('\nExample'))).toContain(`muster ${words.join(' ')}`);
  expect(ran.story).toBe('');
});

test("the help of all names the exit codes; the version is the package's", async () => {
  expect((await muster(['--help'])).text).toContain('124 waited out');
  const version = await muster(['--version']);
  const { version: packaged } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
  expect([version.code, version.text, VERSION]).toEqual([0, `${packaged}\n`, packaged]);
});

test.each([
  [['rnu'], 'Did you mean run?'],
  [['run', '--knid', 'x'], 'Did you mean --kind?'],
  [[], 'Usage: muster'],
  [['worker'], 'Usage: muster worker'],
  [['token', 'create', '--name', 'ci'], '--role'],
  [['token', 'create', '--role', 'wroker', '--name', 'ci'], 'did you mean worker?'],
  [['token', 'create', '--role', 'worker', '--name', 'c:i'], 'must be a name'],
  [['token', 'create', '--role', 'worker', '--name', 'c i'], 'names hold no spaces'],
  [['token', 'create', '--role', 'worker', '--name', 'ci', '--pools', 'A'], 'a pool is'],
  [['token', 'create', '--role', 'admin', '--name', 'ops', '--pools', 'a'], 'an admin is one of all pools'],
  [['wait'], 'missing required argument'],
  [['worker', 'register', '--id', 'a'], '--address'],
  [['wait', 'j', '--timeout', '30'], 'write 500ms, 30s'],
  [['wait', 'j', '-o', 'jsn'], 'did you mean json?'],
  [['wait', 'j', '--target', 'nowhere'], 'write host:port'],
  [['run', '--kind', 'a', '--priority', '4'], 'from 0 to 3'],
  [['run', '--kind', 'a', '--metadata', 'x'], 'write key=value'],
  [['get', 'jobs', '--limit', '0'], 'from 1 to'],
])('%j is a usage error and says what is right', async (argv, said) => {
  const ran = await muster(argv);
  expect([ran.code, ran.text, ran.story]).toEqual([2, '', expect.stringContaining(said)]);
});

test('config prints every setting with its default and its present value, passwords masked', async () => {
  const env = { MUSTER_LEASE_MS: '40000', MUSTER_REDIS_URL: 'redis://me:secret@redis:6379', MUSTER_DIAL_ALLOW: '10.0.0.0/8, 192.168.0.0/16' };
  const ran = await muster(['config', '-o', 'json'], { env });
  const { settings: rows } = ran.json() as { settings: { name: string; about: string }[] };
  expect(rows.map(({ name }) => name)).toEqual(Object.keys(fields).map((field) => `MUSTER_${field}`));
  expect(rows.every(({ about }) => about !== '')).toBe(true);
  expect(rows).toContainEqual(expect.objectContaining({ name: 'MUSTER_LEASE_MS', flag: '--lease-ms', default: 30_000, value: 40_000 }));
  expect(rows).toContainEqual(expect.objectContaining({ name: 'MUSTER_REDIS_URL', value: 'redis://me:***@redis:6379' }));
  expect(rows).toContainEqual(expect.objectContaining({ name: 'MUSTER_DIAL_ALLOW', value: ['10.0.0.0/8', '192.168.0.0/16'] }));
  const shown = await muster(['config'], { env });
  expect(shown.text).toMatch(/^MUSTER_LEASE_MS +30000 +40000 +A delivered lease/m);
  expect(shown.text).not.toContain('secret');
});

test('a wrong setting is a usage error that names it, for config and serve alike', async () => {
  const wrong = await muster(['config'], { env: { MUSTER_LEASE_MS: 'soon' } });
  expect([wrong.code, wrong.story]).toEqual([2, expect.stringContaining('MUSTER_LEASE_MS')]);
  const pair = await muster(['serve', '--beat-ms', '20000']);
  expect([pair.code, pair.story]).toEqual([2, expect.stringContaining('MUSTER_BEAT_MS (20000) times 2 must be less than MUSTER_LEASE_MS')]);
});

test('serve has a flag for every setting', async () => {
  const { text } = await muster(['serve', '--help']);
  for (const { flag } of settings()) expect(text).toContain(`${flag} `);
});

test('lengths of time are read with their unit, up to a year', () => {
  const read = parseDuration('--x');
  expect(['500ms', '30s', '5m', '1.5h', '365d', '0s'].map(read)).toEqual([500, 30_000, 300_000, 5_400_000, 31_536_000_000, 0]);
  for (const bad of ['30', '', '-1s', '5 m', '366d', '1w', '1e3s']) expect(() => read(bad), bad).toThrow('--x');
});

test('tables are plain columns, coloured only where colours may be', () => {
  expect(
    table(
      ['ID', 'STATE'],
      [
        ['a', 'failed'],
        ['long-name', 'free'],
      ],
      false,
    ),
  ).toBe('ID         STATE\na          failed\nlong-name  free\n');
  expect(table(['ID'], [['failed']], true)).toContain('\u001b[31mfailed\u001b[39m');
  expect(printable('a\u001b[31mb\nc\u202ed')).toBe('a [31mb c d');
  expect([age(new Date(0), 500), age(new Date(0), 99_900), age(new Date(0), 100_000), age(undefined, 5)]).toEqual(['500ms', '99.9s', '2m', '']);
});

test('token create prints the secret and the line under which replicas know it, and no more of it in the story', async () => {
  const ran = await muster(['token', 'create', '--role', 'worker', '--name', 'ci', '--pools', 'a, b']);
  const [secret = '', line = '', ...rest] = ran.text.split('\n');
  expect([ran.code, rest]).toEqual([0, ['']]);
  expect(secret).toMatch(/^mst_[A-Za-z0-9_-]{43}$/);
  expect(parseTokens(line).get(hashOf(secret))).toEqual({ name: 'ci', role: 'worker', pools: new Set(['a', 'b']) });
  expect(ran.story).toContain('MUSTER_TOKENS_FILE');
  expect(ran.story).not.toContain(secret);
  const json = (await muster(['token', 'create', '--role', 'admin', '--name', 'ops', '-o', 'json'])).json() as { secret: string; line: string };
  expect([...parseTokens(json.line).keys()]).toEqual([hashOf(json.secret)]);
});
