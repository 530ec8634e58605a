import { afterEach, describe, expect, it } from 'vitest';
import { Code } from '../../../src/domain/job.js';
import type { Link } from '../../../src/domain/link.js';
import { JobRequest, JobResponse, PingResponse, WorkerStatus } from '../../../src/grpc/generated/job/job.js';
import { probeOnce } from '../../../src/links/dialer.js';
import { until } from '../../helpers/until.js';
import { assignmentOf, dialer, fail, type Handler, Recorder, type Served, serve, targetOf } from './support.js';

const RUN = '/job.JobService/RunJob';
const PING = '/job.JobService/Ping';

let served: Served | undefined;
let link: Link | undefined;
afterEach(() => {
  link?.close();
  served?.stop();
});

async function start(handlers: Record<string, Handler>) {
  const events = new Recorder();
  served = await serve(handlers);
  link = dialer().dial(targetOf('LEGACY', served.port), events);
  return { link, events, port: served.port };
}

const request = {
  jobId: 'j1',
  repoUrl: 'https://example.org/r.git',
  branch: 'main',
  dockerfilePath: 'Dockerfile',
  contextDir: '.',
  imageName: 'i',
  githubToken: 't',
};
const job = assignmentOf({ method: RUN, payload: Buffer.from(JobRequest.encode(request).finish()) });
const response = { jobId: 'j1', success: true, logs: 'l', imageUrl: 'u', error: '' };

function respond(message: JobResponse, extra = Buffer.alloc(0)): Handler {
  return (_call, done) => done(null, Buffer.concat([JobResponse.encode(message).finish(), extra]));
}

function ping(status: WorkerStatus): Handler {
  return (_call, done) => done(null, Buffer.from(PingResponse.encode({ workerId: 'w7', status }).finish()));
}

describe('a LEGACY link', () => {
  it.each([
    ['another method', { method: '/bank.Ledger/Transfer', kind: '' }],
    ['a kind', { method: '', kind: 'build' }],
  ])('gives back a job of %s, and sends nothing', async (_, work) => {
    const sent: string[] = [];
    const { link, events } = await start({
      [RUN]: (call, done) => {
        sent.push(RUN);
        respond(response)(call, done);
      },
    });
    link.assign(assignmentOf({ ...work, payload: job.payload }));
    expect(await events.delivery()).toMatchObject({ kind: 'released', blocked: false, reason: expect.stringContaining(work.method || work.kind) });
    expect(sent).toEqual([]);
  });

  it('passes the request through and hands the response on as it came, unknown fields too', async () => {
    let seen: JobRequest | undefined;
    const unknownField = Buffer.from([0x98, 0x06, 0x01]);
    const { link, events } = await start({
      [RUN]: (call, done) => {
        seen = JobRequest.decode(call.request);
        respond(response, unknownField)(call, done);
      },
    });
    link.assign(job);
    const expected = Buffer.concat([JobResponse.encode(response).finish(), unknownField]);
    expect(await events.delivery()).toEqual({ kind: 'result', outcome: { ok: true, output: expected } });
    expect(seen).toEqual(request);
  });

  it('reads success=false as a failed job and keeps its bytes', async () => {
    const message = { ...response, success: false, error: 'no such branch' };
    const { link, events } = await start({ [RUN]: respond(message) });
    link.assign(job);
    const details = Buffer.from(JobResponse.encode(message).finish());
    const failure = { code: Code.UNKNOWN, reason: 'job_failed', message: 'no such branch', retryable: true, details };
    expect(await events.delivery()).toEqual({ kind: 'result', outcome: { ok: false, failure } });
  });

  it('takes an error that says busy back as released and blocked', async () => {
    const { link, events } = await start({ [RUN]: fail(Code.UNKNOWN, 'worker is busy') });
    link.assign(job);
    expect(await events.delivery()).toMatchObject({ kind: 'released', blocked: true });
  });

  it('aborts by cancelling the call', async () => {
    let cancelled = false;
    let began = false;
    const { link, events } = await start({
      [RUN]: (call) => {
        began = true;
        call.on('cancelled', () => {
          cancelled = true;
        });
      },
    });
    link.assign(job);
    await until(() => began);
    await link.abort(job.jobId, job.fence);
    expect(events.deliveries.map(({ delivery }) => delivery)).toEqual([{ kind: 'aborted', stopped: false }]);
    await until(() => cancelled, { what: 'the worker to see the cancel' });
  });

  it.each([
    [WorkerStatus.FREE, { busy: false, tellsIdle: true }],
    [WorkerStatus.BUSY, { busy: true, tellsIdle: false }],
    [WorkerStatus.UNKNOWN, { busy: false, tellsIdle: false }],
  ])('reads the ping status %s', async (status, expected) => {
    const { link } = await start({ [PING]: ping(status) });
    expect(await link.probe(2_000)).toEqual({ workerId: 'w7', boot: '', held: undefined, ...expected });
  });

  it('calls a worker without Ping answered badly', async () => {
    const { link } = await start({ [RUN]: respond(response) });
    await expect(link.probe(2_000)).rejects.toMatchObject({ kind: 'answered_badly' });
  });

  it('probes once over a connection of its own', async () => {
    const { port } = await start({ [PING]: ping(WorkerStatus.FREE) });
    expect(await probeOnce(targetOf('LEGACY', port), 2_000)).toMatchObject({ workerId: 'w7', tellsIdle: true });
  });
});
