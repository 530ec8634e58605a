import { afterEach, expect, test } from 'vitest';
import { type ConformOptions, conform, Unreachable } from '../../../../src/sdk/conform/conform.js';
import { startRunner } from '../../../../src/sdk/runner.js';
import { conformKind } from './kind.js';
import { type Fault, WrongRunner } from './wrong-runner.js';

const open: { close(): void }[] = [];
afterEach(() => {
  for (const part of open.splice(0)) part.close();
});

const quick = { holdMs: 120, patienceMs: 700, timeoutMs: 5_000, endingMs: 1_500 } as const;

async function examine(faults: Fault[], options: Partial<ConformOptions> = {}) {
  const worker = await new WrongRunner(...faults).start();
  open.push(worker);
  return conform({ address: worker.address, level: 'full', stop: () => worker.stop(), ...quick, ...options });
}

const outcomes = ({ checks }: Awaited<ReturnType<typeof conform>>) =>
  Object.fromEntries(checks.filter(({ outcome }) => outcome !== 'passed').map(({ name, found }) => [name, found]));

test('a worker that is right passes every check of both levels', async () => {
  const full = await examine([]);
  expect(outcomes(full)).toEqual({});
  expect(full).toMatchObject({ contract: 'RUNNER', worker: 'w1', level: 'full', passed: true });
  expect(full.checks.filter(({ level }) => level === 'basic').map(({ name }) => name)).toEqual([
    'serves the kind',
    'failures are told',
    'takes no more than its slots',
    'says what it holds',
    'drains',
  ]);
  expect(full.checks).toHaveLength(13);
});

test.each<[Fault, string, RegExp]>([
  ['no kind', 'serves the kind', /UNIMPLEMENTED/],
  ['other answer', 'serves the kind', /answered "done"/],
  ['throws failures', 'failures are told', /status UNKNOWN/],
  ['all retryable', 'failures are told', /permanent: true was told as retryable: true/],
  ['queues', 'takes no more than its slots', /was not answered at once/],
  ['unlimited', 'takes no more than its slots', /output "one too many/],
  ['refuses as unavailable', 'takes no more than its slots', /FAILED_PRECONDITION instead of RESOURCE_EXHAUSTED/],
  ['always free', 'says what it holds', /1 of 1 slots taken it says FREE/],
  ['names nothing', 'says what it holds', /never named/],
  ['new id a probe', 'says what it holds', /worker_id was w\d+ and is w\d+/],
  ['new boot a probe', 'says what it holds', /boot was b\d+ and is b\d+/],
  ['goes on when aborted', 'stops what is aborted', /no answer within/],
  ['refuses unknown aborts', 'stops what is aborted', /was refused/],
  ['any kind', 'refuses an unknown kind', /output/],
  ['no timeout', 'keeps the run timeout', /no answer within/],
  ['runs stale', 'refuses a stale fence', /was run/],
  ['runs beside', 'a newer fence supersedes', /goes on/],
  ['joins nothing', 'joins a running attempt', /2 runs/],
  ['forgets', 'answers again what it did', /ran the \(job, fence\) again/],
  ['dies with its call', 'an attempt outlives its call', /is not named any more|came for the result|ended otherwise/],
  ['cut off at stop', 'drains', /broken off|did not answer/],
  ['never ends', 'drains', /did not end/],
])('a worker with the fault "%s" fails "%s"', async (fault, name, found) => {
  const report = await examine([fault], { only: ['serves the kind', name] });
  const failed = report.checks.find((check) => check.name === name);
  expect(failed?.outcome).toBe('failed');
  expect(failed?.found).toMatch(found);
  expect(failed?.remedy).not.toBe('');
  expect(report.passed).toBe(false);
});

test('without the kind nothing else is tested, nor passed', async () => {
  const { passed, checks } = await examine(['no kind'], { level: 'basic' });
  expect(passed).toBe(false);
  expect(checks.map(({ outcome }) => outcome)).toEqual(['failed', 'skipped', 'skipped', 'skipped', 'skipped']);
});

test.each([1, 3])("the SDK's runner with %d slots passes in full where it registers", async (slots) => {
  let target = 0;
  let runner: Awaited<ReturnType<typeof startRunner>> | undefined;
  const onListening = (port: number) => {
    target = port;
    void startRunner({
      id: 'w1',
      pool: 'p',
      target: `127.0.0.1:${target}`,
      ip: '127.0.0.1',
      slots,
      handlers: { 'muster.conform': conformKind() },
    }).then((started) => {
      runner = started;
      open.push(started);
    });
  };
  const report = await conform({ listen: '127.0.0.1:0', level: 'full', ...quick, onListening, stop: () => void runner?.stop() });
  expect(outcomes(report)).toEqual({});
  expect(report.passed).toBe(true);
});

test('nobody there is told as such', async () => {
  const stop = () => {};
  await expect(conform({ address: '127.0.0.1:1', timeoutMs: 300, stop })).rejects.toThrow(Unreachable);
  await expect(conform({ listen: '127.0.0.1:0', timeoutMs: 100, stop })).rejects.toThrow('no worker came');
  await expect(conform({ stop })).rejects.toThrow(TypeError);
});
