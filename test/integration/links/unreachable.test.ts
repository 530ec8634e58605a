import type { ServerHttp2Session } from 'node:http2';
import { connect } from 'node:net';
import { describe, expect, it } from 'vitest';
import { NEVER_HEARD } from '../../../src/links/dialed.js';
import { probeOnce } from '../../../src/links/dialer.js';
import { until } from '../../helpers/until.js';
import { atEnd, dial, echo, raw, SAY, unusedPort, worker } from './faults.js';
import { assignmentOf, listen, targetOf } from './support.js';

const UNREACHED = { kind: 'released', blocked: true, unreached: true };

describe('a call that could not be sent', () => {
  it('is released when nobody listens, and no sign of life', async () => {
    const { link, events } = dial(await unusedPort());
    link.assign(assignmentOf());
    expect(await events.delivery()).toMatchObject({ ...UNREACHED, reason: expect.stringMatching(/unreachable.*ECONNREFUSED/) });
    expect(events.heardCount).toBe(0);
    expect(link.heardAt).toBe(NEVER_HEARD);
  });

  it('is released when the worker was there before and is not now, and sent again when it is back', async () => {
    const first = await worker({ [SAY]: echo });
    const { link, events } = dial(first.port);
    link.assign(assignmentOf());
    expect(await events.delivery()).toMatchObject({ kind: 'result' });
    first.stop();
    await until(async () => (await link.probe(1_000).catch((error: { kind: string }) => error.kind)) === 'refused');
    link.assign(assignmentOf({ jobId: 'j2' }));
    expect(await events.delivery(2)).toMatchObject(UNREACHED);
    await worker({ [SAY]: echo }, first.port);
    link.assign(assignmentOf({ jobId: 'j3' }));
    expect(await events.delivery(3)).toMatchObject({ kind: 'result', outcome: { ok: true } });
  });

  it('is released when the peer ends connections as soon as they come, and the probe is refused', async () => {
    const peer = await listen((socket) => socket.destroy());
    atEnd(() => peer.stop());
    const { link, events } = dial(peer.port);
    link.assign(assignmentOf());
    expect(await events.delivery()).toMatchObject({ kind: 'released' });
    await expect(link.probe(2_000)).rejects.toMatchObject({ kind: 'refused' });
  });

  it('is released on a link that is closed', async () => {
    const { link, events } = dial(await unusedPort());
    link.close();
    link.close();
    link.assign(assignmentOf());
    expect(await events.delivery()).toMatchObject({ kind: 'released', blocked: false });
    await expect(link.probe(1_000)).rejects.toMatchObject({ kind: 'silent' });
  });

  it('is released when HTTP/2 refuses its stream on a connection that lives', async () => {
    const peer = await raw((stream) => stream.close(7));
    const { link, events } = dial(peer.port);
    link.assign(assignmentOf());
    expect(await events.delivery()).toMatchObject({ kind: 'released', blocked: false });
  });
});

describe('a peer that accepts and never speaks', () => {
  it('is silent, holds no socket of ours afterwards, and the link heals when a good worker takes its port', async () => {
    const mute = await listen();
    const { link, events } = dial(mute.port);
    await expect(link.probe(2_000)).rejects.toMatchObject({ kind: 'silent' });
    await expect(link.probe(100)).rejects.toMatchObject({ kind: 'silent' });
    link.assign(assignmentOf());
    expect(await events.delivery()).toMatchObject(UNREACHED);
    await until(() => mute.sockets.size === 0, { what: 'our sockets to be closed' });
    await mute.stop();
    await worker({ [SAY]: echo }, mute.port);
    expect(await link.probe(2_000)).toMatchObject({ busy: false });
    link.assign(assignmentOf({ jobId: 'j2' }));
    expect(await events.delivery(2)).toMatchObject({ kind: 'result', outcome: { ok: true } });
  });

  it('wedges no link that connected to it after it had spoken once: the watchdog makes the client anew', async () => {
    const good = await worker({ [SAY]: echo });
    let muteFor = 0;
    // Between link and worker: passes the first connection through, which is the handshake, and is mute on the next.
    const relay = await listen((socket, nth) => {
      if (nth === 2) return void muteFor++;
      const upstream = connect(good.port, '127.0.0.1');
      upstream.on('error', () => undefined);
      socket.pipe(upstream).pipe(socket);
      socket.on('close', () => upstream.destroy());
    });
    atEnd(() => relay.stop());
    const { link, events } = dial(relay.port);
    link.assign(assignmentOf());
    expect(await events.delivery()).toMatchObject(UNREACHED);
    expect(muteFor).toBe(1);
    link.assign(assignmentOf({ jobId: 'j2' }));
    expect(await events.delivery(2)).toMatchObject({ kind: 'result', outcome: { ok: true } });
    expect(await link.probe(2_000)).toMatchObject({ busy: false });
  });

  it('is found silent by a probe while the watchdog has not fired yet', async () => {
    const mute = await listen();
    atEnd(() => mute.stop());
    await expect(probeOnce(targetOf('METHOD', mute.port), 100)).rejects.toMatchObject({ kind: 'silent' });
  });
});

describe('a probe', () => {
  it('is refused at once when nobody listens, and does not answer from memory when somebody does', async () => {
    const port = await unusedPort();
    const { link } = dial(port);
    await expect(link.probe(2_000)).rejects.toMatchObject({ kind: 'refused' });
    await worker({ [SAY]: echo }, port);
    expect(await link.probe(2_000)).toMatchObject({ busy: false });
  });

  it('is silent when the worker takes it and does not answer, and the next one asks over a new connection', async () => {
    const sessions = new Set<ServerHttp2Session>();
    const peer = await raw((_stream, session) => sessions.add(session));
    const { link } = dial(peer.port, 'RUNNER');
    await expect(link.probe(100)).rejects.toMatchObject({ kind: 'silent' });
    await expect(link.probe(100)).rejects.toMatchObject({ kind: 'silent' });
    expect(sessions.size).toBe(2);
  });

  it('that finds its connection broken decides over a fresh one', async () => {
    let streams = 0;
    const peer = await raw((stream) => {
      if (++streams === 1) return peer.cut();
      stream.respond({ ':status': 200, 'content-type': 'application/grpc+proto', 'grpc-status': '12' }, { endStream: true });
    });
    const { link } = dial(peer.port);
    expect(await link.probe(2_000)).toMatchObject({ busy: false, tellsIdle: false });
    expect(streams).toBe(2);
  });
});
