import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { ROOT } from './source.js';
import { until } from './until.js';

const LINES = 2_000;
/** A child must not outlive its parent, not even one killed with SIGKILL: its stdin closes then. */
const DIE_WITH_PARENT = `data:text/javascript,process.stdin.resume().on('close',()=>process.exit(9)).unref();`;

/** A process of a test: its lines are kept for the message when something fails. */
export class Child {
  readonly #process: ChildProcess;
  readonly lines: string[] = [];
  #exit: { code: number | null; signal: NodeJS.Signals | null } | undefined;

  constructor(
    readonly name: string,
    args: string[],
    env: Record<string, string> = {},
  ) {
    this.#process = spawn(process.execPath, ['--import', DIE_WITH_PARENT, ...args], {
      cwd: fileURLToPath(ROOT),
      env: { PATH: process.env.PATH, ...env },
      stdio: 'pipe',
    });
    let rest = '';
    const keep = (chunk: Buffer) => {
      const lines = (rest + chunk.toString()).split('\n');
      rest = lines.pop() ?? '';
      this.lines.push(...lines);
      if (this.lines.length > LINES) this.lines.splice(0, this.lines.length - LINES);
    };
    this.#process.stdout?.on('data', keep);
    this.#process.stderr?.on('data', keep);
    this.#process.stdin?.on('error', () => undefined);
    this.#process.once('exit', (code, signal) => {
      this.#exit = { code, signal };
    });
  }

  get pid(): number {
    return this.#process.pid ?? 0;
  }

  get running(): boolean {
    return this.#exit === undefined;
  }

  /** The first line of its log that is JSON and has these words as its message; fails when the process ends first. */
  async said(msg: string, timeoutMs = 30_000): Promise<Record<string, unknown>> {
    const look = () => {
      for (const line of this.lines) {
        if (!line.startsWith('{')) continue;
        const entry = JSON.parse(line) as Record<string, unknown>;
        if (entry['msg'] === msg) return { entry };
      }
      return this.#exit && { entry: undefined };
    };
    const { entry } = await until(look, { timeoutMs, what: `${this.name} to say "${msg}"` }).catch((error: Error) => {
      throw new Error(`${error.message}; it said:\n${this.tail()}`, { cause: error });
    });
    if (!entry) throw new Error(`${this.name} ended (${JSON.stringify(this.#exit)}) before it said "${msg}"; it said:\n${this.tail()}`);
    return entry;
  }

  /** A line for its stdin. */
  tell(line: string): void {
    this.#process.stdin?.write(`${line}\n`);
  }

  /** Nobody reads what it says from now on. */
  deafen(): void {
    this.#process.stdout?.destroy();
    this.#process.stderr?.destroy();
  }

  signal(name: NodeJS.Signals): void {
    this.#process.kill(name);
  }

  /** Its exit code once it ended, or the name of the signal. */
  async ended(timeoutMs = 30_000): Promise<number | string> {
    const exit = await until(() => this.#exit, { timeoutMs, what: `${this.name} to end` }).catch((error: Error) => {
      throw new Error(`${error.message}; it said:\n${this.tail()}`, { cause: error });
    });
    return exit.code ?? exit.signal ?? 'unknown';
  }

  tail(count = 30): string {
    return this.lines.slice(-count).join('\n');
  }

  async dispose(): Promise<void> {
    if (!this.running) return;
    this.#process.kill('SIGKILL');
    await this.ended();
  }
}

const inRoot = (path: string) => fileURLToPath(new URL(path, ROOT));
const withTsx = ['--import', 'tsx'];

function newest(folder: string): number {
  return Math.max(
    ...readdirSync(inRoot(folder), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => statSync(`${entry.parentPath}/${entry.name}`).mtimeMs),
  );
}

/** How the service is run: as built, when the build is younger than every source. */
export function mainArgs(): string[] {
  const built = inRoot('dist/main.js');
  const current = existsSync(built) && newest('dist') > newest('src');
  return current ? [built] : [...withTsx, inRoot('src/main.ts')];
}

export function scriptArgs(path: string): string[] {
  return [...withTsx, inRoot(path)];
}
