import { expect, test } from 'vitest';
import { parseRedisUrl, redisUser } from '../../../src/domain/redis-url.js';

test.each([
  ['redis://127.0.0.1:6379', { host: '127.0.0.1', port: 6_379 }, false],
  ['rediss://:secret@redis/2', { host: 'redis', port: 6_379 }, true],
  ['redis://u:p%40x@[::1]:80/?family=6', { host: '::1', port: 80 }, false],
  ['unix:/tmp/redis.sock', undefined, false],
  ['/tmp/redis.sock?db=2', undefined, false],
])('%s is the URL of one Redis', (url, node, tls) => {
  expect(parseRedisUrl(url)).toEqual({ kind: 'single', url, node, tls });
});

test.each(['', 'localhost', '127.0.0.1:6379', 'http://a:6379', 'tcp://a', 'redis:a', 'redis://', 'redis:///2', 'redis://a:b', 'redis://a:70000'])(
  '"%s" is the URL of none',
  (url) => {
    expect(() => parseRedisUrl(url)).toThrow('not of the form redis://');
  },
);

test.each(['redis://a/main', 'redis://a/1/2', 'redis://a/-1'])('%s names no database by its number', (url) => {
  expect(() => parseRedisUrl(url)).toThrow('is not the number of a database');
});

test('Sentinels, the name of the master, and what is not said', () => {
  expect(parseRedisUrl('redis+sentinel://a:1,b.example,[::1]:3,[::2]/main')).toEqual({
    kind: 'sentinel',
    sentinels: [
      { host: 'a', port: 1 },
      { host: 'b.example', port: 26_379 },
      { host: '::1', port: 3 },
      { host: '::2', port: 26_379 },
    ],
    name: 'main',
    db: 0,
    username: undefined,
    password: undefined,
    tls: false,
  });
});

test('nodes of a Cluster, and what is not said', () => {
  const nodes = [
    { host: 'a', port: 7_000 },
    { host: 'b', port: 6_379 },
    { host: '::1', port: 7_002 },
  ];
  const nobody = { username: undefined, password: undefined, tls: false };
  expect(parseRedisUrl('redis+cluster://a:7000,b,[::1]:7002')).toEqual({ kind: 'cluster', nodes, ...nobody });
  expect(parseRedisUrl('redis+cluster://a:7000,b,[::1]:7002/')).toEqual({ kind: 'cluster', nodes, ...nobody });
});

test('user, password, database and TLS', () => {
  const access = { username: 'me', password: 'a:b@c', tls: true };
  expect(parseRedisUrl('rediss+sentinel://me:a:b%40c@a/my%20main/4')).toMatchObject({ name: 'my main', db: 4, ...access });
  expect(parseRedisUrl('rediss+cluster://me:a:b%40c@a')).toMatchObject(access);
  expect(parseRedisUrl('redis+sentinel://:p@a/m')).toMatchObject({ username: undefined, password: 'p' });
});

test.each(['a', 'a/', '/m', 'a:0/m', 'a:65536/m', 'a:b/m', 'a,,b/m', 'a/m/x', 'a/m/0/1', '[::1/m', 'u:p@/m'])('sentinel://%s is refused', (rest) => {
  expect(() => parseRedisUrl(`redis+sentinel://${rest}`)).toThrow('not of the form redis+sentinel://');
});

test.each(['', 'a:0', 'a:65536', 'a,,b', '[::1', 'u:p@', 'a/0', 'a?x=1'])('cluster://%s is refused', (rest) => {
  expect(() => parseRedisUrl(`redis+cluster://${rest}`)).toThrow('not of the form redis+cluster://');
});

test.each(['redis+clutser://a', 'http+cluster://a'])('%s is no scheme', (url) => {
  expect(() => parseRedisUrl(url)).toThrow('is none of redis://');
});

test.each([
  ['redis://a', 'default'],
  ['redis://:secret@a', 'default'],
  ['redis://muster:secret@a:1/2', 'muster'],
  ['rediss+sentinel://me%40x:secret@a,b/m', 'me@x'],
  ['redis+cluster://muster@a,b', 'muster'],
])('%s: Redis takes us for %s', (url, user) => {
  expect(redisUser(url)).toBe(user);
});
