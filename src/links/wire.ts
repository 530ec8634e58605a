import { type ClientOptions, connectivityState, credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import { type Answer, answered, broken, isGrpc, unsent } from '../domain/answer.js';
import type { Clock } from '../domain/clock.js';
import { deadlineIn } from '../domain/deadline.js';
import { toError } from '../domain/errors.js';
import { Code } from '../domain/job.js';
import { type Address, formatAddress } from '../domain/worker.js';
import { HealthCheckRequest, HealthService } from '../grpc/generated/grpc/health/v1/health.js';
import { type Handshake, handshake, saidNo } from './handshake.js';
import { Line } from './line.js';
import { type Asking, Retired } from './retired.js';
import type { WorkerTls } from './security.js';

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
  /** ASKING unless said. */
  asking?: Asking | undefined;
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

/** Of a connection that was given up, while calls are open on it. */
const ASKING: Asking = { everyMs: 15_000, timeoutMs: 5_000 };
/** Whatever the worker says to it, it lives. */
const QUESTION = { path: HealthService.check.path, bytes: Buffer.from(HealthCheckRequest.encode({ service: '' }).finish()) };
const RECONNECT_MIN_MS = 100;
const RECONNECT_MAX_MS = 1_000;
/** In what grpc-js tells of a connection that it could not make to who was met a moment before. */
const ABOUT_TLS = /certificate|SSL routines/;

const identity = (bytes: Buffer): Buffer => bytes;

/**
 * One worker's connection: a line that is thrown away whenever its state is in doubt, and what became of a call on it.
 *
 * A line is used while it is READY, or fresh from a handshake that just succeeded. In every other state (idle after a loss or a GOAWAY,
 * in backoff, found stuck) it is dropped and the address is asked anew, so no call is answered out of a channel's memory and no mute peer
 * holds a channel for good. Calls that are open on a line outlive its being dropped, and the worker's GOAWAY: they go on to their end, for
 * as long as the old connection lives. Whether it does is asked by TCP, by the prober, and while it still takes calls as `Retired` says;
 * never by the pings of grpc-js, which end what they should guard (see `KeptAlive`).
 */
export class Wire {
  readonly #address: Address;
  readonly #options: WireOptions;
  readonly #end = new AbortController();
  readonly #retired: Retired;
  #line: Line | undefined;
  #proving: Promise<Handshake> | undefined;
  #watched: Line | undefined;

  constructor(address: Address, options: WireOptions) {
    const { clock, asking = ASKING } = options;
    this.#address = address;
    this.#options = options;
    this.#retired = new Retired({
      ...asking,
      clock,
      ask: (line, timeoutMs) => this.#callOn(line, { ...QUESTION, timeoutMs }),
      askElsewhere: (timeoutMs) => this.call({ ...QUESTION, timeoutMs }),
    });
  }

  call(request: WireRequest): WireCall {
    return this.#callOn(this.#usable(), request);
  }

  /** The next call dials anew; calls that are open go on, calls that still wait for the connection end as not sent. */
  drop(): void {
    const line = this.#line;
    this.#line = undefined;
    if (line !== undefined) this.#retired.add(line);
  }

  /** Idempotent. Open calls are for their owner to cancel. */
  close(): void {
    this.#end.abort();
    this.#line?.close();
    this.#line = undefined;
    this.#retired.close();
  }

  /** Without a line one is made first. */
  #callOn(line: Line | undefined, request: WireRequest): WireCall {
    const stop: Stop = { wanted: false, act: undefined };
    const cancel = () => {
      stop.wanted = true;
      stop.act?.();
    };
    const answer = line === undefined ? this.#connect(request, stop) : this.#invoke(line, request, request.timeoutMs, stop);
    return { cancel, answer };
  }

  async #connect(request: WireRequest, stop: Stop): Promise<Answer> {
    const { clock, connectTimeoutMs } = this.#options;
    const startedAt = clock.monotonic();
    const proof = await this.#prove(Math.min(request.timeoutMs, connectTimeoutMs), stop);
    if (stop.wanted || this.#end.signal.aborted) return unsent(Code.CANCELLED, 'cancelled before it was sent', 'silent');
    if (!proof.ok) return unsent(Code.UNAVAILABLE, proof.message, proof.why);
    const line = this.#usable() ?? this.#make();
    return this.#invoke(line, request, request.timeoutMs - (clock.monotonic() - startedAt), stop);
  }

  #usable(): Line | undefined {
    const line = this.#line;
    if (line === undefined) return undefined;
    const { state } = line;
    // With other keys it is to show again who it is: an authority may be trusted no more.
    const same = this.#options.tls?.context === line.context;
    if (same && state === connectivityState.READY) {
      line.fresh = false;
      return line;
    }
    if (same && line.fresh && state !== connectivityState.TRANSIENT_FAILURE) return line;
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

  #make(): Line {
    const scheme = this.#address.ip.includes(':') ? 'ipv6' : 'ipv4';
    const { tls } = this.#options;
    const context = tls?.context;
    const secured = context && credentials.createFromSecureContext(context, { checkServerIdentity: tls?.checkServerIdentity });
    const target = `${scheme}:${formatAddress(this.#address)}`;
    this.#line = new Line(target, secured ?? credentials.createInsecure(), context, this.#channelOptions());
    return this.#line;
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
      'grpc.initial_reconnect_backoff_ms': RECONNECT_MIN_MS,
      'grpc.max_reconnect_backoff_ms': RECONNECT_MAX_MS,
      'grpc.max_receive_message_length': this.#options.maxReceiveBytes,
      'grpc.max_send_message_length': this.#options.maxSendBytes,
    };
  }

  #invoke(line: Line, request: WireRequest, leftMs: number, stop: Stop): Promise<Answer> {
    this.#watch(line);
    return new Promise((resolve) => {
      let headers = false;
      // Without a deadline it ends with its lease: the script that ends that tells its owner to cancel the call.
      const options = deadlineIn(this.#options.clock, Math.max(1, leftMs));
      try {
        const { path, bytes, metadata = new Metadata() } = request;
        const call = untraced(() =>
          line.client.makeUnaryRequest(path, identity, identity, bytes, metadata, options, (error, response) => {
            stop.act = undefined;
            resolve(error === null ? answered(response) : this.#failed(line, error, call.getPeer(), headers));
            line.ended();
          }),
        );
        line.began();
        stop.act = () => call.cancel();
        call.on('metadata', (metadata) => {
          headers = isGrpc(contentType(metadata));
        });
        if (stop.wanted) call.cancel();
      } catch (thrown) {
        resolve(unsent(Code.INTERNAL, toError(thrown).message, 'silent'));
      }
    });
  }

  #failed(line: Line, error: ServiceError, peer: string, headers: boolean): Answer {
    const { code, details } = error;
    // The peer of a call is the channel's own target until a stream was made for it, and then an address (or "unknown").
    if (peer === line.client.getChannel().getTarget()) {
      const stuck = this.#line !== line;
      if (!stuck) this.drop();
      if (this.#options.tls !== undefined && ABOUT_TLS.test(details)) return unsent(code, details, 'untrusted');
      return unsent(code, details, !stuck && saidNo(details) ? 'refused' : 'silent');
    }
    return broken({ code, details, contentType: contentType(error.metadata), headers, alive: line.ready });
  }

  /** Gives up a line that does not become READY, so that the calls that wait in it end and the next one dials anew. */
  #watch(line: Line): void {
    if (this.#watched === line || line.ready) return;
    this.#watched = line;
    const { clock, connectTimeoutMs } = this.#options;
    void clock.sleep(connectTimeoutMs, this.#end.signal).then(() => {
      if (this.#watched === line) this.#watched = undefined;
      if (this.#line === line && !line.ready) this.drop();
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
