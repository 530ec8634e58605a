import { Redis } from 'ioredis';
import { afterAll, beforeEach, expect, test } from 'vitest';
import { keys } from '../../../src/store/keys.js';
import { Watcher } from '../../chaos/watcher.js';
import { redisUrl, uniquePool } from '../../helpers/redis.js';
import { until } from '../../helpers/until.js';

/** A pool with one worker that runs one job, written by hand; then something in it is broken. */
const redis = new Redis(redisUrl);
let pool: string;

beforeEach(async () => {
  pool = uniquePool();
  await redis.zadd(keys.workers(pool), 1, 'w');
  await redis.hset(keys.worker(pool, 'w'), { state: 'busy', listed: '0', slots: '1', home: 'r' });
  await redis.hset(keys.held(pool, 'w'), { j: '7' });
  await redis.hset(keys.job(pool, 'j'), { state: 'running', fence: '7', worker: 'w', attempt: '1' });
  await redis.zadd(keys.leases(pool), 1, 'j');
});

afterAll(() => redis.disconnect());

const over = { state: 'succeeded', done: '7', finished: '9' };

async function ended(): Promise<void> {
  await redis.hset(keys.job(pool, 'j'), over);
  await redis.del(keys.held(pool, 'w'));
  await redis.zrem(keys.leases(pool), 'j');
  await redis.hset(keys.worker(pool, 'w'), { state: 'free', listed: '1' });
  await redis.rpush(keys.free(pool), 'w');
}

const watcher = () => new Watcher({ redis, pool, ids: () => ['j'] });

test('a pool in order, and its job on its way: nothing', async () => {
  const watching = watcher();
  await watching.all();
  await ended();
  await watching.all();
  expect(watching.broken).toEqual([]);
  expect(watching.looks).toBe(2);
});

test.each([
  ['I1 w holds 2 of 1', () => redis.hset(keys.held(pool, 'w'), { other: '!8' })],
  ['lease j 7 of w but it is running 8 w', () => redis.hset(keys.job(pool, 'j'), { fence: '8' })],
  ['lease j of w is never looked at', () => redis.zrem(keys.leases(pool), 'j')],
  ['lease j is looked at and nobody holds it', () => redis.del(keys.held(pool, 'w'))],
  ['I7 w is free with 1 of 1', () => redis.hset(keys.worker(pool, 'w'), { state: 'free', listed: '1' })],
  ['I7 w is listed 1 times', () => redis.rpush(keys.free(pool), 'w')],
  ['dead w holds 1', () => redis.hset(keys.worker(pool, 'w'), { state: 'dead' })],
])('%s', async (words, harm) => {
  const watching = watcher();
  await harm();
  await watching.all();
  expect(watching.broken.join('\n')).toContain(words);
});

test.each([
  ['I6', () => redis.hset(keys.job(pool, 'j'), { state: 'failed' })],
  ['I6', () => redis.hset(keys.job(pool, 'j'), { finished: '10' })],
  ['I2 the fence of j fell', () => redis.hset(keys.job(pool, 'j'), { fence: '6' })],
  ['I5 j is gone', () => redis.del(keys.job(pool, 'j'))],
])('%s: what is over stays as it is', async (words, harm) => {
  const watching = watcher();
  await ended();
  await watching.all();
  await harm();
  await watching.all();
  expect(watching.broken.join('\n')).toContain(words);
});

test('I9: a job that waits beside a free worker, if that lasts', async () => {
  await ended();
  await redis.hset(keys.job(pool, 'k'), { state: 'waiting' });
  await redis.rpush(keys.waiting(pool, 1), 'k');
  // Far ahead, so that the home lives as long as the test.
  await redis.zadd(keys.homes(pool), Date.now() + 60_000, 'r');
  const watching = watcher();
  await watching.all();
  expect(watching.broken).toEqual([]);
  watching.start();
  await until(() => watching.broken.some((what) => what.includes('k w')));
  await watching.stop();
});
