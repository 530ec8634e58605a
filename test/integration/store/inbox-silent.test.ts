import { connect, createServer, type Server, type Socket } from 'node:net';
import type { Redis } from 'ioredis';
import { afterEach, expect, test } from 'vitest';
import { type Clock, systemClock } from '../../../src/domain/clock.js';
import { type Hint, Inbox } from '../../../src/store/inbox.js';
import { keys } from '../../../src/store/keys.js';
import { commandConnection, connectOrWait, subscriberPorts } from '../../../src/store/redis.js';
import { ownRedis, uniquePool } from '../../helpers/redis.js';
import { until } from '../../helpers/until.js';

/**
 * Between an inbox and Redis. `mute`: a connection comes about, and what says SUBSCRIBE on it is not passed on. `deaf`: all commands are answered, and
 * no message of a channel arrives.
 */
let relay: Server;
let mute = false;
let deaf = false;
let accepted = 0;
const sockets: Socket[] = [];

async function startRelay(port: number): Promise<string> {
  relay = createServer((near) => {
    accepted++;
    const far = connect(port, '127.0.0.1');
    sockets.push(near, far);
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      from.on('error', () => to.destroy());
      from.on('close', () => to.destroy());
      from.on('data', (chunk: Buffer) => {
        const text = chunk.toString('latin1');
        const isDropped = from === near ? mute && /\r\nsubscribe\r\n/i.test(text) : deaf && /\r\nmessage\r\n/.test(text);
        if (!isDropped) to.write(chunk);
      });
    }
  });
  await new Promise<void>((resolve) => relay.listen(0, '127.0.0.1', resolve));
  const address = relay.address();
  return `redis://127.0.0.1:${address !== null && typeof address === 'object' ? address.port : 0}`;
}

interface Listening {
  inbox: Inbox;
  hints: Hint[];
  lost: string[][];
  errors: string[];
  publish(pool: string, text: string): Promise<number>;
}

const ends: (() => unknown)[] = [];
/** A tenth of the real times. */
const clock: Clock = { ...systemClock, sleep: (ms, signal) => systemClock.sleep(ms / 10, signal) };

/** An inbox whose subscribed connection goes through the relay, and whose commands do not. */
async function listening(): Promise<Listening> {
  const { url, port } = await ownRedis();
  const [errors, hints, lost] = [[] as string[], [] as Hint[], [] as string[][]];
  const onError = (error: Error) => void errors.push(error.message);
  const connect = { url, timeoutMs: 200, onError };
  const redis = commandConnection(connect);
  await connectOrWait(redis, AbortSignal.timeout(10_000), connect);
  const events = { hint: (hint: Hint) => hints.push(hint), resubscribed: (pools: string[]) => lost.push(pools), error: onError };
  const inbox = new Inbox(subscriberPorts(redis, { ...connect, url: await startRelay(port) }), 'h', clock, events);
  await inbox.start();
  ends.push(
    () => inbox.stop(),
    () => redis.disconnect(),
  );
  return { inbox, hints, lost, errors, publish: (pool, text) => (redis as Redis).publish(keys.home(pool, 'h'), text) };
}

afterEach(async () => {
  for (const end of ends.splice(0)) await end();
  for (const socket of sockets.splice(0)) socket.destroy();
  relay.close();
});

test('a Redis that is there again and does not answer the subscription: that is said, no promise is left alone with it, and it is tried again', async () => {
  const { inbox, hints, lost, errors, publish } = await listening();
  const pool = uniquePool();
  await inbox.listen(pool);
  mute = true;
  for (const socket of sockets.splice(0)) socket.destroy();
  await until(() => errors.filter((message) => message === 'Command timed out').length > 1, { what: 'a second try' });
  expect(lost).toEqual([]);
  mute = false;
  await until(() => lost.length > 0, { what: 'the subscription' });
  expect(lost).toEqual([[pool]]);
  await publish(pool, 'done j');
  await until(() => hints.length > 0);
  expect(hints).toEqual([{ kind: 'done', pool, jobId: 'j' }]);
});

test('a connection that answers everything and brings no message is replaced; while that does not help, the inbox is deaf', async () => {
  const { inbox, hints, lost, errors, publish } = await listening();
  const pool = uniquePool();
  await inbox.listen(pool);
  expect(inbox.deaf).toBe(false);
  const before = accepted;
  deaf = true;
  await until(() => inbox.deaf, { what: 'the inbox to know that it is deaf' });
  expect(accepted).toBeGreaterThan(before);
  expect(errors.at(-1)).toMatch(/nothing is heard on muster:\{.*; connecting anew/);
  deaf = false;
  await until(() => !inbox.deaf, { what: 'it to hear again' });
  expect(lost.at(-1)).toEqual([pool]);
  await publish(pool, 'done j');
  await until(() => hints.length > 0);
  expect(hints).toEqual([{ kind: 'done', pool, jobId: 'j' }]);
});
