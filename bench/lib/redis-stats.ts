import { setTimeout as pause } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { keys } from '../../src/store/keys.js';

/** Calls that a Redis has counted. */
export interface Calls {
  /** EVALSHA and EVAL: what goes over the wire for a transition. */
  scripts: number;
  /** Every command, those inside scripts included. */
  commands: number;
  /** The time of a script within Redis, as Redis measures it to two digits; undefined before Redis 7. */
  scriptP99Ms: number | undefined;
}

export class RedisStats {
  readonly #redis: Redis;

  constructor(url: string) {
    this.#redis = new Redis(url);
  }

  /** Everything is counted from now on. */
  async reset(): Promise<void> {
    await this.#redis.config('RESETSTAT');
  }

  /** Since the last reset. */
  async calls(): Promise<Calls> {
    const found = (await this.#redis.info('commandstats')).matchAll(/cmdstat_([^:]+):calls=(\d+)/g);
    const p99 = /latency_percentiles_usec_evalsha:.*p99=([\d.]+)/.exec(await this.#redis.info('latencystats'))?.[1];
    const calls = { scripts: 0, commands: 0, scriptP99Ms: p99 === undefined ? undefined : Number(p99) / 1_000 };
    for (const [, name, count] of found) {
      calls.commands += Number(count);
      if (name === 'evalsha' || name === 'eval') calls.scripts += Number(count);
    }
    return calls;
  }

  /** Bytes that its data take: all that it allocated but for scripts, the buffers of clients and of the append-only file, and that pool's events. */
  async memoryBytes(pool: string): Promise<number> {
    // Capped, whatever there is of the rest. Asked for its size, Redis leaves out what its nodes keep for more.
    await this.#redis.del(keys.events(pool));
    const info = await this.#redis.info('memory');
    const field = (name: string) => Number(new RegExp(`^${name}:(\\d+)`, 'm').exec(info)?.[1] ?? Number.NaN);
    return field('used_memory') - field('used_memory_scripts') - field('mem_clients_normal') - field('mem_aof_buffer');
  }

  /** Counts the assignments that are published to other replicas in a pool, until `end` says how many. */
  async countHints(pool: string): Promise<{ end(): Promise<number> }> {
    const subscriber = this.#redis.duplicate();
    let count = 0;
    subscriber.on('pmessage', (_pattern, _channel, text: string) => {
      if (text.startsWith('assign ')) count++;
    });
    await subscriber.psubscribe(keys.home(pool, '*'));
    return {
      async end() {
        await subscriber.quit();
        return count;
      },
    };
  }

  /** ms, by its own clock. */
  async now(): Promise<number> {
    const [seconds, us] = await this.#redis.time();
    return Number(seconds) * 1_000 + Number(us) / 1_000;
  }

  /** Workers on the free list of a pool. */
  free(pool: string): Promise<number> {
    return this.#redis.llen(keys.free(pool));
  }

  /** Waiting jobs of that priority. */
  waiting(pool: string, priority: number): Promise<number> {
    return this.#redis.llen(keys.waiting(pool, priority));
  }

  /** Transitions of a pool since that moment (ms), in their order. */
  async events(pool: string, sinceMs: number): Promise<{ kind: string; subject: string; atMs: number }[]> {
    const entries = await this.#redis.xrange(keys.events(pool), Math.floor(sinceMs), '+');
    return entries.map(([id, [, kind = '', , subject = '']]) => ({ kind, subject, atMs: Number(id.split('-')[0]) }));
  }

  /** What clients call in so long, by command; what scripts call is not among it. Costs Redis something itself. */
  async watchCalls(ms: number): Promise<Map<string, number>> {
    const monitor = await this.#redis.monitor();
    const calls = new Map<string, number>();
    monitor.on('monitor', (_at: string, [command = '', sha = '']: string[], source: string) => {
      if (source === 'lua') return;
      const name = command.toLowerCase();
      const call = name === 'evalsha' ? `evalsha ${sha.slice(0, 6)}` : name;
      calls.set(call, (calls.get(call) ?? 0) + 1);
    });
    await pause(ms);
    monitor.disconnect();
    return calls;
  }

  close(): void {
    this.#redis.disconnect();
  }
}
