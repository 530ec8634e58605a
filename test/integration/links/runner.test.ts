import { afterEach, describe, expect, it } from 'vitest';
import { Code } from '../../../src/domain/job.js';
import type { Link } from '../../../src/domain/link.js';
import { AbortRequest, ExecuteRequest, ExecuteResponse, ProbeResponse, RunnerStatus } from '../../../src/grpc/generated/muster/v1/runner.js';
import { until } from '../../helpers/until.js';
import { assignmentOf, dialer, fail, type Handler, Recorder, type Served, serve, targetOf } from './support.js';

const EXECUTE = '/muster.v1.RunnerService/Execute';
const ABORT = '/muster.v1.RunnerService/Abort';
const PROBE = '/muster.v1.RunnerService/Probe';

let served: Served | undefined;
let link: Link | undefined;
afterEach(() => {
  link?.close();
  served?.stop();
});

async function start(handlers: Record<string, Handler>) {
  const events = new Recorder();
  served = await serve(handlers);
  link = dialer().dial(targetOf('RUNNER', served.port), events);
  return { link, events };
}

const job = assignmentOf({ kind: 'build', method: '', runTimeoutMs: 2_500, metadata: { a: 'b' }, progress: Buffer.from('half') });

function answer(response: ExecuteResponse['answer']): Handler {
  return (_call, done) => done(null, Buffer.from(ExecuteResponse.encode({ answer: response }).finish()));
}

describe('a RUNNER link', () => {
  it('sends the whole assignment and delivers the result once', async () => {
    let seen: ExecuteRequest | undefined;
    const { link, events } = await start({
      [EXECUTE]: (call, done) => {
        seen = ExecuteRequest.decode(call.request);
        answer({ $case: 'result', value: { jobId: job.jobId, fence: job.fence, outcome: { $case: 'output', value: Buffer.from('done') } } })(
          call,
          done,
        );
      },
    });
    link.assign(job);
    link.assign(job);
    expect(link.isOpen(job.jobId, job.fence)).toBe(true);
    expect(link.openCalls).toBe(1);
    expect(await events.delivery()).toEqual({ kind: 'result', outcome: { ok: true, output: Buffer.from('done') } });
    expect(seen?.assignment).toMatchObject({
      jobId: 'j1',
      fence: job.fence,
      kind: 'build',
      attempt: 1,
      metadata: { a: 'b' },
      runTimeout: { seconds: '2', nanos: 500_000_000 },
    });
    expect(Buffer.from(seen?.assignment?.progress ?? []).toString()).toBe('half');
    expect(events.deliveries).toHaveLength(1);
    expect(events.deliveries[0]?.lease).toEqual({ pool: 'p', worker: 'w', jobId: 'j1', fence: job.fence });
    expect(link.openCalls).toBe(0);
    expect(events.heardCount).toBe(1);
    expect(link.heardAt).toBeGreaterThan(0);
  });

  it('delivers accepted', async () => {
    const { link, events } = await start({ [EXECUTE]: answer({ $case: 'accepted', value: {} }) });
    link.assign(job);
    expect(await events.delivery()).toEqual({ kind: 'accepted' });
  });

  it("delivers the worker's own failure, and when it wants to be tried again", async () => {
    const failure = { code: Code.ABORTED, message: 'no', reason: 'disk_full', retryable: true, details: Buffer.from('d') };
    const { link, events } = await start({
      [EXECUTE]: answer({
        $case: 'result',
        value: { jobId: 'j1', fence: job.fence, outcome: { $case: 'failure', value: { ...failure, retryDelay: { seconds: '2', nanos: 1 } } } },
      }),
    });
    link.assign(job);
    expect(await events.delivery()).toEqual({ kind: 'result', outcome: { ok: false, failure, retryAfterMs: 2_001 } });
  });

  it('probes what it holds', async () => {
    const response = {
      workerId: 'w',
      boot: 'b',
      status: RunnerStatus.RUNNER_STATUS_BUSY,
      held: [{ jobId: 'j1', fence: '7', done: false, progress: Buffer.alloc(0) }],
    };
    const { link, events } = await start({ [PROBE]: (_call, done) => done(null, Buffer.from(ProbeResponse.encode(response).finish())) });
    expect(await link.probe(2_000)).toEqual({
      workerId: 'w',
      boot: 'b',
      busy: true,
      held: [{ jobId: 'j1', fence: '7', done: false }],
      tellsIdle: true,
    });
    expect(events.heardCount).toBe(1);
  });

  it('calls a probe that cannot be decoded, or is not implemented, answered badly, and a sign of life', async () => {
    const { link, events } = await start({ [PROBE]: (_call, done) => done(null, Buffer.from([0xff, 0xff, 0xff])) });
    await expect(link.probe(2_000)).rejects.toMatchObject({ name: 'ProbeFailed', kind: 'answered_badly' });
    expect(events.heardCount).toBe(1);
    link.close();
    served?.stop();
    const other = await start({ [EXECUTE]: fail(Code.INTERNAL, '') });
    await expect(other.link.probe(2_000)).rejects.toMatchObject({ kind: 'answered_badly' });
  });

  it('aborts by Abort and lets the worker end the call', async () => {
    let abort: AbortRequest | undefined;
    let end: (() => void) | undefined;
    const { link, events } = await start({
      [EXECUTE]: (call, done) => {
        end = () => fail(Code.CANCELLED, 'stopped')(call, done);
      },
      [ABORT]: (call, done) => {
        abort = AbortRequest.decode(call.request);
        done(null, Buffer.alloc(0));
      },
    });
    link.assign(job);
    await until(() => end);
    await link.abort(job.jobId, job.fence);
    expect(abort).toEqual({ jobId: 'j1', fence: job.fence });
    expect(events.deliveries).toEqual([]);
    end?.();
    expect(await events.delivery()).toEqual({ kind: 'aborted', stopped: true });
  });

  it('delivers the result of an aborted attempt that had ended already', async () => {
    let end: (() => void) | undefined;
    const { link, events } = await start({
      [EXECUTE]: (call, done) => {
        end = () =>
          answer({ $case: 'result', value: { jobId: 'j1', fence: job.fence, outcome: { $case: 'output', value: Buffer.from('x') } } })(call, done);
      },
      [ABORT]: (_call, done) => done(null, Buffer.alloc(0)),
    });
    link.assign(job);
    await until(() => end);
    await link.abort(job.jobId, job.fence);
    end?.();
    expect(await events.delivery()).toMatchObject({ kind: 'result', outcome: { ok: true } });
  });

  it('ends the call itself when the worker does not after an Abort', async () => {
    let began = false;
    const { link, events } = await start({
      [EXECUTE]: () => {
        began = true;
      },
    });
    link.assign(job);
    await until(() => began);
    await link.abort(job.jobId, job.fence);
    expect(await events.delivery()).toEqual({ kind: 'aborted', stopped: false });
    expect(link.isOpen(job.jobId, job.fence)).toBe(false);
  });

  it('tells the worker to stop an attempt whose call is over', async () => {
    let abort: AbortRequest | undefined;
    const { link, events } = await start({
      [ABORT]: (call, done) => {
        abort = AbortRequest.decode(call.request);
        done(null, Buffer.alloc(0));
      },
    });
    await link.abort('gone', '9');
    expect(abort).toEqual({ jobId: 'gone', fence: '9' });
    expect(events.deliveries).toEqual([]);
  });
});
