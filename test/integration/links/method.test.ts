import { Metadata } from '@grpc/grpc-js';
import { afterEach, describe, expect, it } from 'vitest';
import { Code } from '../../../src/domain/job.js';
import type { Link } from '../../../src/domain/link.js';
import { HealthCheckResponse, HealthCheckResponse_ServingStatus as Status } from '../../../src/grpc/generated/grpc/health/v1/health.js';
import { until } from '../../helpers/until.js';
import { assignmentOf, dialer, fail, type Handler, Recorder, type Served, serve, targetOf } from './support.js';

const SAY = '/test.Echo/Say';
const CHECK = '/grpc.health.v1.Health/Check';

let served: Served | undefined;
let link: Link | undefined;
afterEach(() => {
  link?.close();
  served?.stop();
});

async function start(handlers: Record<string, Handler>, options: { credentials?: boolean } = {}) {
  const events = new Recorder();
  served = await serve(handlers);
  link = dialer(options).dial(targetOf('METHOD', served.port), events);
  return { link, events };
}

const echo: Handler = (call, done) => done(null, call.request);

describe('a METHOD link', () => {
  it('passes any unary method through, undecoded, with what headers can carry', async () => {
    let headers = new Metadata();
    const { link, events } = await start({
      [SAY]: (call, done) => {
        headers = call.metadata;
        echo(call, done);
      },
    });
    const payload = Buffer.from([0, 255, 1, 254]);
    link.assign(
      assignmentOf({ payload, metadata: { Tenant: 'a', 'grpc-timeout': '1n', 'x y': 'z', emoji: '\u2603', 'blob-bin': 'AA' }, attempt: 2 }),
    );
    expect(await events.delivery()).toEqual({ kind: 'result', outcome: { ok: true, output: payload } });
    expect(headers.getMap()).toMatchObject({ tenant: 'a', 'muster-job-id': 'j1', 'muster-fence': '1712345678901234', 'muster-attempt': '2' });
    expect(headers.get('x y')).toEqual([]);
    expect(headers.get('emoji')).toEqual([]);
    expect(headers.get('blob-bin')).toEqual([]);
  });

  it.each([false, true])('sends credentials of the metadata on when it is told to (%s), in every spelling of their names', async (allowed) => {
    let headers = new Metadata();
    const { link, events } = await start(
      {
        [SAY]: (call, done) => {
          headers = call.metadata;
          echo(call, done);
        },
      },
      { credentials: allowed },
    );
    const metadata = { authorization: 'Bearer x', 'Proxy-Authorization': 'y', COOKIE: 'z', 'x-api-key': 'k', tenant: 'a' };
    link.assign(assignmentOf({ metadata }));
    await events.delivery();
    for (const [name, value] of Object.entries(metadata)) expect(headers.get(name), name).toEqual(allowed || name === 'tenant' ? [value] : []);
  });

  it.each(['/muster.v1.AdminService/PausePool', '/muster.v1.RunnerService/Execute', '/worker.WorkerService/Register'])(
    'gives back a job for %s, which no worker runs',
    async (method) => {
      const { link, events } = await start({ [method]: echo });
      link.assign(assignmentOf({ method }));
      expect(await events.delivery()).toMatchObject({ kind: 'released', reason: expect.stringContaining(method) });
    },
  );

  it('carries many calls at once and delivers each', async () => {
    const { link, events } = await start({ [SAY]: echo });
    for (let i = 0; i < 20; i++) link.assign(assignmentOf({ jobId: `j${i}`, payload: Buffer.from(String(i)) }));
    expect(link.openCalls).toBe(20);
    await events.delivery(20);
    const outputs = events.deliveries.map(({ lease, delivery }) => [
      lease.jobId,
      delivery.kind === 'result' && delivery.outcome.ok && delivery.outcome.output.toString(),
    ]);
    expect(new Map(outputs as [string, string][])).toEqual(new Map(Array.from({ length: 20 }, (_, i) => [`j${i}`, String(i)])));
  });

  it('takes back what it cannot call', async () => {
    const { link, events } = await start({ [SAY]: echo });
    link.assign(assignmentOf({ method: '/test.Echo/Unknown' }));
    expect(await events.delivery()).toEqual({
      kind: 'released',
      blocked: false,
      reason: 'unimplemented: the worker does not know /test.Echo/Unknown',
    });
    link.assign(assignmentOf({ method: '', kind: 'build' }));
    expect(await events.delivery(2)).toMatchObject({ kind: 'released', blocked: false });
  });

  it.each([
    [Code.RESOURCE_EXHAUSTED, { kind: 'released', blocked: true }],
    [Code.INVALID_ARGUMENT, { kind: 'result', outcome: { failure: { code: 3, reason: 'worker_error', retryable: false } } }],
    [Code.INTERNAL, { kind: 'result', outcome: { failure: { code: 13, reason: 'worker_error', retryable: true } } }],
    [Code.UNAVAILABLE, { kind: 'unknown', outcome: { failure: { code: 14, reason: 'worker_lost', retryable: true } } }],
    [Code.CANCELLED, { kind: 'unknown', outcome: { failure: { code: 1, reason: 'worker_lost' } } }],
  ])('reads status %s that the server sent, a sign of life each', async (code, expected) => {
    const { link, events } = await start({ [SAY]: fail(code, 'said so') });
    link.assign(assignmentOf());
    expect(await events.delivery()).toMatchObject(expected);
    expect(events.heardCount).toBe(1);
  });

  it.each([1_025, 1_024 + 65_536 + 1])('fails a result of %s bytes as too large, received or not', async (size) => {
    const { link, events } = await start({ [SAY]: (_call, done) => done(null, Buffer.alloc(size)) });
    link.assign(assignmentOf());
    const failure = { code: Code.RESOURCE_EXHAUSTED, reason: 'result_too_large', retryable: false };
    expect(await events.delivery()).toMatchObject({ kind: 'result', outcome: { ok: false, failure } });
    expect(events.heardCount).toBe(1);
  });

  it('reads a run past its timeout as unknown', async () => {
    const { link, events } = await start({ [SAY]: () => undefined });
    link.assign(assignmentOf({ runTimeoutMs: 1 }));
    expect(await events.delivery()).toMatchObject({
      kind: 'unknown',
      outcome: { failure: { code: Code.DEADLINE_EXCEEDED, reason: 'run_timeout', retryable: true } },
    });
  });

  it.each([
    [Status.SERVING, false],
    [Status.NOT_SERVING, true],
    [Status.SERVICE_UNKNOWN, false],
  ])('reads the health status %s', async (status, busy) => {
    const { link } = await start({ [CHECK]: (_call, done) => done(null, Buffer.from(HealthCheckResponse.encode({ status }).finish())) });
    expect(await link.probe(2_000)).toEqual({ workerId: '', boot: '', busy, held: undefined, tellsIdle: false });
  });

  it('takes any answer of a server without the health protocol for life', async () => {
    const { link, events } = await start({ [SAY]: echo });
    expect(await link.probe(2_000)).toEqual({ workerId: '', boot: '', busy: false, held: undefined, tellsIdle: false });
    expect(events.heardCount).toBe(1);
  });

  it('aborts by cancelling the call, also before it was sent', async () => {
    let began = false;
    const { link, events } = await start({
      [SAY]: () => {
        began = true;
      },
    });
    link.assign(assignmentOf());
    await link.abort('j1', '1712345678901234');
    expect(await events.delivery()).toEqual({ kind: 'aborted', stopped: true });
    expect(began).toBe(false);
    link.assign(assignmentOf({ jobId: 'j2' }));
    await until(() => began);
    await link.abort('j2', '1712345678901234');
    expect(await events.delivery(2)).toEqual({ kind: 'aborted', stopped: true });
  });
});
