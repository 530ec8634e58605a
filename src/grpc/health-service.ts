import type { ServerWritableStream } from '@grpc/grpc-js';
import { MusterError } from '../domain/errors.js';
import {
  type HealthCheckRequest,
  type HealthCheckResponse,
  type HealthServer,
  HealthCheckResponse_ServingStatus as Serving,
} from './generated/grpc/health/v1/health.js';
import { LatestWriter } from './latest.js';
import { toStatus } from './status.js';
import { ipOf, peerOf } from './unary.js';

type Listener = (service: string, serving: boolean) => void;
type WatchCall = ServerWritableStream<HealthCheckRequest, HealthCheckResponse>;
type Watcher = LatestWriter<HealthCheckRequest, HealthCheckResponse>;

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
    return () => void this.#listeners.delete(listener);
  }
}

/** grpc.health.v1 over a HealthState. */
export class HealthService {
  readonly #state: HealthState;
  readonly #maxWatchers: number;
  readonly #watchersEach: number;
  /** Watcher → the IP of its peer. */
  readonly #watches = new Map<Watcher, string>();
  #closed = false;

  /** `watchersEach`: those of one address; nobody is asked for credentials here, and one peer must not take all places. */
  constructor(state: HealthState, { maxWatchers, watchersEach = maxWatchers }: { maxWatchers: number; watchersEach?: number }) {
    this.#state = state;
    this.#maxWatchers = maxWatchers;
    this.#watchersEach = watchersEach;
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
    for (const watch of [...this.#watches.keys()]) watch.fail(stopping());
  }

  #watch(call: WatchCall): void {
    const { service } = call.request;
    const watch: Watcher = new LatestWriter<HealthCheckRequest, HealthCheckResponse>(call, () => {
      leave();
      this.#watches.delete(watch);
    });
    const leave = this.#state.onChange((changed, serving) => {
      if (changed === service) watch.send({ status: statusOf(serving) });
    });
    if (watch.ended) return leave();
    if (this.#closed) return watch.fail(stopping());
    if (this.#watches.size >= this.#maxWatchers) return watch.fail(tooMany(this.#maxWatchers));
    const ip = ipOf(peerOf(call.getPeer()));
    let same = 0;
    for (const other of this.#watches.values()) if (other === ip) same++;
    if (same >= this.#watchersEach) return watch.fail(tooMany(this.#watchersEach, ' from this address'));
    this.#watches.set(watch, ip);
    watch.send({ status: statusOf(this.#state.get(service)) });
  }
}

function statusOf(serving: boolean | undefined): Serving {
  if (serving === undefined) return Serving.SERVICE_UNKNOWN;
  return serving ? Serving.SERVING : Serving.NOT_SERVING;
}

function stopping(): MusterError {
  return new MusterError('unavailable', 'STOPPING', 'this replica stops; watch another');
}

function tooMany(watchers: number, whence = ''): MusterError {
  return new MusterError('resource_exhausted', 'TOO_MANY_WATCHERS', `${watchers} watch already${whence}; use Check`, { retryAfterMs: 1000 });
}
