import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { connect, WorkerState } from '../../../src/sdk/index.js';
import { ownRedis } from '../../helpers/redis.js';
import { type InProcess, startReplica } from '../../helpers/replica.js';
import { until } from '../../helpers/until.js';
import { newClient } from './support.js';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const section = readFileSync(join(ROOT, 'README.md'), 'utf8').split('\n## Hello, world\n')[1]?.split('\n## ')[0] ?? '';
const [worker = '', client = ''] = [...section.matchAll(/^```ts\n([\s\S]*?)^```$/gm)].map((match) => match[1]);

let folder: string;
let replica: InProcess;
const children: ChildProcess[] = [];

beforeAll(async () => {
  // The README's pool is `default`, which other files use otherwise.
  const { url } = await ownRedis();
  replica = await startReplica(url);
  folder = mkdtempSync(join(tmpdir(), 'muster-readme-'));
  // The name under which users import it stands for this tree.
  const compilerOptions = { module: 'NodeNext', target: 'ES2023', paths: { 'muster-grpc/sdk': [join(ROOT, 'src/sdk/index.ts')] } };
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions }));
});

afterAll(() => {
  for (const child of children) child.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
});

interface Ran {
  child: ChildProcess;
  out: () => string;
  ended: Promise<{ code: number | null; signal: string | null }>;
}

/** The text as it stands, in a process of its own. */
function run(name: string, text: string): Ran {
  const file = join(folder, name);
  writeFileSync(file, text);
  const env = { ...process.env, MUSTER_TARGET: replica.target, TSX_TSCONFIG_PATH: join(folder, 'tsconfig.json') };
  const child = spawn(process.execPath, ['--import', join(ROOT, 'node_modules/tsx/dist/loader.mjs'), file], { cwd: folder, env });
  children.push(child);
  let said = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk: Buffer) => {
      said += chunk.toString();
    });
  const ended = new Promise<{ code: number | null; signal: string | null }>((resolve) =>
    child.on('exit', (code, signal) => resolve({ code, signal })),
  );
  return { child, out: () => said, ended };
}

const lines = (text: string) => text.trim().split('\n').length;

test("the README's worker has at most 8 lines, its client at most 4, and they say hello", async () => {
  expect([lines(worker) <= 8, lines(client) <= 4]).toEqual([true, true]);
  const working = run('worker.mts', worker);
  const asking = run('client.mts', client);
  expect(await asking.ended, asking.out()).toEqual({ code: 0, signal: null });
  expect(asking.out()).toBe('Hello, Ada!\n');
  working.child.kill('SIGTERM');
  expect(await working.ended, working.out()).toEqual({ code: null, signal: 'SIGTERM' });
  expect(working.out()).toBe('');
}, 60_000);

const LONG = `
import { Worker } from 'muster-grpc/sdk';
const worker = new Worker({ target: process.env.MUSTER_TARGET ?? '', pool: 'long', id: 'w' });
worker.handle('wait', (ms: number, { signal }) => new Promise((resolve, reject) => {
  console.log('begun');
  const timer = setTimeout(() => resolve('whole'), ms);
  signal.addEventListener('abort', () => { clearTimeout(timer); console.log(signal.reason.why); reject(signal.reason); });
}));
await worker.start();
`;

test('SIGTERM drains: what runs ends well, then the process ends by the signal; a second one aborts it', async () => {
  const asking = newClient({ target: replica.target });
  const first = run('long.mts', LONG);
  const short = asking.run('wait', 600, { pool: 'long' });
  await until(() => first.out() === 'begun\n', { timeoutMs: 20_000 });
  first.child.kill('SIGTERM');
  expect(await short).toBe('whole');
  expect(await first.ended).toEqual({ code: null, signal: 'SIGTERM' });

  const second = run('long.mts', LONG);
  const long = await asking.submit('wait', 60_000, { pool: 'long', retry: { initialBackoffMs: 60_000 } });
  await until(() => second.out() === 'begun\n', { timeoutMs: 20_000 });
  second.child.kill('SIGTERM');
  // Two signals at once may arrive as one: the first has been taken when the roll knows that it drains.
  const api = connect(replica.target);
  await until(async () => (await api.getWorker({ pool: 'long', id: 'w' })).worker?.state === WorkerState.WORKER_STATE_DRAINING);
  api.close();
  second.child.kill('SIGTERM');
  expect(await second.ended).toEqual({ code: null, signal: 'SIGTERM' });
  expect(second.out()).toBe('begun\ndraining\n');
  expect(await long.get()).toMatchObject({ state: 'scheduled', failure: { reason: 'draining', retryable: true } });
  await long.cancel();
}, 60_000);
