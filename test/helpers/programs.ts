import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll } from 'vitest';
import { ROOT } from './source.js';
import { until } from './until.js';

/** Programs that tests run: replicas, and workers of other languages. */
export interface Program {
  pid: number;
  /** All that it wrote, on both streams. */
  output(): string;
  /** The first group of the pattern, once it was written. */
  written(pattern: RegExp): Promise<string>;
  exited(): boolean;
  signal(name: NodeJS.Signals): void;
  /** Resolves with its exit code (null: by a signal) once it has ended. */
  end(): Promise<number | null>;
}

/** The folder of the repository. */
export const FOLDER: string = fileURLToPath(ROOT);

const started: ChildProcess[] = [];

export function launch(command: string, args: string[], env: Record<string, string> = {}): Program {
  const child = spawn(command, args, { cwd: FOLDER, env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  started.push(child);
  let output = '';
  const keep = (text: string) => {
    output += text;
  };
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => keep(chunk.toString()));
  child.on('error', ({ message }) => keep(message));
  const exited = () => child.exitCode !== null || child.signalCode !== null;
  const what = `${command} ${args.join(' ')}`;
  return {
    pid: child.pid ?? 0,
    output: () => output,
    written: (pattern) =>
      until(
        () => {
          const found = pattern.exec(output);
          if (!found && exited()) throw new Error(`${what} ended:\n${output}`);
          return found?.[1] ?? found?.[0];
        },
        { timeoutMs: 30_000, what: `${pattern} of ${what}` },
      ).catch((error: unknown) => {
        throw new Error(`${String(error)}\n${output}`);
      }),
    exited,
    signal: (name) => void child.kill(name),
    end: async () => {
      if (!exited()) await once(child, 'exit');
      return child.exitCode;
    },
  };
}

/** One replica as a process of its own on a free port; resolves with its target once it is ready. */
export async function launchReplica(redisUrl: string, env: Record<string, string> = {}): Promise<{ target: string; program: Program }> {
  const settings = { MUSTER_INSECURE: 'true', MUSTER_REDIS_URL: redisUrl, MUSTER_GRPC_ADDR: '127.0.0.1:0', MUSTER_HTTP_ADDR: '', ...env };
  const program = launch(process.execPath, ['--import', 'tsx', 'src/main.ts', 'serve'], settings);
  return { target: `127.0.0.1:${await program.written(/"grpcPort":(\d+)/)}`, program };
}

/** Does that command work here? */
export function works(command: string, args: string[], cwd = FOLDER): boolean {
  return spawnSync(command, args, { cwd, stdio: 'ignore', timeout: 120_000 }).status === 0;
}

/** Runs it to its end; throws with what it wrote when it fails. */
export function build(command: string, args: string[], cwd: string, env: Record<string, string> = {}): void {
  const ran = spawnSync(command, args, { cwd, env: { ...process.env, ...env }, encoding: 'utf8', timeout: 600_000 });
  if (ran.status !== 0) throw new Error(`${command} ${args.join(' ')}: ${ran.error?.message ?? ''}${ran.stdout}${ran.stderr}`);
}

/** A folder for what is slow to make; it outlives the run. Below TEST_CACHE, if that is set. */
export function cached(name: string): string {
  const folder = join(process.env['TEST_CACHE'] ?? join(FOLDER, 'node_modules', '.cache'), 'muster-tests', name);
  mkdirSync(folder, { recursive: true });
  return folder;
}

afterAll(async () => {
  for (const child of started.splice(0)) {
    if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) continue;
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
});
