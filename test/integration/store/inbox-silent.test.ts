import { connect, createServer, type Server, type Socket } from 'node:net';
import { Redis } from 'ioredis';
import { afterEach, expect, test } from 'vitest';
import { systemClock } from '../../../src/domain/clock.js';
import { type Hint, Inbox } from '../../../src/store/inbox.js';
import { keys } from '../../../src/store/keys.js';
import { connectOrWait, subscriberConnection } from '../../../src/store/redis.js';
import { ownRedis, uniquePool } from '../../helpers/redis.js';
import { until } from '../../helpers/until.js';

/** Between an inbox and Redis: while it is mute a connection comes about, and what says SUBSCRIBE on it is not passed on. */
let relay: Server;
let mute = false;
const sockets: Socket[] = [];

async function startRelay(port: number): Promise<string> {
  relay = createServer((near) => {
    const far = connect(port, '127.0.0.1');
    sockets.push(near, far);
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      from.on('error', () => to.destroy());
      from.on('close', () => to.destroy());
      from.on('data', (chunk: Buffer) => {
        if (!(mute && from === near && /\r\nsubscribe\r\n/i.test(chunk.toString('latin1')))) to.write(chunk);
      });
    }
  });
  await new Promise<void>((resolve) => relay.listen(0, '127.0.0.1', resolve));
  const address = relay.address();
  return `redis://127.0.0.1:${address !== null && typeof address === 'object' ? address.port : 0}`;
}

afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy();
  relay.close();
});

test('a Redis that is there again and does not answer the subscription: that is said, no promise is left alone with it, and it is tried again', async () => {
  const { url, port } = await ownRedis();
  const errors: string[] = [];
  const hints: Hint[] = [];
  const lost: string[][] = [];
  const onError = (error: Error) => void errors.push(error.message);
  const relayed = await startRelay(port);
  const subscriber = subscriberConnection({ url: relayed, timeoutMs: 200, onError });
  await connectOrWait(subscriber, AbortSignal.timeout(10_000), { url: relayed });
  const events = { hint: (hint: Hint) => hints.push(hint), resubscribed: (pools: string[]) => lost.push(pools), error: onError };
  const inbox = new Inbox(subscriber, 'h', systemClock, events);
  await inbox.start();
  const pool = uniquePool();
  await inbox.listen(pool);
  mute = true;
  for (const socket of sockets.splice(0)) socket.destroy();
  await until(() => errors.filter((message) => message === 'Command timed out').length > 1, { what: 'a second try' });
  expect(lost).toEqual([]);
  mute = false;
  await until(() => lost.length > 0, { what: 'the subscription' });
  expect(lost).toEqual([[pool]]);
  const redis = new Redis(url);
  await redis.publish(keys.home(pool, 'h'), 'done j');
  await until(() => hints.length > 0);
  expect(hints).toEqual([{ kind: 'done', pool, jobId: 'j' }]);
  redis.disconnect();
  await inbox.stop();
});
