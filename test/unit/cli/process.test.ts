import { spawn } from 'node:child_process';
import { expect, test } from 'vitest';
import { JobState } from '../../../src/grpc/generated/muster/v1/job.js';
import { answer, job, startReplica } from '../sdk/replica.js';

/** The program as a process of its own: what the others cannot see is whether it lives long enough, and ends. */
function muster(argv: string[]): Promise<{ code: number | null; out: Buffer; story: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ['--import', 'tsx', 'src/main.ts', ...argv], { stdio: ['ignore', 'pipe', 'pipe'] });
    const out: Buffer[] = [];
    const story: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => out.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => story.push(chunk));
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, out: Buffer.concat(out), story: Buffer.concat(story).toString() }));
  });
}

test('it goes on between two tries, and exits 3 when nobody came', async () => {
  const replica = await startReplica({});
  replica.kill();
  const ran = await muster(['get', 'pools', '--target', replica.target, '--timeout', '400ms']);
  expect([ran.code, ran.story]).toEqual([3, expect.stringContaining('cannot be reached')]);
});

test('it writes a large output whole and ends by itself', async () => {
  const bytes = Buffer.alloc(1_000_000, 'muster ');
  const done = job({ state: JobState.JOB_STATE_SUCCEEDED, outcome: { $case: 'output', value: bytes } });
  const replica = await startReplica({ waitJob: answer(() => ({ job: done })) });
  try {
    const ran = await muster(['wait', 'j1', '--target', replica.target]);
    expect([ran.code, ran.out.equals(bytes)]).toEqual([0, true]);
  } finally {
    replica.kill();
  }
});
