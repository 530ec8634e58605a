import { type ChildProcess, spawn } from 'node:child_process';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { JobResponse } from '../../../src/grpc/generated/job/job.js';
import { type Api, connect } from '../../../src/sdk/connect.js';
import { jobSpec, runToEnd } from '../../../src/sdk/run.js';
import { ownRedis, uniquePool } from '../../helpers/redis.js';
import { until } from '../../helpers/until.js';
import { muster } from '../../unit/cli/harness.js';
import { startReplica } from './replica.js';
import { type RunJob, startUpstream, type UpstreamServer } from './upstream.js';

let replica: Awaited<ReturnType<typeof startReplica>>;
let api: Api;
let upstream: UpstreamServer;
const open: Parameters<RunJob>[] = [];
const children: ChildProcess[] = [];

beforeAll(async () => {
  replica = await startReplica((await ownRedis()).url);
  api = connect(replica.target);
  upstream = await startUpstream({ runJob: (...args) => void open.push(args) });
});
afterAll(async () => {
  for (const child of children) child.kill('SIGKILL');
  upstream.kill();
  api.close();
  await replica.stop();
});

/** `muster sidecar` as a process of its own. */
function sidecar(pool: string, ...args: string[]) {
  const argv = ['--import', 'tsx', 'src/main.ts', 'sidecar', '--pool', pool, '--upstream', upstream.target, '--health-interval', '100ms', ...args];
  const child = spawn(process.execPath, argv, { env: { ...process.env, MUSTER_TARGET: replica.target }, stdio: ['ignore', 'ignore', 'pipe'] });
  children.push(child);
  const ran = { story: '' };
  child.stderr.on('data', (chunk: Buffer) => {
    ran.story += chunk.toString();
  });
  const ended = new Promise<number | NodeJS.Signals | null>((resolve) => child.once('exit', (code, signal) => resolve(code ?? signal)));
  return { child, ran, ended };
}

const spec = (pool: string) => jobSpec({ id: 'j1', pool, work: { $case: 'method', value: '/job.JobService/RunJob' } });

describe('muster sidecar', () => {
  it('told to stop, finishes the call that runs and exits 0', async () => {
    const pool = uniquePool();
    const { child, ran, ended } = sidecar(pool, '--id', 'side', '--slots', '2');
    const running = runToEnd(api, spec(pool));
    await until(() => open.length === 1, { timeoutMs: 15_000 });
    child.kill('SIGTERM');
    await until(async () => (await api.getWorker({ pool, id: 'side' })).worker?.state === 3, { what: 'draining' });
    open[0]?.[1](null, JobResponse.fromPartial({ logs: 'finished' }));
    expect((await running).outcome?.$case).toBe('output');
    expect(await ended).toBe(0);
    expect(ran.story).toContain(`${upstream.target} serves\n`);
    expect(ran.story).toMatch(new RegExp(`attached to \\S+ as ${pool}/side\n`));
    expect(ran.story).toContain('told to stop: finishing what runs; again to stop at once\n');
    expect(ran.story).toMatch(/\ndrained\n$/);
  });

  it('told twice, cancels the call that runs, and its job goes to another', async () => {
    const pool = uniquePool();
    const { child, ran, ended } = sidecar(pool);
    const running = runToEnd(api, spec(pool));
    await until(() => open.length === 2, { timeoutMs: 15_000 });
    child.kill('SIGTERM');
    await until(() => ran.story.includes('told to stop'));
    child.kill('SIGTERM');
    expect(await ended).toBe(130);
    await until(() => open[1]?.[0].cancelled);
    const other = sidecar(pool);
    await until(() => open.length === 3, { timeoutMs: 15_000 });
    open[2]?.[1](null, JobResponse.fromPartial({ logs: 'elsewhere' }));
    expect(await running).toMatchObject({ attempt: 2, outcome: { $case: 'output' } });
    other.child.kill('SIGTERM');
    expect(await other.ended).toBe(0);
  });

  it.each([
    [['--slots', '0'], '--slots'],
    [['--upstream', 'nowhere'], '--upstream: "nowhere" is none; write host:port or unix:path'],
    [['--id', '{x}'], 'id: an id is'],
    [['--pool', 'A'], 'pool: a pool is'],
    [['--descriptors', 'package.json'], '--descriptors package.json: cannot be parsed'],
    [['--target', 'x'], '--target: "x" is none'],
  ])('refuses %s, and says what it takes', async (args, said) => {
    const ran = await muster(['sidecar', '--upstream', '127.0.0.1:9', ...args]);
    expect([ran.code, ran.story]).toEqual([2, expect.stringContaining(said)]);
  });

  it('needs an upstream, and its help has examples', async () => {
    expect((await muster(['sidecar'])).story).toContain("required option '-u, --upstream <host:port>' not specified");
    expect((await muster(['sidecar', '--help'])).text).toContain('$ muster sidecar --pool ocr --upstream 127.0.0.1:9000\n');
  });
});
