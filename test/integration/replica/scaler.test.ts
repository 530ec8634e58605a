import { type ClientReadableStream, credentials, type ServiceError, status as Status } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  ExternalScalerClient,
  type GetMetricsResponse,
  type IsActiveResponse,
  type ScaledObjectRef,
} from '../../../src/grpc/generated/externalscaler/externalscaler.js';
import { JobState } from '../../../src/grpc/generated/muster/v1/job.js';
import { toApiError } from '../../../src/sdk/api-error.js';
import { ownRedis, uniquePool } from '../../helpers/redis.js';
import { until } from '../../helpers/until.js';
import { endOf, jobIn, type Running, startReplica, submit, text } from './support.js';
import { runnerWorker } from './workers.js';

/** KEDA's contract, spoken by the client of its own proto to a whole replica. */
let url: string;
let replica: Running;
let scaler: ExternalScalerClient;
const clients: ExternalScalerClient[] = [];

function clientOf({ target }: Running): ExternalScalerClient {
  const client = new ExternalScalerClient(target, credentials.createInsecure());
  clients.push(client);
  return client;
}

beforeAll(async () => {
  ({ url } = await ownRedis());
  replica = await startReplica(url);
  scaler = clientOf(replica);
});
afterAll(() => {
  for (const client of clients) client.close();
});

const kind = (value: string) => ({ $case: 'kind', value }) as const;

/** As KEDA sends it: the trigger's whole metadata, its own entries too. */
function refTo(metadata: Record<string, string>): ScaledObjectRef {
  return { name: 'workers', namespace: 'default', scalerMetadata: { scalerAddress: 'muster:50051', ...metadata } };
}

function ask<Request, Response>(
  call: (request: Request, answer: (error: ServiceError | null, response: Response) => void) => unknown,
  request: Request,
): Promise<Response> {
  return new Promise((resolve, reject) => {
    call(request, (error, response) => (error ? reject(toApiError(error)) : resolve(response)));
  });
}

const isActive = (metadata: Record<string, string>) => ask<ScaledObjectRef, IsActiveResponse>(scaler.isActive.bind(scaler), refTo(metadata));
const metricsOf = async (metadata: Record<string, string>, metricName = 'muster-workers-wanted') =>
  (await ask<unknown, GetMetricsResponse>(scaler.getMetrics.bind(scaler) as never, { scaledObjectRef: refTo(metadata), metricName })).metricValues;

function stream(metadata: Record<string, string>, at = scaler) {
  const said: boolean[] = [];
  const ended: (number | 'OK')[] = [];
  const call: ClientReadableStream<IsActiveResponse> = at.streamIsActive(refTo(metadata));
  call.on('data', ({ result }: IsActiveResponse) => said.push(result));
  call.on('error', ({ code }: ServiceError) => ended.push(code));
  call.on('end', () => ended.push('OK'));
  return { call, said, ended };
}

describe('a pool as an autoscaler sees it', () => {
  test('nobody has used it: no workers are wanted', async () => {
    const pool = uniquePool();
    expect(await isActive({ pool })).toEqual({ result: false });
    expect(await metricsOf({ pool })).toEqual([{ metricName: 'muster-workers-wanted', metricValue: '0', metricValueFloat: 0 }]);
  });

  test('what waits and what runs counts, by the slots of a worker; free workers do not', async () => {
    const pool = uniquePool();
    for (let n = 0; n < 5; n++) await submit(replica.api, { pool, id: `j${n}`, work: kind('slow'), payload: text('3000') });
    expect(await metricsOf({ pool })).toEqual([{ metricName: 'muster-workers-wanted', metricValue: '5', metricValueFloat: 5 }]);
    await runnerWorker(replica.target, pool, 'w', { slots: 2 });
    await jobIn(replica.api, pool, 'j1', JobState.JOB_STATE_RUNNING);
    expect(await metricsOf({ pool, slotsPerWorker: '2' }, 'external-x')).toEqual([
      { metricName: 'external-x', metricValue: '3', metricValueFloat: 2.5 },
    ]);
    await runnerWorker(replica.target, pool, 'idle', { slots: 8 });
    await until(async () => (await replica.api.getWorker({ pool, id: 'idle' })).worker?.held.length === 3, { what: 'the other to take the rest' });
    expect(await metricsOf({ pool })).toEqual([{ metricName: 'muster-workers-wanted', metricValue: '5', metricValueFloat: 5 }]);
    expect(await isActive({ pool })).toEqual({ result: true });
  });

  test('jobs that only wait for their time want no worker yet', async () => {
    const pool = uniquePool();
    await submit(replica.api, { pool, id: 'later', work: kind('echo'), notBefore: new Date(Date.now() + 60_000) });
    expect(await isActive({ pool })).toEqual({ result: false });
  });

  test('the metric is named, with its target', async () => {
    const specOf = (metadata: Record<string, string>) => ask(scaler.getMetricSpec.bind(scaler) as never, refTo(metadata));
    expect(await specOf({ pool: 'p' })).toEqual({ metricSpecs: [{ metricName: 'muster-workers-wanted', targetSize: '1', targetSizeFloat: 1 }] });
    expect(await specOf({ pool: 'p', target: '2.5' })).toEqual({
      metricSpecs: [{ metricName: 'muster-workers-wanted', targetSize: '3', targetSizeFloat: 2.5 }],
    });
  });
});

describe('metadata that cannot be read', () => {
  test.each([
    ['pool', {}],
    ['pool', { pool: 'No Pool' }],
    ['slotsPerWorker', { pool: 'p', slotsPerWorker: '0' }],
    ['slotsPerWorker', { pool: 'p', slotsPerWorker: '1.5' }],
    ['slotsPerWorker', { pool: 'p', slotsPerWorker: '4097' }],
    ['target', { pool: 'p', target: '-1' }],
    ['target', { pool: 'p', target: '0.0' }],
    ['target', { pool: 'p', target: 'many' }],
  ] as [string, Record<string, string>][])('%s of %j is refused by name, in every call', async (key, metadata) => {
    const asked = [isActive(metadata), metricsOf(metadata), ask(scaler.getMetricSpec.bind(scaler) as never, refTo(metadata))];
    for (const [i, call] of asked.entries()) {
      const field = `${i === 1 ? 'scaledObjectRef.' : ''}scalerMetadata["${key}"]`;
      await expect(call).rejects.toMatchObject({ codeName: 'INVALID_ARGUMENT', reason: 'INVALID_FIELD', message: expect.stringContaining(field) });
    }
    const { ended } = stream(metadata);
    expect(await until(() => ended[0])).toBe(Status.INVALID_ARGUMENT);
  });
});

describe('StreamIsActive', () => {
  test('says it at once, and each change; streams of one pool are all told', async () => {
    const pool = uniquePool();
    const [one, other] = [stream({ pool }), stream({ pool })];
    await until(() => one.said.length === 1 && other.said.length === 1);
    await submit(replica.api, { pool, id: 'j', work: kind('echo') });
    await until(() => one.said.length === 2 && other.said.length === 2);
    await runnerWorker(replica.target, pool, 'w');
    await until(() => one.said.length === 3 && other.said.length === 3);
    expect(endOf((await replica.api.getJob({ pool, id: 'j' })).job)).toMatchObject({ state: 'JOB_STATE_SUCCEEDED' });
    expect([one.said, other.said]).toEqual([
      [false, true, false],
      [false, true, false],
    ]);
    for (const { call } of [one, other]) call.cancel();
  });

  test('is bounded; who leaves makes room; all end with OK when the replica stops', async () => {
    const bounded = await startReplica(url, { SCALER_WATCHERS: 2, STOP_LEAD_MS: 0 });
    const client = clientOf(bounded);
    const pool = uniquePool();
    const [first, second] = [stream({ pool }, client), stream({ pool }, client)];
    await until(() => first.said.length === 1 && second.said.length === 1);
    const third = stream({ pool }, client);
    expect(await until(() => third.ended[0])).toBe(Status.RESOURCE_EXHAUSTED);
    first.call.cancel();
    const fourth = await until(async () => {
      const again = stream({ pool }, client);
      await until(() => again.said.length === 1 || again.ended.length > 0);
      return again.said.length === 1 ? again : undefined;
    });
    const stopping = bounded.stop();
    await until(() => second.ended[0] === 'OK' && fourth.ended[0] === 'OK', { what: 'the streams to end' });
    await stopping;
  });
});
