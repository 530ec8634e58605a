import { setTimeout as pause } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import type { Finding } from '../../src/store/audit.js';
import type { Inspection } from '../../src/store/inspection.js';
import { isOver, type JobLook, lookAtJobs } from './look.js';

export interface WatcherOptions {
  redis: Redis;
  inspection: Inspection;
  pool: string;
  /** The jobs to look at. */
  ids: () => readonly string[];
}

const EVERY_MS = 200;
const JOBS_AT_ONCE = 400;
const BROKEN_KEPT = 50;

/**
 * Looks at one pool again and again: by `muster audit` at what must hold at every moment, and by itself at what one look alone cannot tell:
 * fences only grow, what is over stays as it is.
 */
export class Watcher {
  readonly broken: string[] = [];
  /** How often the pool was audited, and its jobs were compared. */
  readonly looks = { audits: 0, jobs: 0 };
  readonly #options: WatcherOptions;
  readonly #seen = new Map<string, JobLook>();
  /** Fence → job. */
  readonly #fences = new Map<number, string>();
  readonly #stop = new AbortController();
  #running: Promise<unknown> = Promise.resolve();
  #next = 0;

  constructor(options: WatcherOptions) {
    this.#options = options;
  }

  start(): void {
    // An audit that looks twice must not keep the other from looking.
    this.#running = Promise.all([this.#repeat(() => this.#audit()), this.#repeat(() => this.#compare(this.#some()))]);
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  /** Redis has lost writes, as it was meant to: jobs may be gone, or as they were. Fences that were seen are not to come again. */
  forget(): void {
    this.#seen.clear();
  }

  /** Once, at all of the pool and all jobs. Rejects when Redis does not answer. */
  async all(): Promise<Map<string, JobLook | undefined>> {
    const { inspection, pool, ids } = this.#options;
    this.#found(await inspection.audit(pool));
    const all = ids();
    const found = new Map<string, JobLook | undefined>();
    for (let i = 0; i < all.length; i += JOBS_AT_ONCE) {
      const part = all.slice(i, i + JOBS_AT_ONCE);
      for (const [j, job] of (await this.#compare(part)).entries()) found.set(part[j] ?? '', job);
    }
    return found;
  }

  async #repeat(look: () => Promise<unknown>): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      // Redis may be away: what it did meanwhile is seen by the next look.
      await look().catch(() => {});
      await pause(EVERY_MS, undefined, { signal }).catch(() => {});
    }
  }

  /** The newest always, and of the older a part in turn. */
  #some(): string[] {
    const ids = this.#options.ids();
    const newest = ids.slice(-JOBS_AT_ONCE / 2);
    const older = ids.slice(this.#next, this.#next + JOBS_AT_ONCE / 2);
    this.#next = older.length === 0 ? 0 : this.#next + older.length;
    return [...new Set([...older, ...newest])];
  }

  async #audit(): Promise<void> {
    const { inspection, pool, ids } = this.#options;
    this.#found(await inspection.auditLive(pool, ids().slice(-JOBS_AT_ONCE / 2)));
  }

  #found(findings: readonly Finding[]): void {
    this.looks.audits++;
    for (const { invariant, subject, what } of findings) this.#say(`${invariant} ${subject}: ${what}`);
  }

  async #compare(ids: readonly string[]): Promise<(JobLook | undefined)[]> {
    const { redis, pool } = this.#options;
    const jobs = await lookAtJobs(redis, pool, ids);
    this.looks.jobs++;
    ids.forEach((id, i) => {
      const job = jobs[i];
      if (job) this.#follows(id, job);
      else if (this.#seen.has(id)) this.#say(`I5 ${id} is gone; it was ${JSON.stringify(this.#seen.get(id))}`);
    });
    return jobs;
  }

  #follows(id: string, job: JobLook): void {
    const before = this.#seen.get(id);
    const was = JSON.stringify(before);
    const is = JSON.stringify(job);
    if (was === is) return;
    if (before && isOver(before)) this.#say(`I6 ${id} was over as ${was} and is ${is}`);
    if (before && job.fence < before.fence) this.#say(`I2 the fence of ${id} fell: ${was} and ${is}`);
    // An attempt that ran may prove to be none: nobody was reached, or told of it.
    const tried = before && before.attempt + before.handovers - (before.state === 'running' ? 1 : 0);
    if (tried !== undefined && job.attempt + job.handovers < tried) this.#say(`L2 ${id} forgot attempts: ${was} and ${is}`);
    const other = this.#fences.get(job.fence);
    if (job.fence > 0 && other !== undefined && other !== id) this.#say(`I2 ${id} has the fence of ${other}: ${is}`);
    if (job.fence > 0) this.#fences.set(job.fence, id);
    this.#seen.set(id, job);
  }

  #say(what: string): void {
    if (this.broken.length < BROKEN_KEPT && !this.broken.includes(what)) this.broken.push(what);
  }
}
