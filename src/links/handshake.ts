import { connect } from 'node:http2';
import type { Clock } from '../domain/clock.js';
import { toError } from '../domain/errors.js';
import { type Address, formatAddress } from '../domain/worker.js';

/** `refused`: somebody said no, or nobody listens. `silent`: nothing was heard by the bound, or the network itself failed. */
export type Handshake = { ok: true } | { ok: false; why: 'refused' | 'silent'; message: string };

/** Errors that speak of the peer. Others (no route, no descriptor left) may be our own trouble and are no proof against a worker. */
const PEER_SAID_NO = /ECONNREFUSED|ECONNRESET|EPIPE|ERR_HTTP2|socket hang up|closed/i;

export function saidNo(message: string): boolean {
  return PEER_SAID_NO.test(message);
}

/**
 * Opens one connection, waits for the peer's HTTP/2 settings, closes it. Never rejects.
 *
 * grpc-js never gives up on a peer that accepts TCP and stays mute, and never frees that socket, not even when its client is closed
 * (its connector has no caller for `shutdown`). So a link asks here first, on a socket that it owns: a mute peer costs nothing, and
 * "could not connect" is known before any request exists.
 */
export function handshake(address: Address, timeoutMs: number, clock: Clock): Promise<Handshake> {
  return new Promise((resolve) => {
    const ended = new AbortController();
    const session = connect(`http://${formatAddress(address)}`);
    const end = (result: Handshake) => {
      if (ended.signal.aborted) return;
      ended.abort();
      session.destroy();
      resolve(result);
    };
    session.once('remoteSettings', () => end({ ok: true }));
    // Stays attached: a destroyed session may still report an error, and nobody else listens.
    session.on('error', (thrown: unknown) => {
      const { message } = toError(thrown);
      end({ ok: false, why: saidNo(message) || isHttp2Error(thrown) ? 'refused' : 'silent', message });
    });
    session.once('close', () => end({ ok: false, why: 'refused', message: 'closed before the HTTP/2 settings came' }));
    void clock.sleep(timeoutMs, ended.signal).then(() => end({ ok: false, why: 'silent', message: `no HTTP/2 settings within ${timeoutMs} ms` }));
  });
}

function isHttp2Error(thrown: unknown): boolean {
  return thrown instanceof Error && 'code' in thrown && String(thrown.code).startsWith('ERR_HTTP2');
}
