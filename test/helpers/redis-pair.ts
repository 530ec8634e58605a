import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { type EmbeddedRedis, startEmbeddedRedis } from '../../src/lifecycle/embedded-redis.js';
import { FaultProxy } from '../chaos/proxy.js';
import { until } from './until.js';

const NAME = 'muster';
const DOWN_AFTER_MS = 1_000;
/** Longer than a test: until then the Sentinel does not put the replica's link straight, which goes through a proxy. */
const FAILOVER_TIMEOUT_MS = 600_000;
const KNOWN_MS = 20_000;
/** The Sentinel's own times, and a busy machine's. */
const FAILOVER_MS = 30_000;

/** A Redis, a replica of it that listens through a proxy, and Sentinels that make the replica the master when the first is gone. */
export class RedisPair {
  private constructor(
    readonly master: EmbeddedRedis,
    readonly replica: EmbeddedRedis,
    /** From the replica to its master. */
    readonly link: FaultProxy,
    private readonly sentinels: readonly EmbeddedRedis[],
    private readonly folder: string,
  ) {}

  /** Resolves when the replica has all that the master has, and each Sentinel knows both and the other Sentinels. */
  static async start(sentinelCount = 1): Promise<RedisPair> {
    const folder = mkdtempSync(join(tmpdir(), 'muster-sentinel-'));
    const master = await startEmbeddedRedis({ appendonly: true, appendfsync: 'always' });
    const link = await FaultProxy.start(master.port);
    const replicaof = ['--replicaof', '127.0.0.1', String(link.port), '--repl-diskless-sync-delay', '0'];
    const replica = await startEmbeddedRedis({ appendonly: true, appendfsync: 'always', extraArgs: replicaof });
    await until(async () => /master_link_status:up/.test(await info(replica, 'replication')), { timeoutMs: KNOWN_MS, what: 'the replica' });
    const quorum = Math.floor(sentinelCount / 2) + 1;
    const watch = [`monitor ${NAME} 127.0.0.1 ${master.port} ${quorum}`, `down-after-milliseconds ${NAME} ${DOWN_AFTER_MS}`];
    const lines = [...watch, `failover-timeout ${NAME} ${FAILOVER_TIMEOUT_MS}`].map((line) => `sentinel ${line}\n`);
    const startSentinel = (i: number) => {
      const configFile = join(folder, `sentinel-${i}.conf`);
      writeFileSync(configFile, lines.join(''));
      return startEmbeddedRedis({ configFile, extraArgs: ['--sentinel'] });
    };
    const sentinels = await Promise.all(Array.from({ length: sentinelCount }, (_, i) => startSentinel(i)));
    const pair = new RedisPair(master, replica, link, sentinels, folder);
    const known = async () => (await pair.sentinelInfo()).every((told) => told.includes(`slaves=1,sentinels=${sentinelCount}`));
    await until(known, { timeoutMs: KNOWN_MS, what: 'the Sentinels to know all' });
    return pair;
  }

  /** As MUSTER_REDIS_URL has it, by one Sentinel: the others are found through it. */
  get url(): string {
    return `redis+sentinel://127.0.0.1:${this.sentinels[0]?.port}/${NAME}`;
  }

  private sentinelInfo(): Promise<string[]> {
    return Promise.all(this.sentinels.map((sentinel) => info(sentinel, 'sentinel')));
  }

  /** A connection to whoever is the master; it mends itself. The caller closes it. */
  connect(): Redis {
    const sentinels = this.sentinels.map(({ port }) => ({ host: '127.0.0.1', port }));
    const redis = new Redis({ sentinels, name: NAME, maxRetriesPerRequest: 0, retryStrategy: () => 50, commandTimeout: 1_000 });
    redis.on('error', () => {});
    return redis;
  }

  /** How far master and replica are in the stream of writes. Rejects when one of them does not answer. */
  async offsets(): Promise<{ master: number; replica: number }> {
    const [master, replica] = await Promise.all([info(this.master, 'replication'), info(this.replica, 'replication')]);
    return { master: offset(master, 'master_repl_offset'), replica: offset(replica, 'slave_repl_offset') };
  }

  /** Resolves when the replica has what the master had at the call. */
  async inStep(): Promise<void> {
    const { master } = await this.offsets();
    await until(async () => (await this.offsets()).replica >= master, { what: 'the replica to be in step' });
  }

  /** Resolves when the replica is the master, and every Sentinel says so. */
  async promoted(): Promise<void> {
    const says = async () =>
      /role:master/.test(await info(this.replica, 'replication')) &&
      (await this.sentinelInfo()).every((told) => told.includes(`address=127.0.0.1:${this.replica.port}`));
    await until(says, { timeoutMs: FAILOVER_MS, what: 'the failover' });
  }

  /** As an operator asks the last Sentinel for it: the first becomes the replica of the other, and lives on. */
  async failover(): Promise<void> {
    const leader = this.sentinels.at(-1);
    if (leader) await asked(leader, (redis) => redis.call('SENTINEL', 'FAILOVER', NAME));
  }

  async configFirst(name: string, value: string): Promise<void> {
    await asked(this.master, (redis) => redis.config('SET', name, value));
  }

  /** Which of the keys the one has that was the replica at the beginning. */
  knownAtNext(keys: readonly string[]): Promise<boolean[]> {
    return asked(this.replica, (redis) => Promise.all(keys.map(async (key) => (await redis.exists(key)) === 1)));
  }

  async stop(): Promise<void> {
    await Promise.all(this.sentinels.map((sentinel) => sentinel.stop()));
    await this.replica.stop();
    await this.link.close();
    await this.master.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

const info = (server: EmbeddedRedis, section: string): Promise<string> => asked(server, (redis) => redis.info(section));

async function asked<T>({ port }: EmbeddedRedis, ask: (redis: Redis) => Promise<T>): Promise<T> {
  const redis = new Redis(port, '127.0.0.1', { retryStrategy: () => null, maxRetriesPerRequest: 0, commandTimeout: 1_000 });
  redis.on('error', () => {});
  try {
    return await ask(redis);
  } finally {
    redis.disconnect();
  }
}

const offset = (text: string, field: string): number => Number(text.match(new RegExp(`${field}:(\\d+)`))?.[1] ?? Number.NaN);
