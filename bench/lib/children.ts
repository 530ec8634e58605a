import { type ChildProcess, fork } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { type EmbeddedRedis, startEmbeddedRedis } from '../../src/lifecycle/embedded-redis.js';
import { type Command, Foreign } from './foreign.js';

const READY_MS = 30_000;
const END_MS = 5_000;
const TAIL_CHARS = 4_096;
const LEASH = new URL('../processes/leash.mjs', import.meta.url).href;

export interface Program {
  /** Its role, as the figures name it. Unique among what runs. */
  name: string;
  module: URL | string;
  args?: string[];
  env?: Record<string, string>;
  /** TypeScript, run by tsx. */
  typescript: boolean;
  /** What it writes on stdout once it can be used; undefined: it sends a message. */
  readyWord?: RegExp;
}

/**
 * All processes that the bench starts. None outlives it: each ends when its channel to us closes (see processes/leash.mjs), however we
 * ended; Redis by its own means.
 */
export class Children {
  readonly #children = new Map<string, ChildProcess>();
  readonly #foreign: Foreign[] = [];
  readonly #redis = new Map<string, EmbeddedRedis>();
  readonly #ended = new Set<ChildProcess>();
  readonly #profile: string | undefined;

  constructor(profile: string | undefined) {
    this.#profile = profile;
    process.once('exit', () => {
      for (const child of this.#children.values()) child.kill('SIGKILL');
      for (const foreign of this.#foreign) foreign.kill();
      for (const redis of this.#redis.values()) redis.kill();
    });
  }

  /** Process ids by name, ours among them as `client`. */
  pids(): Map<string, number> {
    const pids = new Map([['client', process.pid]]);
    for (const [name, { pid }] of this.#children) if (pid !== undefined) pids.set(name, pid);
    for (const foreign of this.#foreign) for (const [name, pid] of foreign.pids) pids.set(name, pid);
    for (const [name, { pid }] of this.#redis) pids.set(name, pid);
    return pids;
  }

  /** A Redis as every subject gets it: AOF, everysec. Rewrites are off: they would fall into one round and not into another. */
  async redis(name = this.#redis.size === 0 ? 'redis' : `redis ${this.#redis.size + 1}`): Promise<EmbeddedRedis> {
    const redis = await startEmbeddedRedis({ appendonly: true, appendfsync: 'everysec', extraArgs: ['--auto-aof-rewrite-percentage', '0'] });
    this.#redis.set(name, redis);
    return redis;
  }

  /** Starts it. Resolves with its first message (or with what `readyWord` found) once it is ready. */
  async start<T>(program: Program): Promise<T> {
    const { name, module, args = [], env = {}, typescript, readyWord } = program;
    const execArgv = ['--import', LEASH, ...(typescript ? ['--import', 'tsx'] : [])];
    if (this.#profile !== undefined) {
      mkdirSync(this.#profile, { recursive: true });
      execArgv.push('--cpu-prof', `--cpu-prof-dir=${this.#profile}`, `--cpu-prof-name=${name.replaceAll(/\W+/g, '-')}.cpuprofile`);
    }
    const path = typeof module === 'string' ? module : fileURLToPath(module);
    const child = fork(path, args, { execArgv, env: { ...ownEnv(), ...env }, stdio: ['ignore', 'pipe', 'pipe', 'ipc'] });
    this.#children.set(name, child);
    let tail = '';
    const keep = (chunk: Buffer) => {
      tail = (tail + chunk.toString()).slice(-TAIL_CHARS);
    };
    child.stdout?.on('data', keep);
    child.stderr?.on('data', keep);
    child.once('exit', (code, signal) => {
      if (this.#ended.has(child)) return;
      process.stderr.write(`bench: ${name} ended by itself (${signal ?? code}):\n${tail}\n`);
      process.exit(1);
    });
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${name} was not ready within ${READY_MS} ms:\n${tail}`)), READY_MS);
      const ready = (value: unknown) => {
        clearTimeout(timer);
        resolve(value as T);
      };
      if (readyWord === undefined) child.once('message', ready);
      else {
        child.stdout?.on('data', () => {
          const found = readyWord.exec(tail);
          if (found) ready(found);
        });
      }
    });
  }

  /** Starts a program in another language. Rejects with what it wrote when that did not work. */
  async run(command: Command): Promise<Foreign> {
    const foreign = await Foreign.start(command, ({ name }, tail) => {
      process.stderr.write(`bench: ${name} ended by itself:\n${tail}\n`);
      process.exit(1);
    });
    this.#foreign.push(foreign);
    return foreign;
  }

  /** How many programs in other languages run. */
  get foreign(): number {
    return this.#foreign.length;
  }

  /** Ends all of those but the first so many. The last first: a submitter before its worker, a worker before its broker. */
  async endForeign(keep: number): Promise<void> {
    for (const foreign of this.#foreign.splice(keep).reverse()) await foreign.end();
  }

  /** Sends that to a child that answers every message with one. One at a time. */
  ask<T>(name: string, message: object): Promise<T> {
    const child = this.#children.get(name);
    if (child === undefined) throw new Error(`there is no ${name}`);
    return new Promise((resolve) => {
      child.once('message', (answer) => resolve(answer as T));
      child.send(message);
    });
  }

  /** SIGKILL. Resolves when it is gone. */
  async kill(name: string): Promise<void> {
    const child = this.#children.get(name);
    if (child === undefined) throw new Error(`there is no ${name}`);
    this.#ended.add(child);
    this.#children.delete(name);
    const exited = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await exited;
  }

  /** Ends all of them, Redis last. */
  async endAll(): Promise<void> {
    await this.endForeign(0);
    await Promise.all([...this.#children.values()].map((child) => this.#end(child)));
    this.#children.clear();
    await Promise.all([...this.#redis.values()].map((redis) => redis.stop()));
    this.#redis.clear();
  }

  async #end(child: ChildProcess): Promise<void> {
    this.#ended.add(child);
    if (child.exitCode !== null || child.signalCode !== null) return;
    const timer = setTimeout(() => child.kill('SIGKILL'), END_MS);
    const exited = new Promise((resolve) => child.once('exit', resolve));
    // The leash ends it by process.exit, so that a profile is written.
    child.disconnect();
    await exited;
    clearTimeout(timer);
  }
}

/** Settings of the person who runs the bench are none of the replica that it measures. */
function ownEnv(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('MUSTER_') && name !== 'NODE_OPTIONS'));
}
