import { Registry } from 'prom-client';
import { expect, test } from 'vitest';
import { Metrics } from '../../../src/http/metrics/metrics.js';
import { Distribution, Tally } from '../../../src/http/metrics/tallies.js';
import { Exposition } from '../../helpers/exposition.js';
import { FakeClock } from '../../helpers/fake-clock.js';

const shown = async (registry: Registry) => new Exposition(await registry.metrics());

test('a value falls into the first bucket that holds it, at the bound too, and counts in all above', async () => {
  const registry = new Registry();
  const buckets = new Distribution({ name: 'd', help: 'h', labels: ['kind'], registry, buckets: [0.1, 1] }).of('a');
  for (const value of [0.1, 0.5, 1, 7]) buckets.observe(value);
  const metrics = await shown(registry);
  const counts = ['0.1', '1', '+Inf'].map((le) => metrics.of('d_bucket', { kind: 'a', le }));
  expect(counts).toEqual([1, 3, 4]);
  expect([metrics.of('d_sum', { kind: 'a' }), metrics.of('d_count', { kind: 'a' })]).toEqual([8.6, 4]);
});

test('two hundred names are kept, and whatever is named after them counts as other', async () => {
  const registry = new Registry();
  const tally = new Tally({ name: 't_total', help: 'h', labels: ['reason'], registry });
  for (let i = 0; i < 300; i++) tally.of(`r${i}`).n++;
  const metrics = await shown(registry);
  expect([metrics.of('t_total', { reason: 'r199' }), metrics.of('t_total', { reason: 'r200' })]).toEqual([1, undefined]);
  expect(metrics.of('t_total', { reason: 'other' })).toBe(100);
});

test('connections are told by listener, those that were turned away by reason too, and when each certificate expires', async () => {
  const metrics = new Metrics({
    ...{ version: '1', clock: new FakeClock(), cacheMs: 1, maxPools: 1 },
    readPools: () => Promise.reject(new Error('Redis is away')),
    fleet: () => ({ links: 0, slots: new Map(), oldestSignMs: 0 }),
  });
  metrics.connections('grpc', 8);
  metrics.connections('grpc', 7);
  metrics.turnedAway('grpc', 'full', '192.0.2.1');
  metrics.turnedAway('grpc', 'full', '192.0.2.2');
  metrics.turnedAway('legacy', 'silent', '');
  metrics.certificate('server', 1_900_000_000_000);
  const first = await shown(metrics.registry);
  expect([first.of('muster_connections', { listener: 'grpc' }), first.of('muster_connections', { listener: 'legacy' })]).toEqual([7, undefined]);
  expect(first.of('muster_connections_refused_total', { listener: 'grpc', reason: 'full' })).toBe(2);
  expect(first.of('muster_connections_refused_total', { listener: 'legacy', reason: 'silent' })).toBe(1);
  const expiry = 'muster_tls_certificate_expiry_timestamp_seconds';
  expect([first.of(expiry, { use: 'server' }), first.of(expiry, { use: 'dial' })]).toEqual([1_900_000_000, undefined]);
  metrics.certificate('server', 1_900_000_001_000);
  expect((await shown(metrics.registry)).of(expiry, { use: 'server' })).toBe(1_900_000_001);
});

test('what was refused, and the worst lag of the last minute, are told', async () => {
  const metrics = new Metrics({
    ...{ version: '1', clock: new FakeClock(), cacheMs: 1, maxPools: 1 },
    readPools: () => Promise.reject(new Error('Redis is away')),
    fleet: () => ({ links: 3, slots: new Map([['a', 1]]), oldestSignMs: 1_500 }),
  });
  metrics.refused('unknown_token');
  metrics.lagged(800);
  for (let i = 0; i < 59; i++) metrics.lagged(5);
  const first = await shown(metrics.registry);
  expect(first.of('muster_auth_refused_total', { reason: 'unknown_token' })).toBe(1);
  expect(first.of('muster_heartbeat_age_seconds')).toBe(1.5);
  expect(first.of('muster_redis_up')).toBe(0);
  expect(first.of('muster_loop_lag_seconds')).toBe(0.8);
  metrics.lagged(5);
  expect((await shown(metrics.registry)).of('muster_loop_lag_seconds')).toBe(0.005);
});
