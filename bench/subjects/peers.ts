import type { EmbeddedRedis } from '../../src/lifecycle/embedded-redis.js';
import type { Subject } from '../lib/rounds.js';
import { Missing } from '../lib/toolbox.js';
import type { Bench } from '../scenario.js';
import { asynq } from './asynq.js';
import { beeQueue } from './bee-queue.js';
import { bullmqBulk } from './bullmq-bulk.js';
import { celery } from './celery.js';
import { dask } from './dask.js';
import { faktory } from './faktory.js';
import { gearmand } from './gearmand.js';
import { temporal } from './temporal.js';

/** Somebody else who gives jobs to workers. */
export interface Peer {
  name: string;
  /** What its figures mean, where that is not what everybody's mean. */
  how: string;
  /**
   * Builds or installs what it runs, which may take minutes the first time. Asked for before anybody is started: who is started waits
   * stopped for its turn, and its own server gives it up when that lasts. Rejects with Missing.
   */
  build?(): Promise<unknown>;
  /** Rejects with Missing when this machine can't have it. `concurrency`: jobs that its workers do at once. */
  start(bench: Bench, redis: EmbeddedRedis, concurrency: number): Promise<Subject>;
}

/** All but BullMQ as it is mostly used, which is what every other figure is compared to. */
export const PEERS: Peer[] = [bullmqBulk, beeQueue, asynq, celery, dask, gearmand, faktory, temporal];

/** Those that `--peers` names, or all; whoever can't be had is told as skipped. */
export async function startPeers(bench: Bench, redis: EmbeddedRedis, concurrency: number): Promise<Subject[]> {
  const { peers: chosen } = bench.options;
  const subjects: Subject[] = [];
  const built: Peer[] = [];
  for (const peer of PEERS) {
    if (chosen.length > 0 && !chosen.includes(peer.name)) continue;
    try {
      await peer.build?.();
      built.push(peer);
    } catch (error) {
      if (!(error instanceof Missing)) throw error;
      bench.skipped(peer.name, error.message);
    }
  }
  for (const { name, how, start } of built) {
    const running = bench.children.foreign;
    try {
      bench.say(`starting ${name}`);
      subjects.push(await start(bench, redis, concurrency));
      bench.used(name, how);
    } catch (error) {
      await bench.children.endForeign(running);
      const reason = error instanceof Error ? error.message : String(error);
      bench.skipped(name, error instanceof Missing ? reason : `it did not start: ${reason.trim().split('\n').slice(0, 2).join(' ')}`);
    }
  }
  return subjects;
}
