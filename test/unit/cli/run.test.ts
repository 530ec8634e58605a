import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { status } from '@grpc/grpc-js';
import { expect, test } from 'vitest';
import { type Job, JobState, type RunJobRequest, type SubmitJobRequest } from '../../../src/grpc/generated/muster/v1/job.js';
import { fromDuration } from '../../../src/sdk/duration.js';
import { answer, job, Refused, startReplica } from '../sdk/replica.js';
import { against, muster, NOW } from './harness.js';

type State = 'SUCCEEDED' | 'FAILED' | 'CANCELLED' | 'EXPIRED' | 'RUNNING' | 'WAITING';

const inState = (state: State, rest: Partial<Job> = {}): Job => ({
  ...job({ state: JobState[`JOB_STATE_${state}`], worker: 'w1', attempt: 1 }),
  ...rest,
});
const output = (bytes: Buffer) => ({ outcome: { $case: 'output', value: bytes } }) as const;
const failure = {
  outcome: {
    $case: 'failure',
    value: { code: 2, message: 'no such file\u001b[2J', reason: 'handler_threw', retryable: true, details: Buffer.alloc(0), retryDelay: undefined },
  },
} as const;

/** Answers `runJob` with that job, and keeps what was asked. */
function runs(done: Job) {
  const asked: RunJobRequest[] = [];
  const runJob = answer((request: RunJobRequest) => {
    asked.push(request);
    return { job: { ...done, spec: request.spec } };
  });
  return { asked, answers: { runJob } };
}

test('run writes the raw output and nothing else to stdout, and exits 0', async () => {
  const bytes = Buffer.from([0, 255, 10, 13, 0x1b]);
  const { answers, asked } = runs(inState('SUCCEEDED', { ...output(bytes), createTime: new Date(NOW), finishTime: new Date(NOW + 1_200) }));
  const ran = await against(answers, ['run', '--kind', 'echo', '--data', 'hello', '--pool', 'hash', '--id', 'j1']);
  expect([ran.code, ran.out]).toEqual([0, bytes]);
  expect(ran.story).toBe('job j1 succeeded after 1.2s, last on w1, attempt 1');
  expect(asked[0]?.spec).toMatchObject({
    id: 'j1',
    pool: 'hash',
    work: { $case: 'kind', value: 'echo' },
    payload: Buffer.from('hello'),
    priority: 0,
    notBefore: undefined,
    retry: undefined,
  });
});

test('run hands over every option of the job', async () => {
  const { answers, asked } = runs(inState('SUCCEEDED'));
  const line = '--method /a.B/C --priority 3 --delay 10s --retries 2 --run-timeout 1.5m --metadata a=b --metadata c=d=e --timeout 5m';
  const ran = await against(answers, ['run', ...line.split(' ')]);
  expect(ran.code).toBe(0);
  const spec = asked[0]?.spec;
  expect(spec).toMatchObject({
    work: { $case: 'method', value: '/a.B/C' },
    priority: 3,
    notBefore: new Date(NOW + 10_000),
    metadata: { a: 'b', c: 'd=e' },
    retry: { maxAttempts: 3 },
  });
  expect(fromDuration(spec?.runTimeout)).toBe(90_000);
  expect(spec?.id).toMatch(/^[0-9a-f-]{36}$/);
});

test('run -o json prints one document, with base64 and the text beside it', async () => {
  const ran = await against(runs(inState('SUCCEEDED', output(Buffer.from('grün')))).answers, ['run', '--kind', 'echo', '--id', 'j1', '-o', 'json']);
  expect(ran.json()).toMatchObject({
    pool: 'default',
    id: 'j1',
    state: 'succeeded',
    kind: 'echo',
    attempt: 1,
    worker: 'w1',
    output: Buffer.from('grün').toString('base64'),
    outputText: 'grün',
    createTime: null,
  });
  const binary = await against(runs(inState('SUCCEEDED', output(Buffer.from([0xff])))).answers, ['run', '--kind', 'echo', '-o', 'json']);
  expect(binary.json()).toMatchObject({ output: '/w==' });
  expect(binary.json()).not.toHaveProperty('outputText');
});

test('the payload comes from a file, from stdin, or from nowhere', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'muster-cli-'));
  try {
    const file = join(folder, 'payload');
    await writeFile(file, 'from the file');
    for (const [args, payload] of [
      [['--file', file], 'from the file'],
      [['-'], 'from stdin'],
      [['--file', '-'], 'from stdin'],
      [[], ''],
    ] as const) {
      const { answers, asked } = runs(inState('SUCCEEDED'));
      const ran = await against(answers, ['run', '--kind', 'echo', ...args], { stdin: 'from stdin' });
      expect([ran.code, asked[0]?.spec?.payload.toString()]).toEqual([0, payload]);
    }
    for (const [args, said] of [
      [['--file', join(folder, 'none')], 'no such file'],
      [['--file', folder], 'is a directory'],
      [['--file', file, '-'], 'only one of'],
      [['hello'], 'the payload is given with --data or --file'],
    ] as const) {
      const ran = await muster(['run', '--kind', 'echo', ...args]);
      expect([ran.code, ran.story]).toEqual([2, expect.stringContaining(said)]);
    }
  } finally {
    await rm(folder, { recursive: true });
  }
});

test('a job that failed exits 1, says why without steering the terminal, and how to repeat it', async () => {
  const ran = await against(runs(inState('FAILED', { ...failure, attempt: 3 })).answers, ['run', '--kind', 'echo', '--id', 'j1']);
  expect([ran.code, ran.text]).toEqual([1, '']);
  expect(ran.story).toContain('job j1 failed, last on w1, attempt 3: no such file [2J (UNKNOWN, handler_threw)');
  expect(ran.story).toMatch(/`muster retry --target 127\.0\.0\.1:\d+ --pool default j1`/);
});

test.each(['CANCELLED', 'EXPIRED'] as const)('a job that is %s exits 1', async (state) => {
  const ran = await against({ waitJob: answer(() => ({ job: inState(state) })) }, ['wait', 'j1']);
  expect([ran.code, ran.story]).toEqual([1, expect.stringContaining(state.toLowerCase())]);
});

test('a job that has not ended when the time is over exits 124 and is shown as it is', async () => {
  const there = inState('WAITING', { waitingReason: 'no_worker' });
  const ran = await against({ ...runs(there).answers, waitJob: answer(() => ({ job: there })) }, [
    'run',
    '--kind',
    'echo',
    '--id',
    'j1',
    '--timeout',
    '120ms',
    '-o',
    'json',
  ]);
  expect(ran.code).toBe(124);
  expect(ran.json()).toMatchObject({ state: 'waiting', waitingReason: 'no_worker' });
  expect(ran.story).toContain('job j1 has not ended: waiting (no_worker). `muster wait --target');
});

test('wait prints the output of a job submitted before', async () => {
  const done = inState('SUCCEEDED', output(Buffer.from('42')));
  const states = [inState('RUNNING'), done];
  const ran = await against({ waitJob: answer(() => ({ job: states.shift() ?? done })) }, ['wait', 'j1', '--pool', 'p']);
  expect([ran.code, ran.text]).toEqual([0, '42']);
  expect(ran.story).toContain('job j1: running on w1, attempt 1');
});

test('wait for a job that is not known exits 4', async () => {
  const waitJob = answer(() => {
    throw new Refused(status.NOT_FOUND, 'NO_SUCH_JOB', 'job p/j1 is not known');
  });
  const ran = await against({ waitJob }, ['wait', 'j1']);
  expect([ran.code, ran.story]).toEqual([4, expect.stringContaining('job p/j1 is not known')]);
});

test('run with nobody there exits 3 and names the remedy', async () => {
  const replica = await startReplica({});
  replica.kill();
  const ran = await muster(['run', '--kind', 'echo', '--target', replica.target, '--timeout', '100ms']);
  expect(ran.code).toBe(3);
  expect(ran.story).toContain(`${replica.target} cannot be reached: connect ECONNREFUSED ${replica.target}. Does a replica run there?`);
});

test('interrupted, run says that the job goes on and exits 130', async () => {
  let interrupt = () => {};
  const runJob = () => interrupt();
  const ran = await against({ runJob }, ['run', '--kind', 'echo', '--id', 'j1'], {
    onStart: (listener) => {
      interrupt = listener;
    },
  });
  expect([ran.code, ran.story]).toEqual([130, expect.stringMatching(/job j1 goes on: `muster wait .* j1` or `muster cancel .* j1`/)]);
});

test('submit prints the id, so that a shell can take it', async () => {
  const asked: SubmitJobRequest[] = [];
  const submitJob = answer((request: SubmitJobRequest) => {
    asked.push(request);
    return { job: inState('WAITING', { spec: request.spec, waitingReason: 'no_free_worker' }), created: asked.length === 1 };
  });
  const replica = await startReplica({ submitJob });
  const typed = { env: { MUSTER_TARGET: replica.target } };
  const ran = await muster(['submit', '--kind', 'echo', '--data', 'x'], typed);
  expect([ran.code, ran.text]).toEqual([0, `${asked[0]?.spec?.id}\n`]);
  expect(ran.story).toContain('submitted, waiting (no_free_worker)');
  const again = await muster(['submit', '--kind', 'echo', '--id', 'j1', '-o', 'json'], typed);
  expect(again.json()).toMatchObject({ created: false, job: { id: 'j1', state: 'waiting', kind: 'echo' } });
  replica.kill();
});

test('the work must be named, once', async () => {
  for (const args of [[], ['--kind', 'a', '--method', '/a.B/C']]) {
    const ran = await muster(['run', ...args]);
    expect([ran.code, ran.story]).toEqual([2, expect.stringContaining('--kind KIND or --method /package.Service/Method')]);
  }
});
