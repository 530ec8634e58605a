import { Server, ServerCredentials, status, type UntypedServiceImplementation } from '@grpc/grpc-js';
import { afterEach, describe, expect, test } from 'vitest';
import type { SessionRequest } from '../../../src/grpc/generated/muster/v1/job.js';
import { Welcome } from '../../../src/grpc/generated/muster/v1/worker.js';
import { type WorkerServiceServer, WorkerServiceService } from '../../../src/grpc/generated/worker/worker.js';
import { type Api, connect } from '../../../src/sdk/connect.js';
import { ApiError, Client, PermissionDenied, startRunner, Unauthenticated, Worker } from '../../../src/sdk/index.js';
import { startLegacyWorker } from '../../../src/sdk/legacy-worker.js';
import { until } from '../../helpers/until.js';
import { type Answers, answer, Refused, type Replica, startReplica } from './replica.js';

const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

async function serve(answers: Answers): Promise<Replica> {
  const replica = await startReplica(answers);
  ends.push(() => replica.kill());
  return replica;
}

function api(target: string): Api {
  const made = connect(target);
  ends.push(() => made.close());
  return made;
}

async function refusal(call: Promise<unknown>): Promise<ApiError> {
  const error = await call.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (error instanceof ApiError) return error;
  throw new Error(`no refusal: ${String(error)}`);
}

/** As replicas refuse whom they do not know, and who may not. */
const refusing = (code: number, reason = 'WHY') =>
  answer((): never => {
    throw new Refused(code, reason, 'not you');
  });

describe('whom the replicas refuse', () => {
  test.each([
    [status.UNAUTHENTICATED, Unauthenticated, 'not you; set `token`'],
    [status.PERMISSION_DENIED, PermissionDenied, 'not you; use a `token`'],
  ])('with %i gets an error of its own with the remedy, at once', async (code, kind, message) => {
    let calls = 0;
    const getJob = answer((): never => {
      calls++;
      throw new Refused(code, 'WHY', 'not you');
    });
    const { target } = await serve({ getJob, session: (call) => void call.emit('error', { code, details: 'not you' }) });
    const client = new Client({ target });
    ends.push(() => client.close());
    for (const asked of [client.get('j'), client.submit('k', {}), client.run('k', {})]) {
      const error = await refusal(asked);
      expect(error).toBeInstanceOf(kind);
      expect(error).toMatchObject({ said: 'not you', message: expect.stringContaining(message), broken: false });
    }
    expect(calls).toBe(1);
  });

  test('one job of a session, the others go on', async () => {
    const session: Answers['session'] = (call) => {
      call.on('data', ({ frame }: SessionRequest) => {
        if (frame?.$case === 'open')
          call.write({
            frame: { $case: 'opened', value: { replica: 'r', window: 8, maxPayloadBytes: 0, maxFrameBytes: 0, heartbeatInterval: undefined } },
          });
        if (frame?.$case !== 'submit') return;
        const results = frame.value.specs.map(({ id }) => ({ id, created: true, code: id === 'no' ? 7 : 0, message: 'not you', reason: 'WHY' }));
        call.write({ frame: { $case: 'accepted', value: { results } } });
      });
    };
    const { target } = await serve({ session });
    const client = new Client({ target });
    ends.push(() => client.close());
    const [no, yes] = await Promise.allSettled([client.submit('k', {}, { id: 'no' }), client.submit('k', {}, { id: 'yes' })]);
    expect(no).toMatchObject({ status: 'rejected', reason: { name: 'PermissionDenied', reason: 'WHY' } });
    expect(yes).toMatchObject({ status: 'fulfilled' });
  });

  test('an address that may not be dialed is no matter of tokens', async () => {
    const { target } = await serve({ getJob: refusing(status.PERMISSION_DENIED, 'ADDRESS_REFUSED') });
    const error = await refusal(api(target).getJob({ pool: 'p', id: 'j' }));
    expect([error.name, error.message]).toEqual(['ApiError', 'not you']);
  });

  test('an attached worker that was taken before says so once, and again when it is another reason; it goes on trying', async () => {
    let tries = 0;
    const { UNAUTHENTICATED: unknown, PERMISSION_DENIED: denied } = status;
    const codes = [0, unknown, unknown, unknown, denied, denied];
    const { target } = await serve({
      attach: (call) => {
        const code = codes[tries++];
        if (code !== 0 && code !== undefined) return void call.emit('error', { code, details: 'not you' });
        call.write({ frame: { $case: 'welcome', value: Welcome.fromPartial({ replica: 'r' }) } });
        if (code === 0) call.on('data', () => call.emit('error', { code: status.UNAVAILABLE, details: 'away' }));
      },
    });
    const errors: string[] = [];
    const worker = new Worker({ target, pool: 'p', id: 'w', slowRetryMs: 5 }).handle('k', () => 1).on('error', ({ name }) => errors.push(name));
    ends.push(() => worker.stop({ graceMs: 0 }));
    await worker.start({ signals: false });
    await until(() => tries === codes.length + 1);
    expect(errors).toEqual(['Unauthenticated', 'PermissionDenied']);
  });

  test.each([
    [status.INVALID_ARGUMENT, 'kinds: must have at most 64 entries'],
    [status.UNAUTHENTICATED, 'not you'],
    [status.PERMISSION_DENIED, 'not you'],
    [status.UNIMPLEMENTED, 'The server does not implement the method'],
    [status.RESOURCE_EXHAUSTED, 'Received message larger than max (9 vs 4)'],
  ])('an attached worker whose first stream is refused with %i is stopped, and start() rejects', async (code, details) => {
    let tries = 0;
    const { target } = await serve({
      attach: (call) => {
        tries++;
        call.emit('error', { code, details });
      },
    });
    const errors: Error[] = [];
    const worker = new Worker({ target, pool: 'p', id: 'w', slowRetryMs: 5 }).handle('k', () => 1).on('error', (error) => errors.push(error));
    const error = await refusal(worker.start({ signals: false }));
    expect(error).toMatchObject({ code, message: expect.stringContaining(details) });
    await worker.stop();
    expect([tries, errors, worker.attached]).toEqual([1, [], false]);
  });

  test('a dialed worker says so once, and goes on trying', async () => {
    let tries = 0;
    const register = answer((): never => {
      tries++;
      throw new Refused(status.UNAUTHENTICATED, 'WHY', 'not you');
    });
    const { target } = await serve({ register });
    const errors: string[] = [];
    const runner = await startRunner({
      ...{ target, id: 'w', pool: 'p', ip: '127.0.0.1', handlers: {}, slowRetryMs: 5 },
      onError: ({ name }) => errors.push(name),
    });
    ends.push(() => runner.close());
    await until(() => tries >= 4);
    expect(errors).toEqual(['Unauthenticated']);
  });

  test('a worker of the first contract says so, and registers no more: its contract has no other word', async () => {
    let tries = 0;
    const server = new Server();
    const register: WorkerServiceServer['register'] = (_call, callback) => {
      tries++;
      callback({ code: status.UNAUTHENTICATED, details: 'not you' });
    };
    server.addService(WorkerServiceService, { register, ping: register } as unknown as UntypedServiceImplementation);
    const port = await new Promise<number>((resolve, reject) => {
      server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, at) => (error === null ? resolve(at) : reject(error)));
    });
    ends.push(() => server.forceShutdown());
    const errors: Error[] = [];
    const worker = await startLegacyWorker({
      ...{ target: `127.0.0.1:${port}`, id: 'w', ip: '127.0.0.1', run: async () => '' },
      onError: (error) => errors.push(error),
    });
    ends.push(() => worker.close());
    expect(await worker.registered).toBe(false);
    expect([errors.map(({ name }) => name), tries]).toEqual([['Unauthenticated'], 1]);
  });
});
