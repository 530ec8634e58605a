import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { systemClock } from '../../../src/domain/clock.js';
import { Inspection } from '../../../src/store/inspection.js';
import { keys } from '../../../src/store/keys.js';
import { Watcher } from '../../chaos/watcher.js';
import { failure, LIMITS, StoreFixture, type TestPool } from '../../helpers/store-fixture.js';
import { until } from '../../helpers/until.js';

/** A pool with one worker that runs one job; then something in it is broken. */
const fixture = new StoreFixture();
let inspection: Inspection;
let p: TestPool;

beforeAll(async () => {
  const options = { url: fixture.redis.url, timeoutMs: 5_000, limits: LIMITS, clock: systemClock, testClock: true, onError: () => undefined };
  inspection = new Inspection({ ...options, lookAgainMs: 20 });
  await inspection.start(AbortSignal.timeout(10_000));
});
afterAll(() => inspection?.stop());

beforeEach(async () => {
  p = await fixture.pool();
  await p.leased('j', 'w1');
});

const watcher = (ids = ['j']) => new Watcher({ redis: fixture.raw, inspection, pool: p.name, ids: () => ids });
const lease = async () => p.lease({ pool: p.name, id: 'w1', boot: 'w1-b1', link: '1' }, 'j', false);
const ended = async () => p.finish([p.result(await lease())]);

test('a pool in order, and its job on its way: nothing', async () => {
  const watching = watcher();
  await watching.all();
  await p.finish([p.result(await lease(), failure())]);
  await watching.all();
  await p.at(1_100);
  await p.tick();
  await watching.all();
  await ended();
  await watching.all();
  expect(watching.broken).toEqual([]);
  expect(watching.looks).toEqual({ audits: 4, jobs: 4 });
});

const HARM: [words: string, (p: TestPool) => Promise<unknown>][] = [
  ['I1 worker w1: was given more while it held 2 of 1', (p) => p.raw.hset(keys.held(p.name, 'w1'), 'other', '!1900000000000000')],
  ['I1 worker w1: holds j under fence', (p) => p.raw.hset(keys.job(p.name, 'j'), 'fence', '8')],
  ['I1 job j: is running, and not in leases', (p) => p.raw.zrem(keys.leases(p.name), 'j')],
  ['I1 job j: runs on w1 under fence', (p) => p.raw.del(keys.held(p.name, 'w1'))],
  [
    'I6 job gone: is succeeded, and in leases',
    (p) => p.raw.multi().hset(keys.job(p.name, 'gone'), 'state', 'succeeded').zadd(keys.leases(p.name), 1, 'gone').exec(),
  ],
  ['I5 job gone: stands in leases, and has no hash', (p) => p.raw.zadd(keys.leases(p.name), 1, 'gone')],
  ['I7 worker w1: is free with 1 of 1', (p) => p.raw.hset(keys.worker(p.name, 'w1'), 'state', 'free')],
  ['I7 worker w1: stands 1 times in the free list', (p) => p.raw.rpush(keys.free(p.name), 'w1')],
  ['I1 worker w1: is dead and holds 1', (p) => p.raw.hset(keys.worker(p.name, 'w1'), 'state', 'dead')],
  ['I3 job j: runs under fence', async (p) => p.raw.hset(keys.job(p.name, 'j'), 'done', (await p.raw.hget(keys.job(p.name, 'j'), 'fence')) ?? '')],
];

test.each(HARM)('%s: seen while it watches, and by the last look', async (words, harm) => {
  const [watching, last] = [watcher(), watcher()];
  watching.start();
  await harm(p);
  await until(() => watching.broken.some((what) => what.includes(words)));
  await watching.stop();
  await last.all();
  expect(last.broken.join('\n')).toContain(words);
});

test('a job in no index: seen while it watches, for it knows its name', async () => {
  await p.raw.hset(keys.job(p.name, 'k'), 'state', 'waiting', 'priority', '0');
  const watching = watcher(['j', 'k']);
  watching.start();
  await until(() => watching.broken.includes('I5 job k: waits, and is not in waiting:0'));
  await watching.stop();
});

const LATER: [words: string, (p: TestPool) => Promise<unknown>][] = [
  ['I6 j was over', (p) => p.raw.hset(keys.job(p.name, 'j'), 'state', 'failed')],
  ['I6 j was over', (p) => p.raw.hset(keys.job(p.name, 'j'), 'finished', '10')],
  ['I2 the fence of j fell', (p) => p.raw.hset(keys.job(p.name, 'j'), 'fence', '6')],
  ['L2 j forgot attempts', (p) => p.raw.hset(keys.job(p.name, 'j'), 'attempt', '0')],
  ['I5 j is gone', (p) => p.raw.del(keys.job(p.name, 'j'))],
  [
    'I2 k has the fence of j',
    async (p) => p.raw.hset(keys.job(p.name, 'k'), 'state', 'failed', 'fence', (await p.raw.hget(keys.job(p.name, 'j'), 'fence')) ?? ''),
  ],
];

test.each(LATER)('%s: what no single look can tell', async (words, harm) => {
  const watching = watcher(['j', 'k']);
  await ended();
  await watching.all();
  await harm(p);
  await watching.all();
  expect(watching.broken.join('\n')).toContain(words);
});

test('after a loss that was declared what was over may be otherwise, but no fence may come again for another job', async () => {
  const watching = watcher(['j', 'k']);
  await ended();
  await watching.all();
  watching.forget();
  await p.raw.hset(keys.job(p.name, 'j'), 'attempt', '0', 'finished', '10');
  await watching.all();
  expect(watching.broken.join('\n')).not.toMatch(/j was over|j forgot/);
  await p.raw.hset(keys.job(p.name, 'k'), 'state', 'failed', 'fence', (await p.raw.hget(keys.job(p.name, 'j'), 'fence')) ?? '');
  await watching.all();
  expect(watching.broken.join('\n')).toContain('I2 k has the fence of j');
});

test('I9: a job that waits beside a free worker, when ticks have passed', async () => {
  await ended();
  await p.r1.jobs.pause(p.name, true);
  await p.job('k');
  await p.raw.hdel(keys.meta(p.name), 'paused');
  const watching = watcher();
  await watching.all();
  expect(watching.broken).toEqual([]);
  watching.start();
  let ticked = Number(await p.raw.hget(keys.meta(p.name), 'ticked'));
  await until(async () => {
    await p.raw.hset(keys.meta(p.name), 'ticked', String(++ticked));
    return watching.broken.includes('I9 job k: waits while worker w1 is free');
  });
  await watching.stop();
});
