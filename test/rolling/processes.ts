import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import { join } from 'node:path';

/** What the drill starts. Nothing of it outlives the drill, however that ends. */
export interface Started {
  /** The last that it wrote on either stream. */
  output(): string;
  running(): boolean;
  signal(name: NodeJS.Signals): void;
  /** Its exit code, or the signal that ended it. */
  ended: Promise<number | NodeJS.Signals>;
  /** SIGTERM, SIGKILL after 10 s; resolves when it is gone. */
  stop(): Promise<void>;
}

const LEASH = new URL('../../bench/processes/leash.mjs', import.meta.url).href;
const OUTPUT_CHARS = 8_192;
const STOP_MS = 10_000;

/** Its stdin is a pipe from us. When we are gone, or close it, the program is told to end. */
const WATCHED = `
exec 4<&0
"$@" </dev/null 4<&- & program=$!
{ read -r _ <&4; kill -TERM "$program"; } & watcher=$!
wait "$program"; code=$?
kill "$watcher" 2>/dev/null
exit "$code"
`;

export class Processes {
  readonly #folder: string;
  readonly #children = new Set<ChildProcess>();
  readonly #killAll = () => {
    for (const child of this.#children) child.kill('SIGKILL');
  };

  /** `folder`: where each one's output goes, as `<name>.log`. */
  constructor(folder: string) {
    this.#folder = folder;
    process.once('exit', this.#killAll);
  }

  /** A Node program. It ends when its channel to us closes. */
  node(name: string, args: string[], env: Record<string, string> = {}): Started {
    const child = this.#spawn(name, process.execPath, ['--import', LEASH, ...args], env, ['ignore', 'pipe', 'pipe', 'ipc']);
    return this.#started(child, (signal) => void child.kill(signal));
  }

  /** Any program that ends in order by SIGTERM; no other signal reaches it. */
  program(name: string, command: string, args: string[], env: Record<string, string> = {}): Started {
    const child = this.#spawn(name, '/bin/sh', ['-c', WATCHED, name, command, ...args], env, ['pipe', 'pipe', 'pipe']);
    child.stdin?.on('error', () => {});
    return this.#started(child, () => child.stdin?.end());
  }

  /** Ends what still runs. */
  async stopAll(stops: Iterable<Started>): Promise<void> {
    await Promise.all([...stops].map((started) => started.stop()));
    process.off('exit', this.#killAll);
  }

  #spawn(name: string, command: string, args: string[], env: Record<string, string>, stdio: StdioOptions): ChildProcess {
    const outside = Object.fromEntries(Object.entries(process.env).filter(([key]) => !/^(MUSTER_|VITEST|NODE_OPTIONS)/.test(key)));
    // A session of its own: Ctrl-C at a terminal reaches the drill alone.
    const child = spawn(command, args, { stdio, env: { ...outside, ...env }, detached: true });
    this.#children.add(child);
    child.once('close', () => this.#children.delete(child));
    const file = createWriteStream(join(this.#folder, `${name}.log`), { flags: 'a' });
    for (const stream of [child.stdout, child.stderr]) stream?.on('data', (chunk: Buffer) => file.write(chunk));
    child.once('close', () => file.end());
    return child;
  }

  #started(child: ChildProcess, signal: (name: NodeJS.Signals) => void): Started {
    let tail = '';
    const keep = (chunk: Buffer | string) => {
      tail = (tail + chunk.toString()).slice(-OUTPUT_CHARS);
    };
    for (const stream of [child.stdout, child.stderr]) stream?.on('data', keep);
    child.on('error', ({ message }) => keep(message));
    const ended = new Promise<number | NodeJS.Signals>((resolve) => child.once('close', (code, by) => resolve(by ?? code ?? 1)));
    const running = () => child.exitCode === null && child.signalCode === null && child.pid !== undefined;
    const stop = async () => {
      if (running()) signal('SIGTERM');
      const late = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
      await ended;
      clearTimeout(late);
    };
    return { output: () => tail, running, signal, ended, stop };
  }
}
