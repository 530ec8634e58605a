import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startRunner } from '../../../src/sdk/runner.js';
import { Clients } from '../../chaos/clients.js';
import { Load } from '../../chaos/load.js';
import { isOver, lookAtJobs } from '../../chaos/look.js';
import { drawFrom } from '../../chaos/random.js';
import { handlers } from '../../helpers/handlers.js';
import { redisUrl, uniquePool } from '../../helpers/redis.js';
import { startReplica } from '../../helpers/replica.js';
import { until } from '../../helpers/until.js';

const pool = uniquePool();
const redis = new Redis(redisUrl);
let clients: Clients;
let runner: Awaited<ReturnType<typeof startRunner>>;

beforeAll(async () => {
  const { target } = await startReplica(redisUrl);
  runner = await startRunner({ id: 'w1', pool, target, slots: 4, ip: '127.0.0.1', handlers: handlers('w1', () => undefined) });
  clients = new Clients(
    target,
    ['c1', 'c2'].map((id) => ({ id, pool, legacy: false })),
  );
  await clients.ready();
}, 30_000);

afterAll(async () => {
  await clients?.dispose();
  await runner?.stop();
  redis.disconnect();
});

test('clients as processes: what they note is followed; one that is killed leaves orphans, which end all the same', { timeout: 60_000 }, async () => {
  const load = new Load({ clients, name: 'one', draw: drawFrom(1) });
  load.start();
  await until(() => load.ended >= 5);
  const [victim] = load.seats;
  if (!victim) throw new Error('no client');
  const more = await load.more(3, 'slow', '500', { seat: victim });
  expect(more.map(({ ackedAt }) => typeof ackedAt)).toEqual(['number', 'number', 'number']);
  const orphans = await load.kill(victim);
  expect(orphans.map(({ id }) => id)).toEqual(expect.arrayContaining(more.map(({ id }) => id)));
  // Its next life works too, under other ids.
  await until(() => load.operations.some(({ id, end }) => id.startsWith('one-c1.2-') && end));
  await load.stop(20_000);
  expect(load.broken).toEqual([]);
  const told = load.operations.filter(({ orphan, outcome }) => !orphan && outcome === undefined);
  expect(told.filter(({ end }) => !end?.right)).toEqual([]);
  expect(new Set(load.operations.map(({ id }) => id)).size).toBe(load.operations.length);
  await until(async () =>
    (
      await lookAtJobs(
        redis,
        pool,
        orphans.map(({ id }) => id),
      )
    ).every((job) => job && isOver(job)),
  );
});

test('a client that ends by itself is told, and there is another at once; what does not end is given up', { timeout: 60_000 }, async () => {
  const load = new Load({ clients, name: 'two', draw: drawFrom(1) });
  load.start();
  await until(() => load.ended >= 5);
  load.seats[1]?.child.signal('SIGKILL');
  await until(() => load.operations.some(({ id, end }) => id.startsWith('two-c2.2-') && end));
  // Longer than the load is waited for.
  const [endless] = await load.more(1, 'slow', '3000', { pool });
  await load.stop(50);
  expect(load.broken).toEqual([expect.stringContaining('client c2 ended by itself')]);
  expect(endless).toMatchObject({ ackedAt: expect.any(Number) });
  expect(endless?.end).toBeUndefined();
});
