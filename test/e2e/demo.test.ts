import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { until } from '../helpers/until.js';

/** The built demo as people run it, on a folder of its own and in a temporary folder of its own. */
const root = mkdtempSync(join(tmpdir(), 'muster-demo-test-'));
const folder = join(root, 'files');
const temporary = join(root, 'tmp');

beforeAll(() => {
  for (let n = 0; n < 300; n++) {
    const below = join(folder, `part ${n % 7}`);
    mkdirSync(below, { recursive: true });
    writeFileSync(join(below, `${n}.bin`), Buffer.alloc((n * n) % 70_000, `file ${n} `));
  }
  mkdirSync(temporary);
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

interface Demo {
  pid: number;
  out(): string;
  story(): string;
  kill(signal: NodeJS.Signals): void;
  /** Its exit code, or the signal that ended it. */
  ended: Promise<number | NodeJS.Signals | null>;
}

function startDemo(...args: string[]): Demo {
  const child = spawn(process.execPath, ['dist/main.js', 'demo', folder, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, TMPDIR: temporary },
  });
  let [out, story] = ['', ''];
  child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (story += chunk.toString()));
  const ended = new Promise<number | NodeJS.Signals | null>((resolve) => child.on('close', (code, signal) => resolve(code ?? signal)));
  return { pid: child.pid ?? 0, out: () => out, story: () => story, kill: (signal) => child.kill(signal), ended };
}

/** All that a process has started, and what that has. */
function descendants(pid: number): number[] {
  const children = new Map<number, number[]>();
  for (const line of execFileSync('ps', ['-A', '-o', 'pid=,ppid=']).toString().trim().split('\n')) {
    const [child = 0, parent = 0] = line.trim().split(/\s+/).map(Number);
    children.set(parent, [...(children.get(parent) ?? []), child]);
  }
  const below = (parent: number): number[] => (children.get(parent) ?? []).flatMap((child) => [child, ...below(child)]);
  return below(pid);
}

function lives(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** Resolves with all that the demo has started once the files are being hashed: three replicas, six workers, a Redis and its shell at the least. */
async function underWay(demo: Demo): Promise<number[]> {
  await until(() => / files, \d+ jobs a second/.test(demo.story()), { timeoutMs: 60_000, what: `work to begin; it says: ${demo.story()}` });
  const started = descendants(demo.pid);
  expect(started.length).toBeGreaterThanOrEqual(11);
  return started;
}

async function expectNothingLeft(started: number[]): Promise<void> {
  await until(() => !started.some(lives), { what: 'every process of the demo to end' });
  expect(readdirSync(temporary)).toEqual([]);
}

test('hashes every file, loses nothing over the death of a replica and of a worker, and leaves nothing behind', async () => {
  const demo = startDemo('--min-jobs', '600', '-o', 'json');
  const started = await underWay(demo);
  expect(await demo.ended, demo.story()).toBe(0);
  const lines = demo.out().trimEnd().split('\n');
  expect(lines).toHaveLength(1);
  const summary = JSON.parse(lines[0] ?? '') as Record<string, number>;
  expect(Object.keys(summary)).toEqual(
    'replicas workers jobs succeeded retried lost duplicated mismatched jobsPerSecond p50Ms p99Ms replicaKillHealMs workerKillHealMs attemptsSpent'.split(
      ' ',
    ),
  );
  expect(summary).toMatchObject({ replicas: 3, workers: 6, lost: 0, duplicated: 0, mismatched: 0 });
  // Besides one a file, twice over, about every tenth went to a worker of the first contract.
  expect(summary['jobs']).toBeGreaterThan(600);
  expect(summary['succeeded']).toBe(summary['jobs']);
  expect(summary['replicaKillHealMs']).toBeGreaterThan(0);
  expect(summary['workerKillHealMs']).toBeGreaterThan(0);
  await expectNothingLeft(started);
});

test('Ctrl-C ends all that it started, and says by its exit code that it was interrupted', async () => {
  const demo = startDemo();
  const started = await underWay(demo);
  demo.kill('SIGINT');
  expect(await demo.ended).toBe(130);
  expect(demo.out()).toBe('');
  await expectNothingLeft(started);
});

test('SIGKILL of the demo itself leaves nothing behind either', async () => {
  const demo = startDemo();
  const started = await underWay(demo);
  demo.kill('SIGKILL');
  expect(await demo.ended).toBe('SIGKILL');
  await expectNothingLeft(started);
});

test('with --keep it stays, says what to type next, and what it says works', async () => {
  const demo = startDemo('--min-jobs', '300', '--keep');
  const started = await underWay(demo);
  await until(() => demo.story().includes('XREVRANGE'), { timeoutMs: 90_000, what: 'the hints' });
  const typed = demo
    .story()
    .split('\n')
    .map((line) => line.replace(/^muster: */, ''))
    .filter((line) => /^(node|redis-cli|valkey-cli) /.test(line));
  expect(typed).toHaveLength(9);
  // Unquoted as a person would paste them.
  for (const line of typed) {
    const said = execFileSync('/bin/sh', ['-c', line]).toString();
    if (!line.includes(':leases')) expect(said.trim(), line).not.toBe('');
    expect(said, line).not.toContain('WRONGTYPE');
  }
  expect(demo.out()).toContain('mismatched');
  demo.kill('SIGINT');
  expect(await demo.ended, demo.story()).toBe(0);
  await expectNothingLeft(started);
});

test('a folder without files is a usage error, and nothing is started', async () => {
  const empty = join(root, 'empty');
  mkdirSync(empty);
  const child = spawn(process.execPath, ['dist/main.js', 'demo', empty], { stdio: ['ignore', 'ignore', 'pipe'] });
  let story = '';
  child.stderr.on('data', (chunk: Buffer) => (story += chunk.toString()));
  const code = await new Promise((resolve) => child.on('close', resolve));
  expect([code, story]).toEqual([2, expect.stringContaining('no file there that can be read')]);
  expect(story).not.toContain('starting');
});
