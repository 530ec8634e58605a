import type { SecureContext } from 'node:tls';
import { Client, type ClientOptions, connectivityState, credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import { type Answer, answered, broken, isGrpc, unsent } from '../domain/answer.js';
import type { Clock } from '../domain/clock.js';
import { toError } from '../domain/errors.js';
import { Code } from '../domain/job.js';
import { type Address, formatAddress } from '../domain/worker.js';
import { type Handshake, handshake, saidNo } from './handshake.js';
import type { WorkerTls } from './security.js';

/** grpc-js counts deadlines in 32 bits, and rounds them up to seconds on the wire: a longer one would have passed already. */
const LONGEST_DEADLINE_MS = 2_147_000_000;

/**
 * One worker's connection: a grpc-js client that is thrown away whenever its state is in doubt, and what became of a call on it.
 *
 * A client is used while it is READY, or fresh from a handshake that just succeeded. In every other state (idle after a loss or a GOAWAY,
 * in backoff, found stuck) it is dropped and the address is asked anew, so no call is answered out of a channel's memory and no mute peer
 * holds a channel for good. Dropping is graceful in grpc-js: streams that are open on the old connection go on to their end.
 */
export interface WireOptions {
  clock: Clock;
  maxReceiveBytes: number;
  maxSendBytes: number;
  /** A connection that is not usable by then is given up and made anew. */
  connectTimeoutMs: number;
  /** What the worker must show; undefined: plaintext. */
  tls?: WorkerTls | undefined;
  /** Asked right before each connection; throws when there must be none. */
  permit?: (() => void) | undefined;
}

export interface WireRequest {
  path: string;
  bytes: Buffer;
  /** The deadline of the whole, connecting included. */
  timeoutMs: number;
  metadata?: Metadata;
}

export type { Answer };

export interface WireCall {
  cancel(): void;
  /** Never rejects. */
  readonly answer: Promise<Answer>;
}

/** Whether a call's owner wants its end, and what is to be done then. An AbortController for each job shows in the profile. */
interface Stop {
  wanted: boolean;
  act: (() => void) | undefined;
}

/** Pings only while calls are open: C-core servers end connections that ping without data more often than every 5 minutes. */
const KEEPALIVE_TIME_MS = 15_000;
const KEEPALIVE_TIMEOUT_MS = 5_000;
const RECONNECT_MIN_MS = 100;
const RECONNECT_MAX_MS = 1_000;
/** In what grpc-js tells of a connection that it could not make to who was met a moment before. */
const ABOUT_TLS = /certificate|SSL routines/;

const identity = (bytes: Buffer): Buffer => bytes;

export class Wire {
  readonly #address: Address;
  readonly #options: WireOptions;
  readonly #end = new AbortController();
  #client: Client | undefined;
  /** What the client's connection is secured with. */
  #context: SecureContext | undefined;
  /** The client's connection was not seen READY yet. */
  #fresh = false;
  #proving: Promise<Handshake> | undefined;
  #watched: Client | undefined;

  constructor(address: Address, options: WireOptions) {
    this.#address = address;
    this.#options = options;
  }

  call(request: WireRequest): WireCall {
    const stop: Stop = { wanted: false, act: undefined };
    const cancel = () => {
      stop.wanted = true;
      stop.act?.();
    };
    const client = this.#usable();
    const answer = client === undefined ? this.#connect(request, stop) : this.#invoke(client, request, request.timeoutMs, stop);
    return { cancel, answer };
  }

  /** The next call dials anew; calls that are open go on, calls that still wait for the connection end as not sent. */
  drop(): void {
    const client = this.#client;
    this.#client = undefined;
    client?.close();
  }

  /** Idempotent. Open calls are for their owner to cancel. */
  close(): void {
    this.#end.abort();
    this.drop();
  }

  async #connect(request: WireRequest, stop: Stop): Promise<Answer> {
    const { clock, connectTimeoutMs } = this.#options;
    const startedAt = clock.monotonic();
    const proof = await this.#prove(Math.min(request.timeoutMs, connectTimeoutMs), stop);
    if (stop.wanted || this.#end.signal.aborted) return unsent(Code.CANCELLED, 'cancelled before it was sent', 'silent');
    if (!proof.ok) return unsent(Code.UNAVAILABLE, proof.message, proof.why);
    const client = this.#usable() ?? this.#make();
    return this.#invoke(client, request, request.timeoutMs - (clock.monotonic() - startedAt), stop);
  }

  #usable(): Client | undefined {
    const client = this.#client;
    if (client === undefined) return undefined;
    const state = client.getChannel().getConnectivityState(false);
    // With other keys it is to show again who it is: an authority may be trusted no more.
    const same = this.#options.tls?.context === this.#context;
    if (same && state === connectivityState.READY) {
      this.#fresh = false;
      return client;
    }
    if (same && this.#fresh && state !== connectivityState.TRANSIENT_FAILURE) return client;
    this.drop();
    return undefined;
  }

  /** One handshake at a time, whoever waits for it; each waits no longer than its own bound. */
  async #prove(timeoutMs: number, stop: Stop): Promise<Handshake> {
    if (this.#end.signal.aborted) return { ok: false, why: 'silent', message: 'the link is closed' };
    const { clock } = this.#options;
    this.#proving ??= this.#meet().finally(() => {
      this.#proving = undefined;
    });
    let stopTimer = () => {};
    const late = new Promise<Handshake>((resolve) => {
      const give = () => resolve({ ok: false, why: 'silent', message: `no connection within ${timeoutMs} ms` });
      stopTimer = clock.after(timeoutMs, give);
      stop.act = give;
    });
    const result = await Promise.race([this.#proving, late]);
    stopTimer();
    stop.act = undefined;
    return result;
  }

  /** The one place that opens connections: grpc-js opens its own to who was met here, a moment later. */
  async #meet(): Promise<Handshake> {
    const { clock, connectTimeoutMs, tls, permit } = this.#options;
    try {
      permit?.();
      return await handshake(this.#address, connectTimeoutMs, clock, tls);
    } catch (thrown) {
      // Our own reasons, which say nothing of the worker.
      return { ok: false, why: 'silent', message: toError(thrown).message };
    }
  }

  #make(): Client {
    const scheme = this.#address.ip.includes(':') ? 'ipv6' : 'ipv4';
    const { tls } = this.#options;
    this.#context = tls?.context;
    const secured = this.#context && credentials.createFromSecureContext(this.#context, { checkServerIdentity: tls?.checkServerIdentity });
    const client = new Client(`${scheme}:${formatAddress(this.#address)}`, secured ?? credentials.createInsecure(), this.#channelOptions());
    this.#client = client;
    this.#fresh = true;
    return client;
  }

  #channelOptions(): ClientOptions {
    const { tls } = this.#options;
    return {
      ...(tls && { 'grpc.ssl_target_name_override': tls.serverName }),
      // A shared pool would hand a stuck connection to the client that replaces it.
      'grpc.use_local_subchannel_pool': 1,
      'grpc.enable_retries': 0,
      'grpc.enable_http_proxy': 0,
      'grpc.enable_channelz': 0,
      'grpc.keepalive_time_ms': KEEPALIVE_TIME_MS,
      'grpc.keepalive_timeout_ms': KEEPALIVE_TIMEOUT_MS,
      'grpc.keepalive_permit_without_calls': 0,
      'grpc.initial_reconnect_backoff_ms': RECONNECT_MIN_MS,
      'grpc.max_reconnect_backoff_ms': RECONNECT_MAX_MS,
      'grpc.max_receive_message_length': this.#options.maxReceiveBytes,
      'grpc.max_send_message_length': this.#options.maxSendBytes,
    };
  }

  #invoke(client: Client, request: WireRequest, leftMs: number, stop: Stop): Promise<Answer> {
    this.#watch(client);
    return new Promise((resolve) => {
      let headers = false;
      const deadline = this.#options.clock.now() + Math.min(Math.max(1, leftMs), LONGEST_DEADLINE_MS);
      try {
        const { path, bytes, metadata = new Metadata() } = request;
        const call = untraced(() =>
          client.makeUnaryRequest(path, identity, identity, bytes, metadata, { deadline }, (error, response) => {
            stop.act = undefined;
            resolve(error === null ? answered(response) : this.#failed(client, error, call.getPeer(), headers));
          }),
        );
        stop.act = () => call.cancel();
        call.on('metadata', (metadata) => {
          headers = isGrpc(contentType(metadata));
        });
        if (stop.wanted) call.cancel();
      } catch (thrown) {
        resolve(unsent(Code.UNAVAILABLE, toError(thrown).message, 'silent'));
      }
    });
  }

  #failed(client: Client, error: ServiceError, peer: string, headers: boolean): Answer {
    const { code, details } = error;
    // The peer of a call is the channel's own target until a stream was made for it, and then an address (or "unknown").
    if (peer === client.getChannel().getTarget()) {
      const stuck = this.#client !== client;
      if (!stuck) this.drop();
      if (this.#options.tls !== undefined && ABOUT_TLS.test(details)) return unsent(code, details, 'untrusted');
      return unsent(code, details, !stuck && saidNo(details) ? 'refused' : 'silent');
    }
    const alive = client.getChannel().getConnectivityState(false) === connectivityState.READY;
    return broken({ code, details, contentType: contentType(error.metadata), headers, alive });
  }

  /** Gives up a client that does not become READY, so that the calls that wait in it end and the next one dials anew. */
  #watch(client: Client): void {
    if (this.#watched === client || client.getChannel().getConnectivityState(false) === connectivityState.READY) return;
    this.#watched = client;
    const { clock, connectTimeoutMs } = this.#options;
    void clock.sleep(connectTimeoutMs, this.#end.signal).then(() => {
      if (this.#watched === client) this.#watched = undefined;
      if (this.#client === client && client.getChannel().getConnectivityState(false) !== connectivityState.READY) this.drop();
    });
  }
}

function contentType(metadata: Metadata | undefined): string {
  return String(metadata?.get('content-type')[0] ?? '');
}

/** grpc-js takes the caller's stack at each call, 2 to 5 % of what a job costs this process. Nobody reads it here. */
function untraced<T>(make: () => T): T {
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 0;
  try {
    return make();
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
  }
}
