import { afterAll, expect, test, vi } from 'vitest';
import { WorkerState } from '../../../src/grpc/generated/muster/v1/admin.js';
import { type Api, connect } from '../../../src/sdk/connect.js';
import { startDns } from '../../helpers/dns.js';
import { freePorts } from '../../helpers/ports.js';
import { redisUrl, uniquePool } from '../../helpers/redis.js';
import { startReplica } from '../../helpers/replica.js';
import { until } from '../../helpers/until.js';
import { gate, newClient, startWorker } from './support.js';

// grpc-js asks the name server of a `dns://` target only then. It reads this when it is loaded.
vi.hoisted(() => {
  process.env['GRPC_NODE_USE_ALTERNATIVE_RESOLVER'] = 'true';
});

const WORKERS = 20;
/** Of the fullest replica, at 1.2 times the mean. */
const LEVEL = 12;
const SETTINGS = { HOME_BEAT_MS: 300, HOME_TTL_MS: 6_000 };

const apis: Api[] = [];
const names: { stop(): void }[] = [];
afterAll(() => {
  for (const dns of names) dns.stop();
  for (const api of apis) api.close();
});

test('a second replica gets its part of the attached workers, and their jobs go on', async () => {
  const first = await startReplica(redisUrl, SETTINGS);
  // The address of the second is known before it is there, as behind a headless service.
  const second = await startReplica(redisUrl, SETTINGS);
  const port = Number(second.target.split(':')[1]);
  await second.stop();
  const target = `ipv4:${first.target},127.0.0.1:${port}`;
  const pool = uniquePool();
  const ran: number[] = [];
  const levelled = gate();
  const start = (id: string) =>
    startWorker({ target, pool, id }, (worker) =>
      worker.handle('slow', async (n: number) => {
        ran.push(n);
        await levelled.opened;
        return n;
      }),
    );
  await Promise.all(Array.from({ length: WORKERS }, (_, i) => start(`w${i}`)));
  const api = connect(first.target);
  apis.push(api);
  const linksOf = async ({ id }: { id: string }) => {
    const { workers } = await api.listWorkers({ pool, state: WorkerState.WORKER_STATE_UNSPECIFIED, pageSize: 0, pageToken: '' });
    return workers.filter(({ home }) => home === id).length;
  };
  expect(await linksOf(first)).toBe(WORKERS);
  const client = newClient({ target: first.target });
  const jobs = Array.from({ length: WORKERS }, (_, n) => client.run<number>('slow', n, { pool }));
  const again = await startReplica(redisUrl, { ...SETTINGS, GRPC_ADDR: `127.0.0.1:${port}` });
  const level = async () => (await linksOf(first)) <= LEVEL && (await linksOf(again)) <= LEVEL;
  await until(level, { timeoutMs: 30_000, what: 'the links to level out' });
  levelled.open();
  expect((await Promise.all(jobs)).sort((a, b) => a - b)).toEqual(Array.from({ length: WORKERS }, (_, n) => n));
  expect(ran).toHaveLength(WORKERS);
}, 60_000);

test.runIf(process.platform === 'linux')(
  'a name with two addresses in a fixed order: streams use both, and rebalancing moves workers to the other one',
  async () => {
    const [port = 0] = await freePorts(1);
    const replicaAt = (ip: string) => startReplica(redisUrl, { ...SETTINGS, GRPC_ADDR: `${ip}:${port}` });
    const first = await replicaAt('127.0.0.1');
    const dns = await startDns(() => ['127.0.0.1', '127.0.0.2']);
    names.push(dns);
    const target = `dns://127.0.0.1:${dns.port}/muster:${port}`;
    const pool = uniquePool();
    const owners = new Map<string, string[]>();
    const start = (id: string) =>
      startWorker({ target, pool, id }, (worker) =>
        worker.on('attached', ({ replica }) => owners.set(id, [...(owners.get(id) ?? []), replica])).handle('echo', (n: number) => n),
      );
    // Half of them ask for the second address first, and nothing is there yet.
    await Promise.all(Array.from({ length: WORKERS }, (_, i) => start(`w${i}`)));
    const second = await replicaAt('127.0.0.2');
    const lastOwners = () => [...owners.values()].map((all) => all.at(-1));
    await until(() => lastOwners().filter((id) => id === second.id).length >= WORKERS - LEVEL, { timeoutMs: 20_000, what: 'workers to move' });
    // None that was asked to move came back to the replica that asked.
    for (const all of owners.values()) expect(all.join(' ')).not.toContain(`${first.id} ${first.id}`);
    const before = lastOwners().length;
    await Promise.all(Array.from({ length: WORKERS }, (_, i) => start(`x${i}`)));
    const fresh = lastOwners().slice(before);
    expect(new Set(fresh).size).toBe(2);
  },
  60_000,
);
