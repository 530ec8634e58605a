import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { promisify } from 'node:util';
import { Redis } from 'ioredis';
import { type EmbeddedRedis, findRedisBinary, startEmbeddedRedis } from '../../src/lifecycle/embedded-redis.js';
import { freePorts } from './ports.js';
import { documentedAcl, refusals, SECRET, USER } from './redis-acl.js';
import { until } from './until.js';

const MASTERS = 3;
/** A node that is silent for so long is taken for dead by the others. */
const NODE_TIMEOUT_MS = 1_000;
const READY_MS = 20_000;

interface Node {
  server: EmbeddedRedis;
  /** Its name in the Cluster. */
  id: string;
}

/** A Redis Cluster on the loopback: three masters, each with a replica, made by `redis-cli --cluster create`. */
export class RedisCluster {
  private constructor(
    private readonly nodes: Node[],
    private readonly credentials: string,
  ) {}

  /** As the user that docs/redis.md describes. Resolves when every slot has its node and each master its replica in step. */
  static async start({ fullCoverage = true } = {}): Promise<RedisCluster> {
    const count = 2 * MASTERS;
    const ports = await freePorts(2 * count);
    // On the command line, so that the user is there again when a node is started again.
    const acl = documentedAcl();
    const user = ['--user', USER, ...[acl.single, acl.cluster].flatMap((command) => command.slice(2))];
    const servers = await Promise.all(
      Array.from({ length: count }, (_, i) => {
        const settings = ['--cluster-enabled', 'yes', '--cluster-node-timeout', String(NODE_TIMEOUT_MS), '--cluster-port', String(ports[count + i])];
        return startEmbeddedRedis({
          port: ports[i] ?? 0,
          appendonly: true,
          extraArgs: [
            ...settings,
            '--cluster-require-full-coverage',
            fullCoverage ? 'yes' : 'no',
            '--cluster-replica-validity-factor',
            '0',
            '--repl-diskless-sync-delay',
            '0',
            ...user,
          ],
        });
      }),
    );
    const beside = findRedisBinary().replace(/server$/, 'cli');
    const cli = existsSync(beside) ? beside : 'redis-cli';
    const addresses = servers.map(({ port }) => `127.0.0.1:${port}`);
    await promisify(execFile)(cli, ['--cluster', 'create', ...addresses, '--cluster-replicas', '1', '--cluster-yes']);
    const nodes = await Promise.all(servers.map(async (server) => ({ server, id: (await ask(server, (redis) => redis.cluster('MYID'))) as string })));
    const cluster = new RedisCluster(nodes, `${USER}:${SECRET}@`);
    await until(() => cluster.#whole(count - MASTERS), { timeoutMs: READY_MS, what: 'the Cluster to be whole' });
    return cluster;
  }

  get servers(): readonly EmbeddedRedis[] {
    return this.nodes.map(({ server }) => server);
  }

  /** As MUSTER_REDIS_URL has it. */
  get url(): string {
    return `redis+cluster://${this.credentials}${this.nodes.map(({ server }) => `127.0.0.1:${server.port}`).join(',')}`;
  }

  /** The node that has the slot of this key, by a node that lives. */
  async ownerOf(key: string): Promise<Node> {
    const slot = await this.slotOf(key);
    for (const { server } of this.nodes) {
      const ranges = (await ask(server, (redis) => redis.cluster('SLOTS')).catch(() => [])) as [number, number, [string, number, string]][];
      const owner = ranges.find(([from, to]) => from <= slot && slot <= to)?.[2][2];
      const node = this.nodes.find(({ id }) => id === owner);
      if (node) return node;
    }
    throw new Error(`nobody has slot ${slot}`);
  }

  async slotOf(key: string): Promise<number> {
    return Number(await this.#any((redis) => redis.cluster('KEYSLOT', key)));
  }

  /** Runs on the node that has the key. */
  async at<T>(key: string, use: (redis: Redis) => Promise<T>): Promise<T> {
    return ask((await this.ownerOf(key)).server, use);
  }

  /** Resolves when the replica of the key's master has all that the master has. */
  async inStep(key: string): Promise<void> {
    const waited = await this.at(key, async (redis) => {
      // WAIT counts for the writes of its own connection.
      await redis.publish('in-step', '');
      await redis.set(`in-step:${key.slice(key.indexOf('{'), key.indexOf('}') + 1)}`, '1', 'PX', 1);
      return redis.wait(1, 5_000);
    });
    if (waited < 1) throw new Error('the replica is not in step');
  }

  /** SIGKILL for the master that has the key. Resolves when its replica has taken its place. */
  async fail(key: string): Promise<{ pauseMs: number }> {
    const owner = await this.ownerOf(key);
    const before = performance.now();
    owner.server.kill();
    const others = this.nodes.filter((node) => node !== owner);
    const taken = async () => {
      const [other] = others;
      const state = other ? String(await ask(other.server, (redis) => redis.cluster('INFO'))) : '';
      return state.includes('cluster_state:ok') && (await this.ownerOf(key)) !== owner;
    };
    await until(taken, { timeoutMs: READY_MS, what: 'the replica to take over' });
    return { pauseMs: Math.round(performance.now() - before) };
  }

  /**
   * Takes away the whole shard that has the key, master and replica: `kill` ends them, `mute` stops them (SIGSTOP), so that connections stay open and
   * nothing answers. Resolves when the other nodes have noticed. Call the answer to bring the shard back: it resolves when the Cluster is whole.
   */
  async takeShard(key: string, how: 'kill' | 'mute'): Promise<() => Promise<void>> {
    const master = await this.ownerOf(key);
    const replicas = (await ask(master.server, (redis) => redis.call('CLUSTER', 'REPLICAS', master.id))) as string[];
    const ids = replicas.map((line) => line.split(' ')[0]);
    // The replica first: it must not take over.
    const shard = [...this.nodes.filter(({ id }) => ids.includes(id)), master];
    for (const { server } of shard) how === 'kill' ? server.kill() : server.pause();
    return async () => {
      for (const { server } of shard) how === 'kill' ? await server.restart() : server.resume();
      await until(() => this.#whole(this.nodes.length - MASTERS), { timeoutMs: READY_MS, what: 'the Cluster to be whole again' });
    };
  }

  /**
   * Moves the key's slot to another master, as `redis-cli --cluster reshard` does: both are told, the keys go over a few at a time, all are told. `between`
   * runs when some of them have gone.
   */
  async moveSlot(key: string, between: () => Promise<void> = async () => undefined): Promise<{ keys: number }> {
    const slot = await this.slotOf(key);
    const from = await this.ownerOf(key);
    const masters = await this.#masters();
    const to = masters.find((node) => node !== from);
    if (!to) throw new Error('no other master');
    await ask(to.server, (redis) => redis.cluster('SETSLOT', slot, 'IMPORTING', from.id));
    await ask(from.server, (redis) => redis.cluster('SETSLOT', slot, 'MIGRATING', to.id));
    let moved = 0;
    const some = async (count: number) => {
      const names = (await ask(from.server, (redis) => redis.cluster('GETKEYSINSLOT', slot, count))) as string[];
      if (names.length > 0) await ask(from.server, (redis) => redis.call('MIGRATE', ['127.0.0.1', to.server.port, '', 0, 5_000, 'KEYS', ...names]));
      moved += names.length;
      return names.length;
    };
    await some(3);
    await between();
    while ((await some(10)) > 0);
    for (const node of [to, from]) await ask(node.server, (redis) => redis.cluster('SETSLOT', slot, 'NODE', to.id));
    return { keys: moved };
  }

  /** What the nodes that live have refused to anybody. */
  async refusals(): Promise<string[]> {
    const all = await Promise.all(this.nodes.map(({ server }) => ask(server, refusals).catch(() => [])));
    return all.flat();
  }

  async stop(): Promise<void> {
    await Promise.all(this.nodes.map(({ server }) => server.stop()));
  }

  async #masters(): Promise<Node[]> {
    const roles = await Promise.all(
      this.nodes.map(async (node) =>
        (await ask(node.server, (redis) => redis.info('replication')).catch(() => '')).includes('role:master') ? node : undefined,
      ),
    );
    return roles.filter((node) => node !== undefined);
  }

  async #whole(replicas: number): Promise<boolean> {
    const states = await Promise.all(this.nodes.map(({ server }) => ask(server, (redis) => redis.cluster('INFO'))));
    const roles = await Promise.all(this.nodes.map(({ server }) => ask(server, (redis) => redis.info('replication'))));
    const inStep = roles.filter((role) => role.includes('master_link_status:up'));
    return states.every((state) => String(state).includes('cluster_state:ok')) && inStep.length === replicas;
  }

  async #any<T>(use: (redis: Redis) => Promise<T>): Promise<T> {
    const answers = this.nodes.map(({ server }) => ask(server, use));
    return Promise.any(answers);
  }
}

async function ask<T>({ port }: EmbeddedRedis, use: (redis: Redis) => Promise<T>): Promise<T> {
  const redis = new Redis(port, '127.0.0.1', { retryStrategy: () => null, maxRetriesPerRequest: 0, commandTimeout: 6_000 });
  redis.on('error', () => {});
  try {
    return await use(redis);
  } finally {
    redis.disconnect();
  }
}
