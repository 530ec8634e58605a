import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';

/** A process of the demo: another run of this very program, or one of its own entries. It ends with the demo (see leash.ts). */
export interface ChildOptions {
  /** For people. */
  name: string;
  /** What follows `node` and its own options. */
  args: string[];
  env?: Record<string, string>;
  /** Told when it ends without having been told to. */
  onLost: (error: Error) => void;
}

/** How long it may take to end in order. */
const STOP_MS = 5_000;
const OUTPUT_CHARS = 8_192;

const running = (module: URL) => (import.meta.url.endsWith('.ts') ? new URL(module.href.replace(/\.js$/, '.ts')) : module);
/** The modules that children begin with, be they built or run as TypeScript. */
export const LEASH = running(new URL('./leash.js', import.meta.url));
export const WORKER = running(new URL('./worker.js', import.meta.url));

export class Child {
  readonly name: string;
  readonly #child: ChildProcess;
  readonly #closed: Promise<unknown>;
  #lines = '';
  #told = false;

  constructor({ name, args, env, onLost }: ChildOptions) {
    this.name = name;
    // A session of its own: Ctrl-C at a terminal reaches the demo alone, and it stops everything in its own order.
    const child = spawn(process.execPath, [...process.execArgv, ...args], {
      stdio: ['pipe', 'pipe', 'pipe'],
      detached: true,
      env: { ...outsideEnv(), ...env },
    });
    this.#child = child;
    const keep = (chunk: Buffer | string) => {
      this.#lines = (this.#lines + chunk.toString()).slice(-OUTPUT_CHARS);
    };
    for (const stream of [child.stdout, child.stderr]) stream.on('data', keep);
    // Its end of the pipe goes when it does; that is told by 'close'.
    child.stdin.on('error', () => {});
    child.on('error', (error) => keep(`${error.message}\n`));
    this.#closed = once(child, 'close').catch(() => undefined);
    child.once('close', (code, signal) => {
      if (!this.#told) onLost(new Error(`${name} ended by itself (${signal ?? code}); it wrote:\n${this.#lines}`));
    });
  }

  get running(): boolean {
    return this.#child.pid !== undefined && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** The last that it wrote. */
  get output(): string {
    return this.#lines;
  }

  /** SIGKILL; resolves when it is gone. */
  async kill(): Promise<void> {
    this.#told = true;
    if (this.running) this.#child.kill('SIGKILL');
    await this.#closed;
  }

  /** SIGTERM, and SIGKILL after 5 s; resolves when it is gone. Idempotent. */
  async stop(): Promise<void> {
    this.#told = true;
    if (this.running) this.#child.kill('SIGTERM');
    const late = setTimeout(() => this.#child.kill('SIGKILL'), STOP_MS);
    await this.#closed;
    clearTimeout(late);
  }
}

/** Settings of some other replica, left in the shell, are not for these. */
function outsideEnv(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('MUSTER_')));
}
