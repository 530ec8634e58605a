import { connect, createServer, type Server, type Socket } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { EmbeddedRedis } from '../../../src/lifecycle/embedded-redis.js';
import { Client, Worker } from '../../../src/sdk/index.js';
import { ownRedis } from '../../helpers/redis.js';
import { startReplica } from '../../helpers/replica.js';

const BYTES_A_MS = 4_000;
const STEP_MS = 5;

let redis: EmbeddedRedis;
let relay: Server;
const sockets = new Set<Socket>();
beforeAll(async () => {
  redis = await ownRedis();
  const target = Number(new URL(redis.url).port);
  // A link of 32 Mbit/s each way, for each connection.
  relay = createServer((near) => {
    const far = connect(target, '127.0.0.1');
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(from);
      from.on('error', () => undefined);
      from.on('close', () => to.destroy());
      throttle(from, to);
    }
  });
  await new Promise<void>((resolve) => relay.listen(0, '127.0.0.1', resolve));
});
afterAll(() => {
  relay.close();
  for (const socket of sockets) socket.destroy();
});

function throttle(from: Socket, to: Socket): void {
  let waiting: Buffer[] = [];
  let bytes = 0;
  let carrying = false;
  const step = () => {
    const all = Buffer.concat(waiting);
    const now = all.subarray(0, BYTES_A_MS * STEP_MS);
    to.write(now);
    bytes = all.length - now.length;
    waiting = bytes > 0 ? [all.subarray(now.length)] : [];
    if (bytes < 65_536) from.resume();
    carrying = bytes > 0;
    if (carrying) setTimeout(step, STEP_MS);
  };
  from.on('data', (chunk: Buffer) => {
    waiting.push(chunk);
    bytes += chunk.length;
    if (bytes >= 65_536) from.pause();
    if (carrying) return;
    carrying = true;
    setTimeout(step, STEP_MS);
  });
}

test('large jobs make progress on a slow link to Redis, where all of them, and one of them, take longer than a call may be silent', async () => {
  const { port } = relay.address() as { port: number };
  const { target } = await startReplica(`redis://127.0.0.1:${port}`, { REDIS_TIMEOUT_MS: 400, MAX_PAYLOAD_BYTES: 4 * 1_024 * 1_024 });
  const client = new Client({ target });
  const sizes = [3_000_000, ...Array.from({ length: 12 }, () => 260_000)];
  const jobs = await Promise.all(sizes.map((size, i) => client.submit('size', 'x'.repeat(size), { pool: 'slow', id: `j${i}` })));
  const worker = new Worker({ target, pool: 'slow', slots: 16 }).handle('size', (text: string) => text.length);
  await worker.start({ signals: false });
  expect(await Promise.all(jobs.map((job) => job.result()))).toEqual(sizes);
  await Promise.all([worker.stop({ graceMs: 0 }), client.close()]);
}, 40_000);
