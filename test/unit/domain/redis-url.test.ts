import { expect, test } from 'vitest';
import { parseSentinelUrl } from '../../../src/domain/redis-url.js';

test('the URL of one Redis is left to its client', () => {
  for (const url of ['redis://127.0.0.1:6379', 'rediss://:secret@redis/2', 'unix:/tmp/redis.sock']) expect(parseSentinelUrl(url)).toBeUndefined();
});

test('Sentinels, the name of the master, and what is not said', () => {
  expect(parseSentinelUrl('redis+sentinel://a:1,b.example,[::1]:3,[::2]/main')).toEqual({
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

test('user, password, database and TLS', () => {
  const target = { name: 'my main', db: 4, username: 'me', password: 'a:b@c', tls: true };
  expect(parseSentinelUrl('rediss+sentinel://me:a:b%40c@a/my%20main/4')).toMatchObject(target);
  expect(parseSentinelUrl('redis+sentinel://:p@a/m')).toMatchObject({ username: undefined, password: 'p' });
});

test.each(['a', 'a/', '/m', 'a:0/m', 'a:65536/m', 'a:b/m', 'a,,b/m', 'a/m/x', 'a/m/0/1', '[::1/m', 'u:p@/m'])('%s is refused', (rest) => {
  expect(() => parseSentinelUrl(`redis+sentinel://${rest}`)).toThrow('not of the form');
});
