import { type ClientReadableStream, credentials, type ServiceError, status as Status } from '@grpc/grpc-js';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  type HealthCheckResponse,
  HealthClient,
  HealthService as HealthDefinition,
  HealthCheckResponse_ServingStatus as Serving,
} from '../../../src/grpc/generated/grpc/health/v1/health.js';
import { HealthService, HealthState } from '../../../src/grpc/health-service.js';
import { until } from '../../helpers/until.js';
import { serve } from './serve.js';

let state: HealthState;
let service: HealthService;
let client: HealthClient;
let stop: () => void;

beforeEach(async () => {
  state = new HealthState();
  service = new HealthService(state, { maxWatchers: 2 });
  const { target, server } = await serve((made) => made.addService(HealthDefinition, service.handlers));
  client = new HealthClient(target, credentials.createInsecure());
  stop = () => {
    client.close();
    server.forceShutdown();
  };
});
afterEach(() => stop());

const check = (name: string) =>
  new Promise<Serving>((resolve, reject) => {
    client.check({ service: name }, (error, response) => (error ? reject(error) : resolve(response.status)));
  });

function watch(name: string) {
  const seen: Serving[] = [];
  const errors: ServiceError[] = [];
  const call: ClientReadableStream<HealthCheckResponse> = client.watch({ service: name });
  call.on('data', (response: HealthCheckResponse) => seen.push(response.status));
  call.on('error', (error: ServiceError) => errors.push(error));
  return { call, seen, errors };
}

describe('HealthState', () => {
  it('tells listeners of changes only, until they leave', () => {
    const heard: [string, boolean][] = [];
    const leave = state.onChange((name, serving) => heard.push([name, serving]));
    expect(state.get('a')).toBeUndefined();
    state.set('a', true);
    state.set('a', true);
    state.set('a', false);
    leave();
    state.set('a', true);
    expect(heard).toEqual([
      ['a', true],
      ['a', false],
    ]);
    expect(state.get('a')).toBe(true);
  });
});

describe('Check', () => {
  it('says what was set, and NOT_FOUND for what never was', async () => {
    state.set('', true);
    state.set('muster.v1.JobService', false);
    expect(await check('')).toBe(Serving.SERVING);
    expect(await check('muster.v1.JobService')).toBe(Serving.NOT_SERVING);
    await expect(check('nobody')).rejects.toMatchObject({ code: Status.NOT_FOUND });
  });
});

describe('Watch', () => {
  it('says the state now and each change of that service', async () => {
    state.set('', true);
    const { seen } = watch('');
    await until(() => seen.length === 1);
    state.set('other', true);
    state.set('', false);
    state.set('', true);
    await until(() => seen.length === 3);
    expect(seen).toEqual([Serving.SERVING, Serving.NOT_SERVING, Serving.SERVING]);
  });

  it('says SERVICE_UNKNOWN, stays open, and goes on when the service appears', async () => {
    const { seen, errors } = watch('later');
    await until(() => seen.length === 1);
    state.set('later', true);
    await until(() => seen.length === 2);
    expect(seen).toEqual([Serving.SERVICE_UNKNOWN, Serving.SERVING]);
    expect(errors).toEqual([]);
  });

  it('is bounded, and a cancelled watch makes room', async () => {
    const first = watch('');
    const second = watch('');
    await until(() => first.seen.length === 1 && second.seen.length === 1);
    const third = watch('');
    await until(() => third.errors.length === 1);
    expect(third.errors[0]).toMatchObject({ code: Status.RESOURCE_EXHAUSTED });
    expect(service.watchers).toBe(2);
    first.call.cancel();
    await until(() => service.watchers === 1);
    const fourth = watch('');
    await until(() => fourth.seen.length === 1);
  });

  it('owes a reader that does not read the last state only', async () => {
    state.set('', false);
    const { call, seen } = watch('');
    await until(() => seen.length === 1);
    call.pause();
    for (let i = 0; i < 50_001; i += 1) state.set('', i % 2 === 0);
    call.resume();
    await until(() => seen.at(-1) === Serving.SERVING && seen.length > 1);
    expect(seen.length).toBeLessThan(1_000);
    state.set('', false);
    await until(() => seen.at(-1) === Serving.NOT_SERVING);
  });

  it('ends with UNAVAILABLE when the service closes, and so does a new one', async () => {
    const { seen, errors } = watch('');
    await until(() => seen.length === 1);
    service.close();
    service.close();
    await until(() => errors.length === 1);
    const late = watch('');
    await until(() => late.errors.length === 1);
    expect([errors[0]?.code, late.errors[0]?.code]).toEqual([Status.UNAVAILABLE, Status.UNAVAILABLE]);
    expect(service.watchers).toBe(0);
  });
});
