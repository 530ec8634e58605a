import { afterEach, describe, expect, test } from 'vitest';
import { Heartbeat } from '../../../src/domain/heartbeat.js';
import { toDuration } from '../../../src/sdk/duration.js';
import { Client, type ClientOptions } from '../../../src/sdk/index.js';
import { FakeClock } from '../../helpers/fake-clock.js';
import { until } from '../../helpers/until.js';
import { names } from './attach-replica.js';
import { make } from './attached-worker.js';
import { startSessionReplica } from './session-replica.js';

const HEARTBEAT_MS = 40;

const ends: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

async function session(options: Partial<ClientOptions> = {}) {
  const replica = await startSessionReplica();
  const client = new Client({ target: replica.target, ...options });
  ends.push(
    () => replica.kill(),
    () => client.close(),
  );
  return { replica, client };
}

describe('a session', () => {
  test('is opened anew when its replica falls silent: what was accepted is awaited there', async () => {
    const { replica, client } = await session();
    const result = client.run('work', 1, { pool: 'p', id: 'a' });
    const first = await replica.stream(0);
    expect(first.all('open')[0]?.capabilities).toContain('heartbeat');
    first.opened(100, { heartbeatMs: HEARTBEAT_MS });
    await until(() => first.submitted().length === 1);
    first.accept('a');
    await until(() => first.all('heartbeat').length > 0);
    const second = await replica.stream(1);
    expect(second.awaiting()).toEqual(['p a']);
    second.opened();
    second.ended('p', 'a', '7');
    expect(await result).toBe(7);
    await until(() => first.over);
  });

  test('is given up after giveUpMs without a frame, though its stream is open', async () => {
    const { replica, client } = await session({ giveUpMs: 5 * HEARTBEAT_MS });
    const result = client.run('work', 1, { pool: 'p', id: 'a' }).catch((error: unknown) => error);
    (await replica.stream(0)).opened(100, { heartbeatMs: HEARTBEAT_MS });
    expect(await result).toMatchObject({ codeName: 'UNAVAILABLE', message: expect.stringContaining('given up after 200 ms') });
    expect(replica.streams[0]?.over).toBe(false);
  });

  test('that hears its replica again is not given up', async () => {
    const { replica, client } = await session({ giveUpMs: 10 * HEARTBEAT_MS });
    const result = client.run('work', 1, { pool: 'p', id: 'a' });
    const first = await replica.stream(0);
    first.opened(100, { heartbeatMs: HEARTBEAT_MS });
    first.accept('a');
    // It was silent for long enough that another stream is opened, which nobody answers.
    await replica.stream(1);
    for (let n = 0; n < 20; n++) {
      const heard = first.all('heartbeat').length;
      first.say('heartbeat', {});
      await until(() => first.all('heartbeat').length > heard);
    }
    first.ended('p', 'a', '7');
    expect(await result).toBe(7);
  });

  test('stays where it is while heartbeats come, and with a replica that knows none', async () => {
    const clock = new FakeClock(Date.now());
    const { replica, client } = await session({ clock });
    const result = client.run('work', 1, { pool: 'p', id: 'a' });
    const stream = await replica.stream(0);
    stream.opened();
    await until(() => stream.submitted().length === 1);
    await clock.pass(30_000);
    stream.accept('a');
    stream.ended('p', 'a', '7');
    expect(await result).toBe(7);
    expect(replica.streams).toHaveLength(1);
    expect(stream.all('heartbeat')).toEqual([]);
  });
});

test('a worker attaches anew when its replica falls silent: what runs goes on, and its result goes up the new stream', async () => {
  const made = await make();
  const first = await made.replica.stream(0);
  expect(first.all('hello')[0]?.capabilities).toContain('heartbeat');
  first.welcome({ heartbeatInterval: toDuration(HEARTBEAT_MS) });
  first.assign('j', '5');
  await until(() => made.runs.length === 1 && first.all('heartbeat').length > 0);
  const second = await made.replica.stream(1);
  expect(names(second.all('hello')[0]?.held ?? [])).toEqual(['j/5']);
  second.welcome();
  made.runs[0]?.end();
  await until(() => second.results().length === 1);
  expect(made.runs).toHaveLength(1);
  await until(() => first.over);
});

describe('a heartbeat', () => {
  function beating() {
    const clock = new FakeClock();
    const seen = { sent: 0, silent: 0 };
    const heartbeat = new Heartbeat({ clock, intervalMs: 1_000, send: () => void seen.sent++, onSilent: () => void seen.silent++ });
    return { clock, seen, heartbeat };
  }

  test('is sent each interval; two intervals without a frame are silence, and two more are silence again', async () => {
    const { clock, seen, heartbeat } = beating();
    await clock.pass(1_999);
    expect(seen).toEqual({ sent: 1, silent: 0 });
    await clock.pass(1);
    expect(seen).toEqual({ sent: 2, silent: 1 });
    heartbeat.received();
    await clock.pass(1_999);
    expect(seen.silent).toBe(1);
    await clock.pass(1);
    expect(seen.silent).toBe(2);
    heartbeat.stop();
    await clock.pass(10_000);
    expect(seen).toEqual({ sent: 4, silent: 2 });
  });
});
