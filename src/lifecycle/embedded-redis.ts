import { type ChildProcess, spawn } from 'node:child_process';
import { accessSync, constants, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import type { Readable } from 'node:stream';
import { type Clock, systemClock } from '../domain/clock.js';
import { freePort } from './free-port.js';

/**
 * A real Redis as a child process, for the demo and the tests: `redis-server` or `valkey-server` from PATH, or what REDIS_SERVER names, on the loopback.
 *
 * It must not outlive its parent, not even one killed with SIGKILL. So it runs under a small `sh` whose stdin is a pipe from the
 * parent: when the parent is gone the kernel closes the pipe, `read` returns, and the shell kills the server. Both are a session of
 * their own, so that Ctrl-C at a terminal reaches the parent alone, and it can stop in its own order.
 */
export interface EmbeddedRedisOptions {
  /** Where the server keeps its files; it stays afterwards. Without it: a temporary folder that `stop()` removes. */
  dir?: string;
  /** Without it: a free one. */
  port?: number;
  appendonly?: boolean;
  appendfsync?: 'everysec' | 'always';
  /** As Redis writes it: `64mb`. */
  maxmemory?: string;
  /** A configuration file, read before all else; the server may write to it. */
  configFile?: string;
  /** More arguments of the server: `['--loglevel', 'debug']`. */
  extraArgs?: string[];
  /** More of its environment. */
  env?: Record<string, string>;
  clock?: Clock;
}

export interface EmbeddedRedis {
  readonly url: string;
  readonly port: number;
  readonly dir: string;
  /** The server's own process id; another one after `restart()`. */
  readonly pid: number;
  /** The last lines that the server wrote. */
  output(): string;
  /** Ends the server in its orderly way (it writes its append-only file out), and removes a temporary folder. Idempotent. */
  stop(): Promise<void>;
  /** SIGKILL, at once. */
  kill(): void;
  /** SIGSTOP: connections stay open and nothing answers. */
  pause(): void;
  resume(): void;
  /** Starts it again on the same port and the same files; a server that still runs is ended in its orderly way first. */
  restart(): Promise<void>;
}

const READY_MS = 10_000;
const STOP_MS = 5_000;
const POLL_MS = 20;
const PORT_TRIES = 5;
const OUTPUT_CHARS = 16_384;

/** `$1` is a folder to remove when the parent is gone ('' for none), the rest is the server's command line. Its pid goes out on fd 3. */
const SUPERVISOR = `
clean=$1; shift; exec 4<&0
"$@" </dev/null 3>&- 4<&- & server=$!
echo "$server" >&3; exec 3>&-
{ read -r _ <&4; kill -KILL "$server"; [ -z "$clean" ] || rm -rf "$clean"; } & watcher=$!
wait "$server"; code=$?
kill "$watcher" 2>/dev/null
exit "$code"
`;

/** The server binary that is named by its path, or one on PATH. Throws with the one command that installs it. */
export function findRedisBinary(path: string = process.env.PATH ?? '', named: string = process.env['REDIS_SERVER'] ?? ''): string {
  if (named !== '') {
    if (!isExecutable(named)) throw new Error(`REDIS_SERVER: ${named} is no program that may be run`);
    return named;
  }
  for (const name of ['redis-server', 'valkey-server']) {
    for (const folder of path.split(delimiter)) {
      if (folder !== '' && isExecutable(join(folder, name))) return join(folder, name);
    }
  }
  const install = process.platform === 'darwin' ? 'brew install redis' : 'sudo apt-get install -y redis-server';
  throw new Error(`neither redis-server nor valkey-server is on PATH; install one: ${install}`);
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Starts a server and resolves when it answers. Rejects with its last output when it does not within 10 s. */
export async function startEmbeddedRedis(options: EmbeddedRedisOptions = {}): Promise<EmbeddedRedis> {
  const binary = findRedisBinary();
  const temporary = options.dir === undefined;
  const dir = options.dir ?? mkdtempSync(join(tmpdir(), 'muster-redis-'));
  mkdirSync(dir, { recursive: true });
  for (let tries = 1; ; tries++) {
    const port = options.port ?? (await freePort());
    const server = new Server(binary, port, dir, temporary, options);
    try {
      await server.start();
      return server;
    } catch (error) {
      // Between our look for a free port and the server's own bind, somebody else may have taken it.
      const taken = /Address already in use/i.test(server.output());
      if (taken && options.port === undefined && tries < PORT_TRIES) continue;
      if (temporary) rmSync(dir, { recursive: true, force: true });
      throw error;
    }
  }
}

class Server implements EmbeddedRedis {
  readonly url: string;
  private readonly clock: Clock;
  private child: ChildProcess | undefined;
  private serverPid = 0;
  private lines = '';

  constructor(
    private readonly binary: string,
    readonly port: number,
    readonly dir: string,
    private readonly temporary: boolean,
    private readonly options: EmbeddedRedisOptions,
  ) {
    this.url = `redis://127.0.0.1:${port}`;
    this.clock = options.clock ?? systemClock;
  }

  get pid(): number {
    return this.serverPid;
  }

  output(): string {
    return this.lines;
  }

  async start(): Promise<void> {
    this.lines = '';
    const child = spawn('/bin/sh', ['-c', SUPERVISOR, 'muster-redis', this.temporary ? this.dir : '', this.binary, ...this.args()], {
      stdio: ['pipe', 'pipe', 'pipe', 'pipe'],
      detached: true,
      env: { ...process.env, ...this.options.env },
    });
    this.child = child;
    const keep = (chunk: Buffer) => {
      this.lines = (this.lines + chunk.toString()).slice(-OUTPUT_CHARS);
    };
    child.stdout?.on('data', keep);
    child.stderr?.on('data', keep);
    child.once('error', (error) => keep(Buffer.from(`${error.message}\n`)));
    child.once('close', () => {
      if (this.child === child) this.child = undefined;
    });
    try {
      this.serverPid = await readPid(child.stdio[3] as Readable);
      await this.untilReady(child);
    } catch (error) {
      this.kill();
      await this.untilClosed();
      throw error;
    }
    // From here on it does not keep its parent alive: the parent's end is its end.
    hold(child, false);
  }

  async stop(): Promise<void> {
    await this.end();
    if (this.temporary) rmSync(this.dir, { recursive: true, force: true });
  }

  kill(): void {
    this.signal('SIGKILL');
  }

  pause(): void {
    this.signal('SIGSTOP');
  }

  resume(): void {
    this.signal('SIGCONT');
  }

  async restart(): Promise<void> {
    await this.end();
    await this.start();
  }

  private async end(): Promise<void> {
    const { child } = this;
    if (child === undefined) return;
    hold(child, true);
    this.resume();
    this.signal('SIGTERM');
    if (!(await this.untilClosed())) {
      this.kill();
      await this.untilClosed();
    }
  }

  private signal(name: NodeJS.Signals): void {
    if (this.child === undefined || this.serverPid === 0) return;
    try {
      process.kill(this.serverPid, name);
    } catch {
      // It is gone already: what the caller wanted, or what it will see.
    }
  }

  private args(): string[] {
    const { appendonly, appendfsync, maxmemory, configFile, extraArgs } = this.options;
    const args = configFile === undefined ? [] : [configFile];
    args.push('--port', String(this.port), '--bind', '127.0.0.1', '--protected-mode', 'yes', '--dir', this.dir, '--save', '');
    args.push('--daemonize', 'no', '--maxmemory-policy', 'noeviction', '--appendonly', appendonly === true ? 'yes' : 'no');
    if (appendfsync !== undefined) args.push('--appendfsync', appendfsync);
    if (maxmemory !== undefined) args.push('--maxmemory', maxmemory);
    return [...args, ...(extraArgs ?? [])];
  }

  private async untilReady(child: ChildProcess): Promise<void> {
    const end = this.clock.monotonic() + READY_MS;
    for (;;) {
      const answer = await ask(this.port);
      // Another server may have this port: ours tells its own process id, or that it wants a password.
      if (answer.includes(`process_id:${this.serverPid}\r\n`) || answer.startsWith('-NOAUTH')) return;
      const gone = this.child !== child;
      if (gone || this.clock.monotonic() > end) {
        const what = gone ? 'ended at once' : `did not answer within ${READY_MS} ms`;
        throw new Error(`${this.binary} on port ${this.port} ${what}; it wrote:\n${this.lines}`);
      }
      await this.clock.sleep(POLL_MS);
    }
  }

  /** Did the server end within STOP_MS? */
  private async untilClosed(): Promise<boolean> {
    const end = this.clock.monotonic() + STOP_MS;
    // The clock's sleeps keep no process alive, and once the child is gone nothing else may: ours would end before the folder is removed.
    const alive = setInterval(() => {}, STOP_MS);
    while (this.child !== undefined && this.clock.monotonic() < end) await this.clock.sleep(POLL_MS);
    clearInterval(alive);
    return this.child === undefined;
  }
}

/** Whether the child and its pipes keep the event loop going. */
function hold(child: ChildProcess, held: boolean): void {
  for (const handle of [child, ...child.stdio] as (Partial<Pick<ChildProcess, 'ref' | 'unref'>> | null)[]) {
    if (held) handle?.ref?.();
    else handle?.unref?.();
  }
}

async function readPid(pipe: Readable): Promise<number> {
  let text = '';
  for await (const chunk of pipe) text += String(chunk);
  const pid = Number.parseInt(text, 10);
  if (!(pid > 0)) throw new Error('the shell that runs the Redis server did not start');
  return pid;
}

/** What `INFO server` answers there; '' for nothing within a second. Raw RESP: this folder knows no Redis client. */
function ask(port: number): Promise<string> {
  return new Promise((resolve) => {
    let answer = '';
    const socket = connect({ port, host: '127.0.0.1' });
    const end = () => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(1000, end);
    socket.once('error', end);
    socket.once('close', end);
    socket.on('data', (chunk) => {
      answer += chunk.toString();
      if (answer.startsWith('-') || answer.includes('process_id:')) end();
    });
    socket.write('INFO server\r\n');
  });
}
