import { expect, test } from 'vitest';
import { HealthService as HealthDefinition } from '../../../src/grpc/generated/grpc/health/v1/health.js';
import { HealthService, HealthState } from '../../../src/grpc/health-service.js';
import { serve } from '../grpc/serve.js';
import { muster } from './harness.js';

async function healthcheck(state: HealthState, args: string[], env: (port: number) => Record<string, string> = () => ({})) {
  const { target, port, server } = await serve((made) => made.addService(HealthDefinition, new HealthService(state, { maxWatchers: 1 }).handlers));
  try {
    const { code, text, story } = await muster(['healthcheck', ...args.map((arg) => (arg === 'TARGET' ? target : arg))], { env: env(port) });
    return [code, text || story.replaceAll(target, 'TARGET')];
  } finally {
    server.forceShutdown();
  }
}

function stateOf(serving: Record<string, boolean>): HealthState {
  const state = new HealthState();
  for (const [name, is] of Object.entries(serving)) state.set(name, is);
  return state;
}

test('exits 0 when the replica serves, 1 when it does not, whichever service is asked for', async () => {
  const state = stateOf({ '': true, 'muster.v1.JobService': false });
  expect(await healthcheck(state, ['--target', 'TARGET'])).toEqual([0, 'serving\n']);
  expect(await healthcheck(state, ['--target', 'TARGET', '--service', 'muster.v1.JobService'])).toEqual([
    1,
    'muster: TARGET answers, and does not serve: it starts or stops',
  ]);
  expect(await healthcheck(state, ['--target', 'TARGET', '--service', 'nobody'])).toEqual([4, expect.stringContaining('service: not served here')]);
});

test('asks the replica that this environment would start, wherever it listens', async () => {
  const state = stateOf({ '': true });
  expect(await healthcheck(state, [], (port) => ({ MUSTER_GRPC_ADDR: `0.0.0.0:${port}` }))).toEqual([0, 'serving\n']);
  expect(await healthcheck(state, [], (port) => ({ MUSTER_GRPC_ADDR: `127.0.0.1:${port}` }))).toEqual([0, 'serving\n']);
});

test('exits 3 when nobody listens, within its time', async () => {
  const { target, server } = await serve(() => {});
  server.forceShutdown();
  const { code, story } = await muster(['healthcheck', '--target', target, '--timeout', '300ms']);
  expect([code, story]).toEqual([3, expect.stringContaining('cannot be reached')]);
});
