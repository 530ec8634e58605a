import { connect } from 'node:net';
import { ServerCredentials } from '@grpc/grpc-js';
import { describe, expect, it } from 'vitest';
import type { Link } from '../../../src/domain/link.js';
import { DialSecurity, dialContext } from '../../../src/links/security.js';
import { createCa } from '../../helpers/certs.js';
import { timerOf } from '../../helpers/tcp-timer.js';
import { until } from '../../helpers/until.js';
import { atEnd, SAY, worker } from './faults.js';
import { assignmentOf, dialer, type Handler, listen, Recorder, serve, targetOf } from './support.js';

const CHECK = '/grpc.health.v1.Health/Check';
const ASKING = { everyMs: 20, timeoutMs: 60 };

/** A METHOD worker's link that asks often. */
function dial(port: number, options: Parameters<typeof dialer>[0] = {}): { link: Link; events: Recorder } {
  const events = new Recorder();
  const link = dialer({ asking: ASKING, ...options }).dial(targetOf('METHOD', port), events);
  atEnd(() => link.close());
  return { link, events };
}

/** A handler whose calls wait to be answered. */
function gate() {
  const calls: { peer: string; answer: () => void }[] = [];
  const handler: Handler = (call, done) => void calls.push({ peer: call.getPeer(), answer: () => done(null, call.request) });
  return { calls, handler };
}

/** Answers the health protocol with SERVING; `asked`: the peers that asked. */
function health() {
  const asked: string[] = [];
  const handler: Handler = (call, done) => {
    asked.push(call.getPeer());
    done(null, Buffer.from([8, 1]));
  };
  return { asked, handler };
}

/** More than any keepalive of the test's own could take to act. */
async function aWhile(): Promise<void> {
  const since = performance.now();
  await until(() => performance.now() - since > 8 * ASKING.everyMs);
}

/** Between link and worker: swallows, and acknowledges, what goes through the connections (counted from 1) whose taps are shut. */
async function tapped(port: number) {
  const shut = new Set<number>();
  const open = new Set<number>();
  const relay = await listen((socket, nth) => {
    open.add(nth);
    const upstream = connect(port, '127.0.0.1');
    upstream.on('error', () => undefined);
    socket.on('data', (bytes) => shut.has(nth) || upstream.write(bytes));
    upstream.on('data', (bytes) => shut.has(nth) || socket.write(bytes));
    socket.on('close', () => {
      open.delete(nth);
      upstream.destroy();
    });
    upstream.on('close', () => socket.destroy());
  });
  atEnd(() => relay.stop());
  return { port: relay.port, open, shut };
}

describe('what a worker runs when its connection goes, and answers', () => {
  it('because the worker leaves', async () => {
    const { calls, handler } = gate();
    const served = await worker({ [SAY]: handler });
    const { link, events } = dial(served.port);
    link.assign(assignmentOf());
    await until(() => calls.length === 1);
    served.leave();
    await aWhile();
    expect(events.deliveries).toEqual([]);
    calls[0]?.answer();
    expect(await events.delivery()).toMatchObject({ kind: 'result', outcome: { ok: true, output: Buffer.from('hello') } });
  });

  it('because the worker missed a probe', async () => {
    const { calls, handler } = gate();
    const { asked, handler: healthy } = health();
    let mute = true;
    const { port } = await worker({ [SAY]: handler, [CHECK]: (call, done) => (mute ? undefined : healthy(call, done)) });
    const { link, events } = dial(port);
    link.assign(assignmentOf());
    await until(() => calls.length === 1);
    await expect(link.probe(50)).rejects.toMatchObject({ kind: 'silent' });
    mute = false;
    expect(await link.probe(2_000)).toMatchObject({ busy: false });
    await until(() => asked.filter((peer) => peer === calls[0]?.peer).length >= 2, { what: 'questions on the old connection' });
    expect(new Set(asked).size).toBe(2);
    calls[0]?.answer();
    expect(await events.delivery()).toMatchObject({ kind: 'result', outcome: { ok: true } });
  });

  it('because the authorities were exchanged', async () => {
    const ca = await createCa();
    const { cert, key } = await ca.issue(['muster:worker:w']);
    const { calls, handler } = gate();
    const { asked, handler: healthy } = health();
    const shown = [{ cert_chain: Buffer.from(cert), private_key: Buffer.from(key) }];
    const served = await serve({ [SAY]: handler, [CHECK]: healthy }, 0, { credentials: ServerCredentials.createSsl(null, shown) });
    atEnd(() => served.stop());
    const fresh = () => dialContext({ ca: ca.cert, cert: '', key: '' });
    let context = fresh();
    const security = new DialSecurity({ insecure: false, plaintext: [], contexts: { current: () => context } });
    const { link, events } = dial(served.port, { security, connectTimeoutMs: 2_000 });
    link.assign(assignmentOf());
    await until(() => calls.length === 1);
    context = fresh();
    expect(await link.probe(2_000)).toMatchObject({ busy: false });
    await until(() => asked.filter((peer) => peer === calls[0]?.peer).length >= 2, { what: 'questions on the old connection' });
    served.leave();
    await aWhile();
    calls[0]?.answer();
    expect(await events.delivery()).toMatchObject({ kind: 'result', outcome: { ok: true } });
  });
});

describe('a connection that was given up', () => {
  /** A link with a call open on a connection that was given up, and on which the worker has answered a question since. */
  async function givenUp(asking = ASKING) {
    const { calls, handler } = gate();
    const { asked, handler: healthy } = health();
    const worked = { busy: true, unanswered: 0 };
    const served = await worker({ [SAY]: handler, [CHECK]: (call, done) => (worked.busy ? void worked.unanswered++ : healthy(call, done)) });
    const tap = await tapped(served.port);
    const { link, events } = dial(tap.port, { asking });
    link.assign(assignmentOf());
    await until(() => calls.length === 1);
    const [old = 0] = [...tap.open].slice(-1);
    await expect(link.probe(50)).rejects.toMatchObject({ kind: 'silent' });
    worked.busy = false;
    await until(() => asked.includes(calls[0]?.peer ?? ''), { what: 'a question on the old connection' });
    expect(tap.open).toContain(old);
    return { link, events, calls, worked, tap, old };
  }

  it('is closed when its last call has ended, and the link goes on', async () => {
    const { link, events, calls, tap, old } = await givenUp();
    calls[0]?.answer();
    expect(await events.delivery()).toMatchObject({ kind: 'result' });
    await until(() => !tap.open.has(old), { what: 'the old connection to be closed' });
    link.assign(assignmentOf({ jobId: 'j2' }));
    await until(() => calls.length === 2);
    expect(calls[1]?.peer).not.toBe(calls[0]?.peer);
  });

  it('is broken, and its call with it, when nothing comes back on it while the worker answers on another', async () => {
    const { events, tap, old } = await givenUp();
    tap.shut.add(old);
    expect(await events.delivery()).toMatchObject({ kind: 'unknown', outcome: { failure: { reason: 'worker_lost' } } });
    await until(() => !tap.open.has(old), { what: 'the old connection to be closed' });
  });

  it('is left alone while the worker answers nowhere: it may compute', async () => {
    const { events, calls, worked, tap, old } = await givenUp();
    worked.busy = true;
    const since = performance.now();
    await until(() => performance.now() - since > 2 * (ASKING.everyMs + 2 * ASKING.timeoutMs));
    expect(tap.open).toContain(old);
    calls[0]?.answer();
    expect(await events.delivery()).toMatchObject({ kind: 'result', outcome: { ok: true } });
  });

  it('ends with the link, and so does the question on it', async () => {
    const { link, events, worked, tap } = await givenUp({ everyMs: 20, timeoutMs: 60_000 });
    const { unanswered } = worked;
    worked.busy = true;
    await until(() => worked.unanswered > unanswered, { what: 'a question that is not answered' });
    link.close();
    expect(await events.delivery()).toMatchObject({ kind: 'unknown' });
    await until(() => tap.open.size === 0, { what: 'all connections to be closed' });
  });
});

describe.runIf(process.platform === 'linux')('its connections are kept alive by TCP', () => {
  it.each(['plaintext', 'TLS'])('by %s', async (how) => {
    const { calls, handler } = gate();
    const ca = await createCa();
    const { cert, key } = await ca.issue(['muster:worker:w']);
    const credentials = ServerCredentials.createSsl(null, [{ cert_chain: Buffer.from(cert), private_key: Buffer.from(key) }]);
    const context = dialContext({ ca: ca.cert, cert: '', key: '' });
    const security = new DialSecurity({ insecure: false, plaintext: how === 'TLS' ? [] : ['127.0.0.0/8'], contexts: { current: () => context } });
    const served = await serve({ [SAY]: handler }, 0, how === 'TLS' ? { credentials } : {});
    atEnd(() => served.stop());
    dial(served.port, { security, connectTimeoutMs: 2_000 }).link.assign(assignmentOf());
    await until(() => calls.length === 1);
    const ours = Number(calls[0]?.peer.split(':').at(-1));
    await until(() => timerOf(ours, served.port) === '02', { what: "the kernel's keepalive timer" });
  });
});
