import { Queue } from 'bullmq';
import { afterAll, expect, test } from 'vitest';
import { keys } from '../../src/store/keys.js';
import { Child, mainArgs } from '../helpers/children.js';
import { freePorts } from '../helpers/ports.js';
import { ownRedis } from '../helpers/redis.js';
import { until } from '../helpers/until.js';

/** More than one replica takes in the time. */
const CHECKS = 3_000;
const LIVE_MS = 1_000;
const LOOKS = 5;
const LOSSES = 4;

let replica: Child | undefined;
let queue: Queue | undefined;
afterAll(async () => {
  await replica?.dispose();
  await queue?.disconnect();
});

test('a replica that loses Redis in the middle of its checks stays alive', { timeout: 60_000 }, async () => {
  const redis = await ownRedis({ appendonly: true, appendfsync: 'everysec' });
  const [port = 0] = await freePorts(1);
  replica = new Child('replica', [...mainArgs(), 'serve'], {
    MUSTER_INSECURE: 'true',
    MUSTER_REDIS_URL: redis.url,
    MUSTER_GRPC_ADDR: '127.0.0.1:0',
    MUSTER_HTTP_ADDR: `127.0.0.1:${port}`,
  });
  await replica.said('ready');
  queue = new Queue('health', { prefix: keys.bull, connection: { url: redis.url, retryStrategy: () => 1_000 } });
  queue.on('error', () => undefined);
  const targets = [{ pool: 'p', id: 'nobody', boot: 'b', link: '1', home: 'h' }];
  const checks = queue;
  const more = () => checks.addBulk(Array.from({ length: CHECKS }, () => ({ name: 'check', data: { targets, askedAt: Date.now() } })));
  const waiting = () => checks.getWaitingCount();
  await more();
  expect(await waiting()).toBeGreaterThan(CHECKS / 10);
  for (let n = 0; n < LOSSES; n++) {
    redis.kill();
    for (let i = 0; i < LOOKS; i++) {
      const { ok } = await fetch(`http://127.0.0.1:${port}/livez`, { signal: AbortSignal.timeout(LIVE_MS) });
      expect(ok).toBe(true);
    }
    await redis.restart();
    if ((await waiting()) < CHECKS / 2) await more();
    const left = await waiting();
    await until(async () => (await waiting()) < left, { what: 'a check to be taken' });
  }
  await queue.drain();
});
