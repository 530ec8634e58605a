import type { ServerWritableStream } from '@grpc/grpc-js';
import { MusterError } from '../domain/errors.js';
import {
  type HealthCheckRequest,
  type HealthCheckResponse,
  type HealthServer,
  HealthCheckResponse_ServingStatus as Serving,
} from './generated/grpc/health/v1/health.js';
import { toStatus } from './status.js';

type Listener = (service: string, serving: boolean) => void;
type WatchCall = ServerWritableStream<HealthCheckRequest, HealthCheckResponse>;

/** Which services serve. The empty name is the server as a whole; a name that was never set is unknown. */
export class HealthState {
  readonly #serving = new Map<string, boolean>();
  readonly #listeners = new Set<Listener>();

  set(service: string, serving: boolean): void {
    if (this.#serving.get(service) === serving) return;
    this.#serving.set(service, serving);
    for (const listener of [...this.#listeners]) listener(service, serving);
  }

  /** undefined: no such service here. */
  get(service: string): boolean | undefined {
    return this.#serving.get(service);
  }

  /** Told of changes only. Returns what ends it. */
  onChange(listener: Listener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}

/** grpc.health.v1 over a HealthState. */
export class HealthService {
  readonly #state: HealthState;
  readonly #maxWatchers: number;
  readonly #watches = new Set<Watch>();
  #closed = false;

  constructor(state: HealthState, options: { maxWatchers: number }) {
    this.#state = state;
    this.#maxWatchers = options.maxWatchers;
  }

  /** For `server.addService(HealthService, …)`. */
  readonly handlers: HealthServer = {
    check: (call, callback) => {
      const serving = this.#state.get(call.request.service);
      if (serving !== undefined) return callback(null, { status: statusOf(serving) });
      callback(
        toStatus(
          new MusterError('not_found', 'UNKNOWN_SERVICE', 'service: not served here; leave it empty to ask for the server', { field: 'service' }),
        ),
      );
    },
    watch: (call) => this.#watch(call),
  };

  get watchers(): number {
    return this.#watches.size;
  }

  /** Ends every watch, and each new one at once: an open stream would hold up the server's stop. Idempotent. */
  close(): void {
    this.#closed = true;
    for (const watch of [...this.#watches]) watch.fail(stopping());
  }

  #watch(call: WatchCall): void {
    const watch = new Watch(call, this.#state, () => this.#watches.delete(watch));
    if (this.#closed) watch.fail(stopping());
    else if (this.#watches.size >= this.#maxWatchers) watch.fail(tooMany(this.#maxWatchers));
    else {
      this.#watches.add(watch);
      watch.start();
    }
  }
}

/** One Watch call. A slow reader is owed the last state only, so nothing queues up for it. */
class Watch {
  #writable = true;
  #owed: Serving | undefined;
  #stop: () => void = () => undefined;
  #ended = false;

  constructor(
    private readonly call: WatchCall,
    private readonly state: HealthState,
    private readonly onEnd: () => void,
  ) {}

  start(): void {
    const { service } = this.call.request;
    this.call.on('drain', () => this.#drained());
    for (const event of ['cancelled', 'close', 'error']) this.call.once(event, () => this.#end());
    this.#stop = this.state.onChange((changed, serving) => {
      if (changed === service) this.#send(statusOf(serving));
    });
    this.#send(statusOf(this.state.get(service)));
    if (this.call.cancelled) this.#end();
  }

  fail(error: MusterError): void {
    this.#end();
    this.call.emit('error', toStatus(error));
  }

  #send(status: Serving): void {
    if (this.#ended) return;
    if (this.#writable) this.#writable = this.call.write({ status });
    else this.#owed = status;
  }

  #drained(): void {
    this.#writable = true;
    const owed = this.#owed;
    this.#owed = undefined;
    if (owed !== undefined) this.#send(owed);
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#stop();
    this.onEnd();
  }
}

function statusOf(serving: boolean | undefined): Serving {
  if (serving === undefined) return Serving.SERVICE_UNKNOWN;
  return serving ? Serving.SERVING : Serving.NOT_SERVING;
}

function stopping(): MusterError {
  return new MusterError('unavailable', 'STOPPING', 'this replica stops; watch another');
}

function tooMany(maxWatchers: number): MusterError {
  return new MusterError('resource_exhausted', 'TOO_MANY_WATCHERS', `${maxWatchers} watch already; use Check`, { retryAfterMs: 1000 });
}
