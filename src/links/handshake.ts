import { connect } from 'node:http2';
import type { Unreached } from '../domain/answer.js';
import type { Clock } from '../domain/clock.js';
import { toError } from '../domain/errors.js';
import { type Address, formatAddress } from '../domain/worker.js';
import { tlsTrouble, type WorkerTls } from './security.js';

export type Handshake = { ok: true } | { ok: false; why: Unreached; message: string };

/** Errors that speak of the peer. Others (no route, no descriptor left) may be our own trouble and are no proof against a worker. */
const PEER_SAID_NO = /ECONNREFUSED|ECONNRESET|EPIPE|ERR_HTTP2|socket hang up|closed/i;

export function saidNo(message: string): boolean {
  return PEER_SAID_NO.test(message);
}

/**
 * Opens one connection, waits for the peer's HTTP/2 settings, closes it. Never rejects. `tls`: what the peer must show; undefined: plaintext.
 *
 * grpc-js never gives up on a peer that accepts TCP and stays mute, and never frees that socket, not even when its client is closed
 * (its connector has no caller for `shutdown`). So a link asks here first, on a socket that it owns: a mute peer costs nothing, and
 * "could not connect" is known before any request exists.
 */
export function handshake(address: Address, timeoutMs: number, clock: Clock, tls?: WorkerTls): Promise<Handshake> {
  return new Promise((resolve) => {
    const ended = new AbortController();
    const at = formatAddress(address);
    const context = tls?.context;
    const session = tls === undefined ? connect(`http://${at}`) : connect(`https://${at}`, tls.options());
    let connected = false;
    session.once('connect', (_, socket) => {
      connected = true;
      // What TLS says after the handshake ("certificate required") does not get as far as the session.
      socket.on('error', failed);
    });
    const end = (result: Handshake) => {
      if (ended.signal.aborted) return;
      ended.abort();
      session.destroy();
      resolve(result);
    };
    // Some peers tell a certificate that they miss, or do not trust, by no more than the end of the connection.
    const hint = () => (tls !== undefined && connected ? ' (if it asks for a certificate: DIAL_CERT)' : '');
    session.once('remoteSettings', () => {
      if (context !== undefined) tls?.proved(context);
      end({ ok: true });
    });
    const failed = (thrown: unknown) => {
      const { message } = toError(thrown);
      const trouble = tls && tlsTrouble(thrown, at, connected);
      if (trouble !== undefined) return end({ ok: false, why: 'untrusted', message: trouble });
      end({ ok: false, why: saidNo(message) || isHttp2Error(thrown) ? 'refused' : 'silent', message: message + hint() });
    };
    // Stays attached: a destroyed session may still report an error, and nobody else listens.
    session.on('error', failed);
    session.once('close', () => end({ ok: false, why: 'refused', message: `closed before the HTTP/2 settings came${hint()}` }));
    void clock.sleep(timeoutMs, ended.signal).then(() => end({ ok: false, why: 'silent', message: `no HTTP/2 settings within ${timeoutMs} ms` }));
  });
}

function isHttp2Error(thrown: unknown): boolean {
  return thrown instanceof Error && 'code' in thrown && String(thrown.code).startsWith('ERR_HTTP2');
}
