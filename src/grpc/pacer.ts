import {
  type handleServerStreamingCall,
  type handleUnaryCall,
  Metadata,
  ServerInterceptingCall,
  type ServerInterceptingCallInterface,
  type ServerInterceptor,
  type ServerUnaryCall,
  type ServerWritableStream,
  type ServiceDefinition,
  status as Status,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { MusterError } from '../domain/errors.js';
import type { Caller, FairShare, Task } from './fair-share.js';
import { forgetMessage } from './forget-message.js';
import { Backlog } from './outbox.js';
import { type StatusReply, toStatus } from './status.js';
import type { Identify } from './unary.js';

/** A request as it came, so that it is decoded when its caller's turn has come. grpc-js keeps this as long as the call lasts: `bytes` goes before. */
interface Sealed {
  bytes: Buffer;
}

/** What grpc-js has of every call. */
interface AnyCall {
  metadata: Metadata;
  getPeer(): string;
}

const NO_BYTES = Buffer.alloc(0);
const MALFORMED: StatusReply = { code: Status.INTERNAL, details: 'Error deserializing request', metadata: new Metadata() };
/** Calls of one caller that wait to be read. Beyond that they are refused. */
const MAX_QUEUED = 8_192;
const RETRY_MS = 500;

/**
 * Makes calls wait for their caller's turn (see FairShare).
 *
 * A call with one request is not read before its caller has room for it: HTTP/2 holds it back, and a caller with thousands of large requests
 * has a few of them in memory.
 */
export class Pacer {
  /** Of the streams of this server. */
  readonly backlog = new Backlog();
  readonly #share: FairShare;
  readonly #identify: Identify | undefined;
  /** By their metadata, which nobody but grpc-js makes. */
  readonly #calls = new WeakMap<Metadata, PacedCall>();

  constructor(share: FairShare, identify?: Identify) {
    this.#share = share;
    this.#identify = identify;
  }

  /** For `new Server({ interceptors })`, after that which finds out who calls. */
  readonly interceptor: ServerInterceptor = ({ requestStream }, call) => {
    // Streams of requests have an Intake.
    if (requestStream) return call as ServerInterceptingCall;
    return new PacedCall(call, (paced, metadata) => {
      this.#calls.set(metadata, paced);
      return this.enter({ metadata, getPeer: () => call.getPeer() });
    });
  };

  /** Whose call that is, for one call or stream more: an identity, or a connection where nobody is asked who calls. */
  enter(call: AnyCall): Caller {
    return this.#share.enter(this.#identify?.(call.metadata)?.name ?? call.getPeer());
  }

  /** The definition with which `handlers` are to be served. Streams of requests get their messages as they came: they have an Intake. */
  definition(definition: ServiceDefinition): ServiceDefinition {
    const sealed = Object.entries(definition).map(([name, method]) => {
      const requestDeserialize = method.requestStream ? (bytes: Buffer) => bytes : (bytes: Buffer): Sealed => ({ bytes });
      return [name, { ...method, requestDeserialize }];
    });
    return Object.fromEntries(sealed) as ServiceDefinition;
  }

  /** `definition`: the original one. */
  handlers(definition: ServiceDefinition, handlers: UntypedServiceImplementation): UntypedServiceImplementation {
    const all: UntypedServiceImplementation = {};
    for (const [name, { requestStream, responseStream, requestDeserialize }] of Object.entries(definition)) {
      const handler = handlers[name];
      if (handler === undefined) continue;
      // What a definition says of its method is what kind of handler it has.
      if (requestStream) all[name] = handler;
      else if (responseStream) all[name] = this.#streaming(handler as handleServerStreamingCall<unknown, unknown>, requestDeserialize);
      else all[name] = this.#unary(handler as handleUnaryCall<unknown, unknown>, requestDeserialize);
    }
    return all;
  }

  /** The call waits for the end of a job, until it is answered. Throws `resource_exhausted` QUOTA_WAITS. */
  beginWait(call: AnyCall): void {
    this.#calls.get(call.metadata)?.beginWait();
  }

  /** Redis has what the call asked for: from now on it costs nothing but its wait. */
  idle(call: AnyCall): void {
    this.#calls.get(call.metadata)?.idle();
  }

  #unary(handler: handleUnaryCall<unknown, unknown>, decode: (bytes: Buffer) => unknown): handleUnaryCall<Sealed, unknown> {
    return (call, callback) => {
      const begin = () => handler(call as ServerUnaryCall<unknown, unknown>, callback);
      this.#calls.get(call.metadata)?.arrived(this.#share, call, { decode, begin, refuse: (status) => callback(status) });
    };
  }

  #streaming(handler: handleServerStreamingCall<unknown, unknown>, decode: (bytes: Buffer) => unknown): handleServerStreamingCall<Sealed, unknown> {
    return (call) => {
      const paced = this.#calls.get(call.metadata);
      const begin = () => {
        paced?.idle();
        handler(call as ServerWritableStream<unknown, unknown>);
      };
      paced?.arrived(this.#share, call, { decode, begin, refuse: (status) => void call.emit('error', status) });
    };
  }
}

interface Handling {
  decode: (bytes: Buffer) => unknown;
  /** The request is decoded, and the call's turn has come. */
  begin: () => void;
  refuse: (status: StatusReply) => void;
}

interface Arrived extends Handling {
  call: { request: unknown };
  sealed: Sealed;
}

type Listener = Parameters<ServerInterceptingCall['start']>[0];
type CallStatus = Parameters<ServerInterceptingCall['sendStatus']>[0];

/**
 * One call with one request, from its headers to its end.
 *
 * waiting (its caller has no room) → reading (the request comes) → queued (for its caller's turn) → working → idle (it only waits) → over.
 * From reading to working it is one of the calls that its caller has in work.
 */
class PacedCall extends ServerInterceptingCall implements Task {
  readonly #next: ServerInterceptingCallInterface;
  readonly #enter: (paced: PacedCall, metadata: Metadata) => Caller;
  #caller: Caller | undefined;
  #arrived: Arrived | undefined;
  /** Lets grpc-js read the request. */
  #read = () => {};
  #bytes = 0;
  #working = false;
  #waits = false;
  #over = false;

  constructor(next: ServerInterceptingCallInterface, enter: (paced: PacedCall, metadata: Metadata) => Caller) {
    super(next);
    this.#next = next;
    this.#enter = enter;
  }

  override start(listener: Listener): void {
    this.#next.start({
      onReceiveMetadata: (metadata) => {
        const caller = this.#enter(this, metadata);
        this.#caller = caller;
        this.#read = () => listener.onReceiveMetadata(metadata);
        if (caller.hasRoom) return this.#admit();
        if (caller.blocked < MAX_QUEUED) return caller.block(this.#admit);
        this.#end();
        const message = `${caller.name} has ${MAX_QUEUED} calls waiting at this replica: make fewer at once`;
        this.#next.sendStatus(toStatus(new MusterError('resource_exhausted', 'TOO_MANY_CALLS', message, { retryAfterMs: RETRY_MS })));
      },
      onReceiveMessage: (message) => listener.onReceiveMessage(message),
      onReceiveHalfClose: () => listener.onReceiveHalfClose(),
      // Comes at the end of every call, however it ended.
      onCancel: () => {
        this.#end();
        listener.onCancel();
      },
    });
  }

  override sendMetadata(metadata: Metadata): void {
    this.#next.sendMetadata(metadata);
  }

  override sendMessage(message: unknown, callback: () => void): void {
    this.#next.sendMessage(message, callback);
  }

  override sendStatus(status: CallStatus): void {
    this.#end();
    this.#next.sendStatus(status);
  }

  /** The request is here. */
  arrived(share: FairShare, call: { request: Sealed }, handling: Handling): void {
    forgetMessage(this.#next);
    const caller = this.#caller;
    if (caller === undefined || this.#over) return;
    const { length } = call.request.bytes;
    try {
      share.admit(caller, length);
    } catch (error) {
      return handling.refuse(toStatus(error));
    }
    this.#bytes = length;
    this.#arrived = { ...handling, call, sealed: call.request };
    caller.ready(this);
  }

  step(): boolean {
    const arrived = this.#arrived;
    this.#arrived = undefined;
    if (this.#over || arrived === undefined) return false;
    const { call, sealed, decode, begin, refuse } = arrived;
    try {
      call.request = decode(sealed.bytes);
    } catch {
      refuse(MALFORMED);
      return false;
    } finally {
      sealed.bytes = NO_BYTES;
    }
    begin();
    return false;
  }

  beginWait(): void {
    if (this.#waits || this.#over || this.#caller === undefined) return;
    this.#caller.wait();
    this.#waits = true;
  }

  idle(): void {
    if (this.#bytes > 0) this.#caller?.release('bytes', this.#bytes);
    this.#bytes = 0;
    if (this.#working) this.#caller?.release('calls', 1);
    this.#working = false;
  }

  readonly #admit = (): void => {
    const caller = this.#caller;
    if (caller === undefined || this.#over) return;
    if (!caller.hasRoom) return caller.block(this.#admit);
    this.#working = true;
    caller.hold('calls', 1);
    this.#read();
    caller.passOn();
  };

  #end(): void {
    if (this.#over) return;
    this.#over = true;
    if (this.#arrived) this.#arrived.sealed.bytes = NO_BYTES;
    this.#caller?.unblock(this.#admit);
    this.idle();
    if (this.#waits) this.#caller?.endWait();
    this.#caller?.passOn();
    this.#caller?.leave();
  }
}
