import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { type ConformOptions, conform } from '../../../../src/sdk/conform/conform.js';
import { Worker } from '../../../../src/sdk/worker.js';
import { conformKind } from './kind.js';
import { type AttachedFault, WrongAttached } from './wrong-attached.js';

const open: { close(): void }[] = [];
afterEach(() => {
  for (const part of open.splice(0)) part.close();
});

const quick = { holdMs: 120, patienceMs: 700, timeoutMs: 5_000, endingMs: 1_500 } as const;

async function examine(faults: AttachedFault[], slots = 1, options: Partial<ConformOptions> = {}) {
  let worker: WrongAttached | undefined;
  const onListening = (port: number) => {
    worker = new WrongAttached(`127.0.0.1:${port}`, slots, ...faults);
    open.push(worker);
  };
  return conform({ listen: '127.0.0.1:0', level: 'full', onListening, stop: () => worker?.stop(), ...quick, ...options });
}

const outcomes = ({ checks }: Awaited<ReturnType<typeof conform>>) =>
  Object.fromEntries(checks.filter(({ outcome }) => outcome !== 'passed').map(({ name, found }) => [name, found]));

test.each([1, 3])('a worker with %d slots that is right passes every check of both levels', async (slots) => {
  const full = await examine([], slots);
  expect(outcomes(full)).toEqual({});
  expect(full).toMatchObject({ contract: 'ATTACHED', worker: 'a1', passed: true });
  expect(full.checks.filter(({ level }) => level === 'basic').map(({ name }) => name)).toEqual([
    'serves the kind',
    'failures are told',
    'runs as many as its slots',
    'beats for what it holds',
    'says what it holds',
    'drains',
  ]);
  expect(full.checks.some(({ name }) => name === 'a newer fence supersedes')).toBe(slots > 1);
});

test.each<[AttachedFault, string, RegExp]>([
  ['one after another', 'runs as many as its slots', /one after another/],
  ['no beats', 'beats for what it holds', /no Beat/],
  ['pongs name nothing', 'says what it holds', /never named/],
  ['goes on when cancelled', 'stops what is aborted', /no answer within/],
  ['refuses nothing', 'refuses an unknown kind', /output/],
  ['no timeout', 'keeps the run timeout', /no answer within/],
  ['runs stale', 'refuses a stale fence', /was run/],
  ['runs beside', 'a newer fence supersedes', /runs on beside|with an output/],
  ['runs twice', 'runs an assignment once', /ran 2 times/],
  ['forgets at once', 'keeps results until settled', /not named in Pong/],
  ['sends once', 'keeps results until settled', /did not come again/],
  ['dies with its stream', 'goes on over a broken stream', /ended otherwise|does not name what runs/],
  ['bare hello', 'goes on over a broken stream', /Hello on the next stream does not name/],
  ['never stops what is revoked', 'stops what is revoked', /did not come/],
  ['says nothing of the revoked', 'stops what is revoked', /did not come/],
  ['breaks before it makes', 'makes before it breaks', /before it had opened the new one/],
  ['stays on the old stream', 'makes before it breaks', /did not end the old stream/],
  ['results of others', 'says nothing out of turn', /never given/],
  ['no goodbye', 'drains', /without Goodbye/],
  ['leaves at once', 'drains', /no answer|nothing|ended otherwise/],
])('a worker with the fault "%s" fails "%s"', async (fault, name, found) => {
  const report = await examine([fault], 2, { only: ['serves the kind', name] });
  const failed = report.checks.find((check) => check.name === name);
  expect(failed?.outcome).toBe('failed');
  expect(failed?.found).toMatch(found);
  expect(failed?.remedy).not.toBe('');
  expect(report.passed).toBe(false);
});

test.each([1, 3])("the SDK's Worker with %d slots passes in full", async (slots) => {
  let worker: Worker | undefined;
  const run = conformKind();
  const onListening = (port: number) => {
    worker = new Worker({ target: `127.0.0.1:${port}`, id: 'a1', slots }).handle(
      'muster.conform',
      (payload: Buffer, { attempt, signal }) => run({ payload, attempt, signal }),
      'bytes',
    );
    void worker.start({ signals: false });
  };
  const report = await conform({ listen: '127.0.0.1:0', level: 'full', ...quick, onListening, stop: () => void worker?.drain() });
  expect(outcomes(report)).toEqual({});
  expect(report.passed).toBe(true);
});

test('it listens, though nobody wants to be told where', async () => {
  const held = createServer().listen(0, '127.0.0.1');
  await once(held, 'listening');
  const { port } = held.address() as AddressInfo;
  await new Promise((resolve) => held.close(resolve));
  const worker = new WrongAttached(`127.0.0.1:${port}`, 1);
  open.push(worker);
  const report = await conform({ listen: `127.0.0.1:${port}`, ...quick, only: ['serves the kind'], stop: () => worker.stop() });
  expect(report.passed).toBe(true);
});
