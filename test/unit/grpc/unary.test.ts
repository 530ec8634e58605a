import { credentials, Metadata, type ServiceError, status as Status } from '@grpc/grpc-js';
import { afterEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../../src/domain/clock.js';
import { invalid, MusterError } from '../../../src/domain/errors.js';
import { type PingRequest, type PongResponse, WorkerServiceClient, WorkerServiceService } from '../../../src/grpc/generated/worker/worker.js';
import { type CallContext, createUnary, peerOf } from '../../../src/grpc/unary.js';
import { until } from '../../helpers/until.js';
import { serve } from './serve.js';

type Handler = (request: PingRequest, context: CallContext) => Promise<PongResponse>;

const stops: (() => void)[] = [];
afterEach(() => {
  for (const stop of stops.splice(0)) stop();
});

/** A real server whose Ping is the handler, its client, and what was told of internal errors. */
async function pingServer(handler: Handler, onInternal?: () => void) {
  const internals: { error: Error; method: string }[] = [];
  const unary = createUnary({
    clock: systemClock,
    onInternal: (error, method) => {
      internals.push({ error, method });
      onInternal?.();
    },
  });
  const { target, server } = await serve((made) => {
    made.addService(WorkerServiceService, { register: unary(async () => ({ success: true, message: '' })), ping: unary(handler) });
  });
  const client = new WorkerServiceClient(target, credentials.createInsecure());
  stops.push(
    () => client.close(),
    () => server.forceShutdown(),
  );
  const ping = (id: string, deadline?: number) =>
    new Promise<PongResponse>((resolve, reject) => {
      client.ping({ id }, new Metadata(), { deadline: deadline ?? Date.now() + 5_000 }, (error, response) =>
        error ? reject(error) : resolve(response),
      );
    });
  return { client, ping, internals };
}

async function failure(call: Promise<unknown>): Promise<ServiceError> {
  return call.then(
    () => Promise.reject(new Error('it was answered')),
    (error: ServiceError) => error,
  );
}

describe('unary', () => {
  it('answers with what the handler resolves to, and tells it deadline and peer', async () => {
    const contexts: CallContext[] = [];
    const { ping } = await pingServer(async (request, context) => {
      contexts.push(context);
      return { healthy: request.id === 'w' };
    });
    expect(await ping('w')).toEqual({ healthy: true });
    const [context] = contexts;
    expect(context?.deadlineMs).toBeGreaterThan(0);
    expect(context?.deadlineMs).toBeLessThanOrEqual(5_000);
    expect(context?.peer).toMatch(/^127\.0\.0\.1:\d+$/);
  });

  it('says Infinity when there is no deadline', async () => {
    let deadlineMs = 0;
    const { ping } = await pingServer(async (_, context) => {
      deadlineMs = context.deadlineMs;
      return { healthy: true };
    });
    await ping('w', Number.POSITIVE_INFINITY);
    expect(deadlineMs).toBe(Number.POSITIVE_INFINITY);
  });

  it('gives a MusterError as its status with details, and reports nothing', async () => {
    const { ping, internals } = await pingServer(async () => {
      throw invalid('id', 'must be set');
    });
    const error = await failure(ping(''));
    expect(error).toMatchObject({ code: Status.INVALID_ARGUMENT, details: 'id: must be set' });
    expect(error.metadata.get('grpc-status-details-bin')).toHaveLength(1);
    expect(internals).toEqual([]);
  });

  it.each<[string, Handler]>([
    ['rejects', () => Promise.reject(new Error('secret'))],
    [
      'throws before it returns a promise',
      () => {
        throw new Error('secret');
      },
    ],
    ['throws what is no error', () => Promise.reject('secret')],
    ['throws an internal MusterError', () => Promise.reject(new MusterError('internal', 'BAD_REPLY', 'secret'))],
  ])('hides and reports what went wrong inside when the handler %s', async (_, handler) => {
    const { ping, internals } = await pingServer(handler);
    const error = await failure(ping('w'));
    expect(error.code).toBe(Status.INTERNAL);
    expect(error.details).not.toContain('secret');
    expect(internals).toMatchObject([{ error: { message: 'secret' }, method: '/worker.WorkerService/Ping' }]);
  });

  it('answers even when whoever is told of errors fails', async () => {
    const { ping } = await pingServer(
      () => Promise.reject(new Error('secret')),
      () => {
        throw new Error('the log is full');
      },
    );
    expect(await failure(ping('w'))).toMatchObject({ code: Status.INTERNAL });
  });

  it('tells a handler when its client cancels, once', async () => {
    const contexts: CallContext[] = [];
    let told = 0;
    const { client, internals } = await pingServer((_, context) => {
      contexts.push(context);
      return new Promise((resolve) =>
        context.onGone(() => {
          told++;
          resolve({ healthy: true });
        }),
      );
    });
    const call = client.ping({ id: 'w' }, () => undefined);
    await until(() => contexts.length === 1);
    expect(contexts[0]?.gone).toBe(false);
    call.cancel();
    await until(() => contexts[0]?.gone === true);
    expect(told).toBe(1);
    expect(internals).toEqual([]);
    // Who asks later hears it at once.
    contexts[0]?.onGone(() => told++);
    expect(told).toBe(2);
  });

  it('tells a handler when the deadline passes', async () => {
    const contexts: CallContext[] = [];
    const { ping } = await pingServer((_, context) => {
      contexts.push(context);
      return new Promise((resolve) => context.onGone(() => resolve({ healthy: true })));
    });
    expect(await failure(ping('w', Date.now() + 200))).toMatchObject({ code: Status.DEADLINE_EXCEEDED });
    await until(() => contexts[0]?.gone === true);
  });

  it('never calls a client gone that was answered', async () => {
    const contexts: CallContext[] = [];
    const { ping } = await pingServer(async (_, context) => {
      contexts.push(context);
      return { healthy: true };
    });
    await ping('first', Date.now() + 100);
    const over = Date.now() + 150;
    await until(async () => {
      await ping('later');
      return Date.now() > over;
    });
    expect(contexts.length).toBeGreaterThan(1);
    expect(contexts[0]?.gone).toBe(false);
  });
});

describe('peerOf', () => {
  it.each([
    ['10.0.0.7:5000', '10.0.0.7:5000'],
    ['::1:5000', '[::1]:5000'],
    ['2001:db8::1:5000', '[2001:db8::1]:5000'],
    ['::ffff:10.0.0.7:5000', '10.0.0.7:5000'],
    ['unknown', ''],
    ['', ''],
  ])('reads %s as %s', (said, peer) => expect(peerOf(said)).toBe(peer));
});
