import { type ChildProcess, spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';

const READY_MS = 60_000;
const END_MS = 5_000;
const TAIL_CHARS = 4_096;

/**
 * A program that is not ours knows nothing of the leash, so a shell of a session of its own waits for the end of the pipe on fd 3, and then
 * kills the program's whole process group. `exec` lets the program have the pid that we know.
 */
const LEASHED = `
setsid sh -c 'read -r _ <&3; kill -KILL "-$1"' leash "$$" </dev/null >/dev/null 2>&1 &
exec 3<&-
exec "$@"
`;

export interface Command {
  /** Its role, as the figures name it. Unique among what runs. */
  name: string;
  file: string;
  args: string[];
  env?: Record<string, string>;
  cwd?: string;
  /** What it writes, on stdout or stderr, once it can be used. */
  ready: RegExp;
}

/** A program in another language, in a process group of its own. Answers a line on stdin with a line on stdout, where it takes any. */
export class Foreign {
  readonly name: string;
  /** By name: the program, and what it has started until it was ready. */
  readonly pids = new Map<string, number>();
  /** What `ready` found. */
  ready: RegExpExecArray | undefined;
  readonly #child: ChildProcess;
  #tail = '';
  #answer: ((line: string) => void) | undefined;
  #ended = false;

  /** Rejects with what it wrote when it is not ready within a minute, or ends. `died`: it ended by itself later on. */
  static async start(command: Command, died: (foreign: Foreign, tail: string) => void): Promise<Foreign> {
    const foreign = new Foreign(command);
    try {
      await foreign.#untilReady(command.ready);
    } catch (error) {
      foreign.kill();
      throw error;
    }
    foreign.#child.once('exit', () => {
      if (!foreign.#ended) died(foreign, foreign.#tail);
    });
    return foreign;
  }

  private constructor({ name, file, args, env, cwd }: Command) {
    this.name = name;
    const child = spawn('/bin/sh', ['-c', LEASHED, 'leash', file, ...args], {
      stdio: ['pipe', 'pipe', 'pipe', 'pipe'],
      detached: true,
      env: { ...process.env, ...env },
      cwd,
    });
    this.#child = child;
    const keep = (chunk: Buffer) => {
      this.#tail = (this.#tail + chunk.toString()).slice(-TAIL_CHARS);
    };
    child.stdout?.on('data', keep);
    child.stderr?.on('data', keep);
    child.stdin?.on('error', () => undefined);
    child.once('exit', () => child.stdio[3]?.destroy());
    if (child.stdout) createInterface({ input: child.stdout }).on('line', (line) => this.#answer?.(line));
  }

  /** One at a time. */
  ask(line: string): Promise<string> {
    return new Promise((resolve) => {
      this.#answer = resolve;
      this.#child.stdin?.write(`${line}\n`);
    });
  }

  /** It takes no CPU from others until `resume`, whatever it does when it has nothing to do. */
  pause(): void {
    this.#signal('SIGSTOP');
  }

  resume(): void {
    this.#signal('SIGCONT');
  }

  kill(): void {
    this.#ended = true;
    this.#signal('SIGKILL');
  }

  async end(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    this.#ended = true;
    const exited = new Promise((resolve) => this.#child.once('exit', resolve));
    this.resume();
    this.#signal('SIGTERM');
    const timer = setTimeout(() => this.#signal('SIGKILL'), END_MS);
    await exited;
    clearTimeout(timer);
  }

  async #untilReady(ready: RegExp): Promise<void> {
    const child = this.#child;
    await new Promise<void>((resolve, reject) => {
      const fail = (what: string) => reject(new Error(`${this.name} ${what}:\n${this.#tail}`));
      const timer = setTimeout(() => fail(`was not ready within ${READY_MS} ms`), READY_MS);
      const look = () => {
        this.ready = ready.exec(this.#tail) ?? undefined;
        if (this.ready === undefined) return;
        clearTimeout(timer);
        child.stdout?.off('data', look);
        child.stderr?.off('data', look);
        resolve();
      };
      child.stdout?.on('data', look);
      child.stderr?.on('data', look);
      child.once('exit', (code, signal) => {
        clearTimeout(timer);
        fail(`ended (${signal ?? code})`);
      });
    });
    this.pids.set(this.name, child.pid ?? 0);
    descendants(child.pid ?? 0).forEach(({ pid, program }, i) => {
      this.pids.set(`${this.name}: ${program}${i === 0 ? '' : ` ${i + 1}`}`, pid);
    });
  }

  #signal(name: NodeJS.Signals): void {
    try {
      if (this.#child.pid !== undefined) process.kill(-this.#child.pid, name);
    } catch {
      // It is gone already.
    }
  }
}

/** What runs below that process, but for the leash. */
function descendants(root: number): { pid: number; program: string }[] {
  const children = new Map<number, { pid: number; program: string }[]>();
  for (const entry of readdirSync('/proc')) {
    const found = /^\d+ \((.*)\) \S (\d+)/s.exec(statOf(entry));
    if (found === null) continue;
    const [, program = '', parent] = found;
    children.set(Number(parent), [...(children.get(Number(parent)) ?? []), { pid: Number(entry), program }]);
  }
  const below = (pid: number): { pid: number; program: string }[] => (children.get(pid) ?? []).flatMap((child) => [child, ...below(child.pid)]);
  return below(root).filter(({ program }) => !['sh', 'setsid'].includes(program));
}

function statOf(entry: string): string {
  if (!/^\d+$/.test(entry)) return '';
  try {
    return readFileSync(`/proc/${entry}/stat`, 'utf8');
  } catch {
    return '';
  }
}
