import type { EmbeddedRedis } from '../../src/lifecycle/embedded-redis.js';
import type { Api } from '../../src/sdk/connect.js';
import { RedisStats } from '../lib/redis-stats.js';
import type { Subject } from '../lib/rounds.js';
import type { Answer, Order } from '../processes/attached-orders.js';
import type { Bench } from '../scenario.js';
import { startAttached } from './attached.js';
import { PAYLOAD, type Settings, startReplica } from './muster.js';
import { RawSession } from './raw-session.js';

export interface StageOptions {
  /** Of the subject, and the first words of the names of its processes. */
  name: string;
  /** Attached, with a TCP connection each. */
  workers: number;
  /** That the workers live in. Default 1. */
  processes?: number;
  /** The workers, and the jobs that run side by side, take turns with them. Default: one. */
  pools?: string[];
  replicas?: number;
  settings?: Settings;
  /** Of the jobs. */
  priority?: number;
}

const MAX_LINKS = '20000';

/**
 * Muster with a Redis, replicas, workers and sessions of its own, so that nothing of another stage is on its roll. All stages of a scenario
 * run all the time: what one costs when it has nothing to do is a background of all.
 */
export class Stage {
  readonly name: string;
  readonly pools: string[];
  readonly stats: RedisStats;
  readonly subject: Subject;
  readonly #sessions: RawSession[];

  private constructor(
    { name, pools }: { name: string; pools: string[] },
    readonly redis: EmbeddedRedis,
    readonly apis: Api[],
    readonly tellers: ((order: Order) => Promise<Answer>)[],
    sessions: RawSession[],
    processes: string[],
  ) {
    this.name = name;
    this.pools = pools;
    this.stats = new RedisStats(redis.url);
    this.#sessions = sessions;
    this.subject = {
      name,
      processes,
      stats: this.stats,
      job: (lane) => this.job(lane),
      close: async () => this.close(),
    };
  }

  /** Resolves when all workers are attached. */
  static async open(bench: Bench, options: StageOptions): Promise<Stage> {
    const { name, workers, processes = 1, pools = ['bench'], replicas = 1, settings = {}, priority = 0 } = options;
    const numbered = (what: string, count: number) => Array.from({ length: count }, (_, i) => `${name} ${what}${count === 1 ? '' : ` ${i + 1}`}`);
    const redis = await bench.children.redis(`${name} redis`);
    const replicaNames = numbered('replica', replicas);
    const apis: Api[] = [];
    for (const replica of replicaNames) {
      apis.push(await startReplica(bench, redis, replica, undefined, { MUSTER_MAX_LINKS: MAX_LINKS, ...settings }));
    }
    const targets = apis.map(({ target }) => target);
    const workerNames = workers === 0 ? [] : numbered('workers', Math.min(processes, workers));
    const share = (i: number) => Math.floor(((i + 1) * workers) / workerNames.length) - Math.floor((i * workers) / workerNames.length);
    const tellers = await Promise.all(workerNames.map((process, i) => startAttached(bench, process, pools.join(), `w${i}`, share(i))));
    await Promise.all(tellers.map((tell) => tell({ do: 'attach', targets })));
    const sessions = await Promise.all(targets.map((target) => RawSession.open(target, pools[0] ?? '', PAYLOAD, priority)));
    bench.say(`${name}: attached`);
    return new Stage({ name, pools }, redis, apis, tellers, sessions, ['client', ...replicaNames, ...workerNames, `${name} redis`]);
  }

  /** One job to its result, by the session and in the pool whose turn it is. */
  async job(lane: number): Promise<void> {
    await this.#sessions[lane % this.#sessions.length]?.job(this.pools[lane % this.pools.length]);
  }

  close(): void {
    for (const session of this.#sessions) session.close();
    for (const api of this.apis) api.close();
    this.stats.close();
  }
}
