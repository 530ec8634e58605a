import type { handleUnaryCall, Metadata, ServerUnaryCall, sendUnaryData } from '@grpc/grpc-js';
import type { Clock } from '../domain/clock.js';
import { MusterError, toError } from '../domain/errors.js';
import type { Identity } from '../domain/identity.js';
import { canonicalIp } from '../domain/ip.js';
import { formatAddress } from '../domain/worker.js';
import type { Pacer } from './pacer.js';
import { type StatusReply, toStatus } from './status.js';

/** What a handler may know of its call besides the request. */
export interface CallContext {
  /** The client has cancelled or is gone, or its deadline has passed; never after the answer. */
  readonly gone: boolean;
  /** Calls that once, when it comes to that; at once if it has. One listener a call: a signal, with its listeners, shows in the profile. */
  onGone(listener: () => void): void;
  /** ms left when the call came in; Infinity when the client set no deadline. */
  readonly deadlineMs: number;
  /** `ip:port` of the TCP peer, IPv6 in brackets; '' when the connection is gone already. */
  readonly peer: string;
  /** Who calls; undefined where nobody is asked. */
  readonly identity: Identity | undefined;
  /** The call waits for the end of a job from here on, until it is answered. Throws `resource_exhausted` QUOTA_WAITS. */
  beginWait(): void;
  /** Redis has what was asked for: until it is answered the call costs nothing but its wait. */
  idle(): void;
  /** One entry of the call's metadata, a text; undefined when there is none. */
  readonly header: (name: string) => string | undefined;
}

/** Who made the call with that metadata (see Guard). */
export type Identify = (metadata: Metadata) => Identity | undefined;

export interface UnaryOptions {
  clock: Clock;
  /** Told of every error that its caller is told nothing about. */
  onInternal: (error: Error, method: string) => void;
  /** undefined: nobody is asked who calls. */
  identify?: Identify;
  /** undefined: calls do not wait for their turn. */
  pacer?: Pick<Pacer, 'beginWait' | 'idle'>;
}

export type Unary = <Req, Res>(fn: (request: Req, context: CallContext) => Promise<Res>) => handleUnaryCall<Req, Res>;

/** Makes the adapter from an async function to a grpc-js handler: it never throws, answers once, and is the only one to map errors. */
export function createUnary(options: UnaryOptions): Unary {
  return (fn) => (call, callback) => {
    void answer(fn, call, callback, options);
  };
}

async function answer<Req, Res>(
  fn: (request: Req, context: CallContext) => Promise<Res>,
  call: ServerUnaryCall<Req, Res>,
  callback: sendUnaryData<Res>,
  options: UnaryOptions,
): Promise<void> {
  const lifetime = new Lifetime(call, options);
  let response: Res;
  try {
    response = await fn(call.request, lifetime);
  } catch (thrown) {
    lifetime.end();
    callback(refusal(thrown, call.getPath(), options));
    return;
  }
  lifetime.end();
  callback(null, response);
}

function refusal(thrown: unknown, method: string, options: UnaryOptions): StatusReply {
  if (!(thrown instanceof MusterError) || thrown.code === 'internal') report(toError(thrown), method, options);
  return toStatus(thrown);
}

/**
 * How long a call's caller wants its answer. grpc-js says `cancelled` at the end of every call, also of one that was answered; and when
 * a deadline passes only once the stream is closed, which a peer that is cut off puts off for long: hence a timer of our own.
 */
class Lifetime implements CallContext {
  readonly deadlineMs: number;
  readonly identity: Identity | undefined;
  readonly #call: ServerUnaryCall<unknown, unknown>;
  /** As grpc-js has it, which forgets it with the connection. */
  readonly #peer: string;
  readonly #pacer: UnaryOptions['pacer'];
  #listener: (() => void) | undefined;
  #stopTimer: (() => void) | undefined;
  #gone = false;
  #ended = false;

  constructor(call: ServerUnaryCall<unknown, unknown>, { clock, identify, pacer }: UnaryOptions) {
    this.#call = call;
    this.#pacer = pacer;
    this.identity = identify?.(call.metadata);
    this.#peer = call.getPeer();
    this.deadlineMs = Math.max(0, Number(call.getDeadline()) - clock.now());
    call.once('cancelled', () => this.#leave());
    if (call.cancelled) this.#leave();
    if (Number.isFinite(this.deadlineMs)) this.#stopTimer = clock.after(this.deadlineMs, () => this.#leave());
  }

  header = (name: string): string | undefined => this.#call.metadata.get(name)[0]?.toString();

  beginWait(): void {
    this.#pacer?.beginWait(this.#call);
  }

  idle(): void {
    this.#pacer?.idle(this.#call);
  }

  get gone(): boolean {
    return this.#gone;
  }

  get peer(): string {
    return peerOf(this.#peer);
  }

  onGone(listener: () => void): void {
    this.#listener = listener;
    if (this.#gone) listener();
  }

  end(): void {
    this.#ended = true;
    this.#stopTimer?.();
  }

  #leave(): void {
    if (this.#ended || this.#gone) return;
    this.#gone = true;
    this.#listener?.();
  }
}

function report(error: Error, method: string, options: UnaryOptions): void {
  try {
    options.onInternal(error, method);
  } catch {
    // Whoever is told must not cost the caller its answer.
  }
}

/** grpc-js's `ip:port` with IPv6 in brackets, and IPv4 that came over an IPv6 socket as IPv4. '' when it knows no peer. */
export function peerOf(peer: string): string {
  const colon = peer.lastIndexOf(':');
  const port = Number(peer.slice(colon + 1));
  if (colon <= 0 || !Number.isInteger(port)) return '';
  const ip = peer.slice(0, colon);
  return formatAddress({ ip: canonicalIp(ip) ?? ip, port });
}

/** The IP of `ip:port`, without brackets; '' when the peer is not known. */
export function ipOf(peer: string): string {
  return peer.slice(0, Math.max(0, peer.lastIndexOf(':'))).replace(/^\[|\]$/g, '');
}
