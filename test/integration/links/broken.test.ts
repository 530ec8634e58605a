import { describe, expect, it } from 'vitest';
import { Code } from '../../../src/domain/job.js';
import { until } from '../../helpers/until.js';
import { dial, raw, SAY, worker, workerProcess } from './faults.js';
import { assignmentOf } from './support.js';

const lost = { kind: 'unknown', outcome: { failure: { code: Code.UNAVAILABLE, reason: 'worker_lost', retryable: true } } };

describe('a call that broke after it was sent', () => {
  it('is unknown when the worker is killed under it, and the next one is released', async () => {
    const { child, port, output } = await workerProcess();
    const { link, events } = dial(port);
    link.assign(assignmentOf());
    await until(() => output().includes('began'));
    child.kill('SIGKILL');
    expect(await events.delivery()).toMatchObject(lost);
    expect(events.heardCount).toBe(0);
    link.assign(assignmentOf({ jobId: 'j2' }));
    expect(await events.delivery(2)).toMatchObject({ kind: 'released' });
  });

  it('is unknown when the connection is cut', async () => {
    const peer = await raw(() => peer.cut());
    const { link, events } = dial(peer.port);
    link.assign(assignmentOf());
    expect(await events.delivery()).toMatchObject({ kind: 'unknown', outcome: { failure: { reason: 'worker_lost', retryable: true } } });
  });

  it.each([0, 1, 2, 7, 8, 11])('is unknown when the stream may have begun and the connection goes away with code %s', async (code) => {
    const peer = await raw((stream, session) => {
      session.goaway(code, stream.id ?? 1);
      setImmediate(() => session.destroy());
    });
    const { link, events } = dial(peer.port);
    link.assign(assignmentOf());
    expect(await events.delivery()).toMatchObject({ kind: 'unknown' });
    expect(events.heardCount).toBe(0);
  });

  it.each([1, 2, 8, 11])('is unknown when its stream is reset with code %s', async (code) => {
    const peer = await raw((stream) => stream.close(code));
    const { link, events } = dial(peer.port);
    link.assign(assignmentOf());
    expect(await events.delivery()).toMatchObject({ kind: 'unknown', outcome: { failure: { reason: 'worker_lost' } } });
    expect(events.heardCount).toBe(0);
  });

  it('is unknown when the answer had begun', async () => {
    const peer = await raw((stream) => {
      stream.respond({ ':status': 200, 'content-type': 'application/grpc+proto' });
      stream.write(Buffer.from([0, 0, 0]), () => peer.cut());
    });
    const { link, events } = dial(peer.port);
    link.assign(assignmentOf());
    expect(await events.delivery()).toMatchObject({ kind: 'unknown' });
  });

  it('is unknown when something answers that does not speak gRPC', async () => {
    const peer = await raw((stream) => {
      stream.respond({ ':status': 404, 'content-type': 'text/html' });
      stream.end('<html>not here</html>');
    });
    const { link, events } = dial(peer.port, 'RUNNER');
    link.assign(assignmentOf());
    expect(await events.delivery()).toMatchObject({ kind: 'unknown' });
    await expect(link.probe(2_000)).rejects.toMatchObject({ kind: 'answered_badly' });
    expect(events.heardCount).toBe(0);
  });

  it('goes on when the server says goodbye and finishes what it has; the next call takes a new connection', async () => {
    let finish: (() => void) | undefined;
    let streams = 0;
    const peer = await raw((stream, session) => {
      streams++;
      const answer = () => {
        stream.respond({ ':status': 200, 'content-type': 'application/grpc+proto' }, { waitForTrailers: true });
        stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
        stream.end(Buffer.from([0, 0, 0, 0, 0]));
      };
      if (streams > 1) return answer();
      session.goaway(0, stream.id ?? 1);
      finish = answer;
    });
    const { link, events } = dial(peer.port);
    link.assign(assignmentOf());
    await until(() => finish);
    expect(await link.probe(2_000)).toMatchObject({ busy: false });
    link.assign(assignmentOf({ jobId: 'j2' }));
    expect(await events.delivery()).toEqual({ kind: 'result', outcome: { ok: true, output: Buffer.alloc(0) } });
    expect(events.deliveries[0]?.lease.jobId).toBe('j2');
    expect(link.isOpen('j1', assignmentOf().fence)).toBe(true);
    finish?.();
    expect(await events.delivery(2)).toEqual({ kind: 'result', outcome: { ok: true, output: Buffer.alloc(0) } });
  });

  it('is unknown when its link is closed under it, and cancelled at the worker', async () => {
    let cancelled = false;
    let began = false;
    const { port } = await worker({
      [SAY]: (call) => {
        began = true;
        call.on('cancelled', () => {
          cancelled = true;
        });
      },
    });
    const { link, events } = dial(port);
    link.assign(assignmentOf());
    await until(() => began);
    link.close();
    expect(await events.delivery()).toMatchObject({ kind: 'unknown' });
    await until(() => cancelled);
    expect(link.openCalls).toBe(0);
  });
});
