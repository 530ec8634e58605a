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

/** A Redis, a replica of it that listens through a proxy, and a Sentinel that makes the replica the master when the first is gone. */
export class RedisPair {
  private constructor(
    readonly master: EmbeddedRedis,
    readonly replica: EmbeddedRedis,
    /** From the replica to its master. */
    readonly link: FaultProxy,
    private readonly sentinel: EmbeddedRedis,
    private readonly folder: string,
  ) {}

  /** Resolves when the replica has all that the master has, and the Sentinel knows both. */
  static async start(): Promise<RedisPair> {
    const folder = mkdtempSync(join(tmpdir(), 'muster-sentinel-'));
    const master = await startEmbeddedRedis({ appendonly: true, appendfsync: 'always' });
    const link = await FaultProxy.start(master.port);
    const replicaof = ['--replicaof', '127.0.0.1', String(link.port), '--repl-diskless-sync-delay', '0'];
    const replica = await startEmbeddedRedis({ appendonly: true, appendfsync: 'always', extraArgs: replicaof });
    await until(async () => /master_link_status:up/.test(await info(replica, 'replication')), { timeoutMs: KNOWN_MS, what: 'the replica' });
    const configFile = join(folder, 'sentinel.conf');
    const watch = [`monitor ${NAME} 127.0.0.1 ${master.port} 1`, `down-after-milliseconds ${NAME} ${DOWN_AFTER_MS}`];
    writeFileSync(configFile, [...watch, `failover-timeout ${NAME} ${FAILOVER_TIMEOUT_MS}`].map((line) => `sentinel ${line}\n`).join(''));
    const sentinel = await startEmbeddedRedis({ configFile, extraArgs: ['--sentinel'] });
    const pair = new RedisPair(master, replica, link, sentinel, folder);
    await until(async () => (await info(sentinel, 'sentinel')).includes('slaves=1'), { timeoutMs: KNOWN_MS, what: 'the Sentinel to know both' });
    return pair;
  }

  /** Through the Sentinel, as MUSTER_REDIS_URL has it. */
  get url(): string {
    return `redis+sentinel://127.0.0.1:${this.sentinel.port}/${NAME}`;
  }

  /** A connection to whoever is the master; it mends itself. The caller closes it. */
  connect(): Redis {
    const sentinels = [{ host: '127.0.0.1', port: this.sentinel.port }];
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

  /** Resolves when the replica is the master, and the Sentinel says so. */
  async promoted(): Promise<void> {
    const says = async () =>
      /role:master/.test(await info(this.replica, 'replication')) &&
      (await info(this.sentinel, 'sentinel')).includes(`address=127.0.0.1:${this.replica.port}`);
    await until(says, { timeoutMs: FAILOVER_MS, what: 'the failover' });
  }

  /** As an operator asks for it: the first becomes the replica of the other, and lives on. */
  async failover(): Promise<void> {
    await asked(this.sentinel, (redis) => redis.call('SENTINEL', 'FAILOVER', NAME));
  }

  async roleOfFirst(): Promise<string> {
    return (await info(this.master, 'replication')).match(/role:(\w+)/)?.[1] ?? '';
  }

  async stop(): Promise<void> {
    await this.sentinel.stop();
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
