import {
  type handleServerStreamingCall,
  type handleUnaryCall,
  type ServerWritableStream,
  type ServiceDefinition,
  status as Status,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import type { Clock } from '../domain/clock.js';
import type { Observer, RpcObserver } from '../domain/observer.js';

/**
 * The same handlers, each call of which is told to the observer: when it starts, and with which code it ends. Around the handlers and not an
 * interceptor: of a stream's messages nothing is asked.
 */
export function observed(
  definition: ServiceDefinition,
  handlers: UntypedServiceImplementation,
  observer: Pick<Observer, 'rpc'>,
  clock: Clock,
): UntypedServiceImplementation {
  const all: UntypedServiceImplementation = {};
  for (const [name, { path, responseStream }] of Object.entries(definition)) {
    const handler = handlers[name];
    if (handler === undefined) continue;
    const [, service = '', method = ''] = path.split('/');
    const rpc = observer.rpc(service, method);
    if (rpc === undefined) all[name] = handler;
    // What a definition says of its method is what kind of handler it has.
    else if (responseStream) all[name] = stream(handler as handleServerStreamingCall<unknown, unknown>, rpc, clock);
    else all[name] = unary(handler as handleUnaryCall<unknown, unknown>, rpc, clock);
  }
  return all;
}

function unary(handler: handleUnaryCall<unknown, unknown>, rpc: RpcObserver, clock: Clock): handleUnaryCall<unknown, unknown> {
  return (call, callback) => {
    const before = clock.monotonic();
    rpc.started();
    handler(call, (error, value, trailer, flags) => {
      rpc.handled(error ? (error.code ?? Status.UNKNOWN) : Status.OK, clock.monotonic() - before);
      callback(error, value, trailer, flags);
    });
  };
}

function stream(handler: handleServerStreamingCall<unknown, unknown>, rpc: RpcObserver, clock: Clock): handleServerStreamingCall<unknown, unknown> {
  return (call: ServerWritableStream<unknown, unknown>) => {
    const before = clock.monotonic();
    rpc.started();
    let over = false;
    const end = (code: number) => {
      if (!over) rpc.handled(code, clock.monotonic() - before);
      over = true;
    };
    // An error ends the stream too, and every stream says `cancelled` at its end: the first word counts.
    call.once('error', (error: { code?: number }) => end(error.code ?? Status.UNKNOWN));
    call.once('finish', () => end(Status.OK));
    call.once('cancelled', () => end(Status.CANCELLED));
    handler(call);
  };
}
