import { setTimeout as pause } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import { isOver, type JobLook, look } from './look.js';

export interface WatcherOptions {
  redis: Redis;
  pool: string;
  /** The jobs to look at. */
  ids: () => readonly string[];
}

const EVERY_MS = 200;
/** A free worker beside a waiting job for so long is more than a script that says `more`. */
const IDLE_MS = 1_000;
const JOBS_AT_ONCE = 400;
const BROKEN_KEPT = 50;

/** Looks at one pool again and again, and remembers what it saw: fences only grow, what is over stays as it is. */
export class Watcher {
  readonly broken: string[] = [];
  looks = 0;
  readonly #options: WatcherOptions;
  readonly #seen = new Map<string, JobLook>();
  /** Fence → job. */
  readonly #fences = new Map<number, string>();
  readonly #stop = new AbortController();
  #running: Promise<void> = Promise.resolve();
  #idle = { pair: '', since: 0 };
  #next = 0;

  constructor(options: WatcherOptions) {
    this.#options = options;
  }

  start(): void {
    this.#running = this.#loop();
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  /** Once, at all jobs. Rejects when Redis does not answer. */
  async all(): Promise<Map<string, JobLook | undefined>> {
    const ids = this.#options.ids();
    const found = new Map<string, JobLook | undefined>();
    for (let i = 0; i === 0 || i < ids.length; i += JOBS_AT_ONCE) {
      const part = ids.slice(i, i + JOBS_AT_ONCE);
      for (const [j, job] of (await this.#look(part)).entries()) found.set(part[j] ?? '', job);
    }
    return found;
  }

  async #loop(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      const ids = this.#options.ids();
      // The newest always, and of the older a part in turn.
      const newest = ids.slice(-JOBS_AT_ONCE / 2);
      const older = ids.slice(this.#next, this.#next + JOBS_AT_ONCE / 2);
      this.#next = older.length === 0 ? 0 : this.#next + older.length;
      // Redis may be away: what it did meanwhile is seen by the next look.
      await this.#look([...new Set([...older, ...newest])]).catch(() => {});
      await pause(EVERY_MS, undefined, { signal: this.#stop.signal }).catch(() => {});
    }
  }

  async #look(ids: readonly string[]): Promise<(JobLook | undefined)[]> {
    const { redis, pool } = this.#options;
    const { broken, idle, jobs } = await look(redis, pool, ids);
    this.looks++;
    for (const what of broken) this.#say(what);
    this.#conserving(idle);
    ids.forEach((id, i) => {
      const job = jobs[i];
      if (job) this.#compare(id, job);
      else if (this.#seen.has(id)) this.#say(`I5 ${id} is gone; it was ${JSON.stringify(this.#seen.get(id))}`);
    });
    return jobs;
  }

  #conserving(pair: string): void {
    const now = performance.now();
    if (pair === '' || pair !== this.#idle.pair) this.#idle = { pair, since: now };
    else if (now - this.#idle.since > IDLE_MS) {
      this.#say(`I9 for ${Math.round(now - this.#idle.since)} ms a job waited beside a free worker: ${pair}`);
      this.#idle.since = now;
    }
  }

  #compare(id: string, job: JobLook): void {
    const before = this.#seen.get(id);
    const was = JSON.stringify(before);
    const is = JSON.stringify(job);
    if (was === is) return;
    if (before && isOver(before)) this.#say(`I6 ${id} was over as ${was} and is ${is}`);
    if (before && job.fence < before.fence) this.#say(`I2 the fence of ${id} fell: ${was} and ${is}`);
    if (before && job.attempt + job.handovers < before.attempt + before.handovers) this.#say(`L2 ${id} forgot attempts: ${was} and ${is}`);
    const other = this.#fences.get(job.fence);
    if (job.fence > 0 && other !== undefined && other !== id) this.#say(`I2 ${id} has the fence of ${other}: ${is}`);
    if (job.fence > 0) this.#fences.set(job.fence, id);
    this.#seen.set(id, job);
  }

  #say(what: string): void {
    if (this.broken.length < BROKEN_KEPT && !this.broken.includes(what)) this.broken.push(what);
  }
}
