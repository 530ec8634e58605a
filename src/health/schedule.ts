import { DelayedError, type Job, Queue, Worker } from 'bullmq';
import type { Clock } from '../domain/clock.js';
import { toError, unavailable } from '../domain/errors.js';
import { failpoint } from '../domain/failpoints.js';
import { redisErrorRule, redisReplyError } from '../domain/redis-errors.js';
import { redisRefusal } from '../domain/redis-refusal.js';
import { redisUser } from '../domain/redis-url.js';
import type { CheckQueue, CheckTarget } from '../fleet/ports.js';
import { type BullConnections, bullConnections, type RedisAccess } from '../store/redis.js';
import { runChecks } from './checks.js';

export interface HealthScheduleOptions {
  access: RedisAccess;
  /** Keys of BullMQ stand under it. */
  prefix: string;
  replica: string;
  clock: Clock;
  intervalMs: number;
  /** A check that no other replica took by then is done by the home itself. */
  takeMs: number;
  concurrency: number;
  /** Once a sweep in the whole cluster: hints every replica to look at its links. */
  sweep: () => Promise<void>;
  /** Now and then in the whole cluster: workers without a home whose check was lost. */
  searchOrphans: () => Promise<void>;
  /** Is there no other replica that could take a check? */
  alone: () => Promise<boolean>;
  check: (target: CheckTarget) => Promise<unknown>;
  onError: (error: unknown) => void;
}

interface CheckJob {
  targets: CheckTarget[];
  /** ms since 1970. */
  askedAt: number;
}

const QUEUE = 'health';
const SWEEP = 'sweep';
const CHECK = 'check';
/** How long a home waits before it looks again whether another replica took its check. */
const YIELD_MS = 200;
const UPSERT_INTERVALS = 3;
const KEPT = 100;
const CHECKS_AT_ONCE = 100;
/** Every third sweep that this replica is given looks for lost orphans too. */
const SEARCH_SWEEPS = 3;
/** So many replicas may die or stand still with the same check: it is harmless to repeat, and whom it is about waits for it. */
const STALLED_MAX = 10;
const STOP_MS = 3_000;
/** BullMQ storms against a Redis that refuses its commands, such as a full one: it stands still for so long at a time. */
const REFUSED_PAUSE_MS = 5_000;

/**
 * Health across replicas, on BullMQ: a job scheduler makes one sweep an interval in the whole cluster, and check jobs are taken by
 * whichever replica is free, but not (while there is another) by the home that asked.
 */
export class HealthSchedule implements CheckQueue {
  readonly #options: HealthScheduleOptions;
  readonly #stop = new AbortController();
  #bull: { queue: Queue; worker: Worker; connections: BullConnections } | undefined;
  #upserting: Promise<void> | undefined;
  #refused = false;
  #sweeps = 0;

  constructor(options: HealthScheduleOptions) {
    this.#options = options;
  }

  /** `tellsVersion`: where Redis refuses INFO, BullMQ must not ask for its version. */
  start(tellsVersion: boolean): void {
    const { access, prefix, concurrency } = this.#options;
    const connections = bullConnections(access, (error) => this.#failed(error));
    const common = { prefix, skipVersionCheck: !tellsVersion };
    const queue = new Queue(QUEUE, { ...common, connection: connections.queue, defaultJobOptions: { removeOnComplete: KEPT, removeOnFail: KEPT } });
    const worker = new Worker(QUEUE, (job, token) => this.#work(job, token), {
      ...common,
      // Its loop takes a refusal for want of a connection as no job, and asks again at once, for ever: nothing else in the process would have
      // its turn, the reconnect neither. So its few commands wait for the connection.
      connection: connections.worker,
      autorun: false,
      concurrency,
      lockDuration: 10_000,
      stalledInterval: 5_000,
      maxStalledCount: STALLED_MAX,
      removeOnComplete: { count: KEPT },
      removeOnFail: { count: KEPT },
    });
    queue.on('error', (error) => this.#failed(error));
    worker.on('error', (error) => this.#failed(error));
    worker.on('failed', (_job, error) => this.#say(error));
    this.#bull = { queue, worker, connections };
    // It ends when the worker is closed.
    worker.run().catch((error: unknown) => this.#say(error));
    this.#upserting = this.#upsertAgainAndAgain(queue, worker);
  }

  /** Takes no more; what runs ends first, for so long. BullMQ's own stop waits for Redis, which may be away. */
  async stop(): Promise<void> {
    this.#stop.abort();
    if (!this.#bull) return;
    const { queue, worker, connections } = this.#bull;
    const closed = (async () => {
      await this.#upserting;
      await Promise.allSettled([worker.close(), queue.close()]);
      return true;
    })();
    if (!(await Promise.race([closed, this.#options.clock.sleep(STOP_MS)]))) {
      await Promise.race([Promise.allSettled([worker.disconnect(), queue.disconnect()]), this.#options.clock.sleep(YIELD_MS)]);
    }
    connections.close();
  }

  async request(targets: CheckTarget[]): Promise<void> {
    const { clock } = this.#options;
    if (!this.#bull) throw unavailable('STOPPED', 'the checks of this replica have not begun');
    const askedAt = clock.now();
    for (let i = 0; i < targets.length; i += CHECKS_AT_ONCE) {
      const part = targets.slice(i, i + CHECKS_AT_ONCE);
      await this.#bull.queue.add(CHECK, { targets: part, askedAt } satisfies CheckJob, { attempts: 5, backoff: { type: 'fixed', delay: 500 } });
    }
  }

  /** The scheduler goes with Redis' data: whoever lives puts it there again. Concurrent upserts make no second one. */
  async #upsertAgainAndAgain(queue: Queue, worker: Worker): Promise<void> {
    const { clock, intervalMs } = this.#options;
    const { signal } = this.#stop;
    while (!signal.aborted) {
      let pauseMs = UPSERT_INTERVALS * intervalMs;
      try {
        await queue.upsertJobScheduler(SWEEP, { every: intervalMs }, { name: SWEEP, opts: { removeOnComplete: KEPT, removeOnFail: KEPT } });
        if (this.#refused) {
          this.#refused = false;
          worker.resume();
        }
      } catch (error) {
        this.#failed(toError(error));
        pauseMs = Math.min(pauseMs, REFUSED_PAUSE_MS);
      }
      await clock.sleep(pauseMs, signal);
    }
  }

  async #work(job: Job, token: string | undefined): Promise<void> {
    const { replica, clock, takeMs, sweep, searchOrphans, alone } = this.#options;
    if (job.name === SWEEP) {
      failpoint('sweep-taken');
      await sweep();
      if (this.#sweeps++ % SEARCH_SWEEPS === 0) await searchOrphans();
      return;
    }
    const { targets, askedAt } = job.data as CheckJob;
    const ours = targets.some(({ home }) => home === replica);
    if (ours && clock.now() - askedAt < takeMs && !(await alone())) {
      await job.moveToDelayed(clock.now() + YIELD_MS, token);
      throw new DelayedError();
    }
    failpoint('check-taken');
    await runChecks(targets, this.#options.check);
  }

  #failed(error: Error): void {
    this.#say(error);
    // A connection to a server that takes no writes is left, and another is tried at once.
    const rule = redisErrorRule(error.message);
    if (this.#refused || !rule || rule.leave === 'now') return;
    this.#refused = true;
    this.#bull?.worker.pause(true).catch((thrown: unknown) => this.#say(thrown));
  }

  /** What Redis refuses, in our words: BullMQ passes on what Redis said, which would be told as a bug. */
  #say(thrown: unknown): void {
    const error = toError(thrown);
    const refusal = redisRefusal(error, redisUser(this.#options.access.url));
    this.#options.onError(refusal ?? redisReplyError(error, 'the health checks') ?? error);
  }
}
