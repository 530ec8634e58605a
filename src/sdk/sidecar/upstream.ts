import { Client, type ClientOptions, connectivityState, credentials, Metadata } from '@grpc/grpc-js';
import { type Answer, answered, broken, isGrpc, unsent } from '../../domain/answer.js';
import type { Clock } from '../../domain/clock.js';
import { deadlineIn } from '../../domain/deadline.js';
import { toError } from '../../domain/errors.js';
import { Code } from '../../domain/job.js';

export interface UpstreamOptions {
  /** Where the server is, as grpc-js names targets: `host:port`, `unix:path`. */
  target: string;
  clock: Clock;
  /** Larger answers are refused on arrival. */
  maxReceiveBytes: number;
}

export interface UpstreamCall {
  path: string;
  bytes: Buffer;
  /** The deadline of the whole, connecting included. Default: none; a very long one would end at once, in servers whose timers have 31 bits. */
  timeoutMs?: number;
  headers?: [string, string][];
  signal?: AbortSignal;
}

const identity = (bytes: Buffer): Buffer => bytes;

/** The gRPC server beside a sidecar: unary calls of any method, as bytes; and what became of each. */
export class Upstream {
  readonly target: string;
  readonly #options: UpstreamOptions;
  #client: Client;

  constructor(options: UpstreamOptions) {
    this.target = options.target;
    this.#options = options;
    this.#client = this.#make();
  }

  /** For streams of its own services (reflection). Not to be kept: `renew` replaces it. */
  get client(): Client {
    return this.#client;
  }

  /** Never rejects. */
  call({ path, bytes, timeoutMs, headers = [], signal }: UpstreamCall): Promise<Answer> {
    if (signal?.aborted) return Promise.resolve(unsent(Code.CANCELLED, 'cancelled before it was sent', 'silent'));
    const client = this.#client;
    const metadata = new Metadata();
    for (const [name, value] of headers) metadata.set(name, value);
    const options = timeoutMs === undefined ? {} : deadlineIn(this.#options.clock, timeoutMs);
    return new Promise((resolve) => {
      let began = false;
      try {
        const call = client.makeUnaryRequest(path, identity, identity, bytes, metadata, options, (error, answer) => {
          signal?.removeEventListener('abort', cancel);
          if (error === null) return resolve(answered(answer));
          const { code, details } = error;
          // The peer of a call is the channel's own target until a stream was made for it.
          if (call.getPeer() === client.getChannel().getTarget()) return resolve(unsent(code, details, 'silent'));
          const alive = client.getChannel().getConnectivityState(false) === connectivityState.READY;
          resolve(broken({ code, details, contentType: contentType(error.metadata), headers: began, alive }));
        });
        const cancel = () => call.cancel();
        call.on('metadata', (received) => {
          began = isGrpc(contentType(received));
        });
        signal?.addEventListener('abort', cancel, { once: true });
      } catch (thrown) {
        resolve(unsent(Code.UNAVAILABLE, toError(thrown).message, 'silent'));
      }
    });
  }

  /**
   * The next call dials anew, out of no backoff and no channel that a mute peer wedged. Calls that are open go on; those that still wait
   * for a connection end as not sent.
   */
  renew(): void {
    const old = this.#client;
    this.#client = this.#make();
    old.close();
  }

  /** Open calls are for their owner to cancel. */
  close(): void {
    this.#client.close();
  }

  #make(): Client {
    const channel: ClientOptions = {
      'grpc.use_local_subchannel_pool': 1,
      'grpc.enable_retries': 0,
      'grpc.enable_http_proxy': 0,
      'grpc.enable_channelz': 0,
      'grpc.service_config_disable_resolution': 1,
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 1_000,
      'grpc.max_receive_message_length': this.#options.maxReceiveBytes,
      // A job's payload is bounded where it was submitted.
      'grpc.max_send_message_length': -1,
    };
    return new Client(this.target, credentials.createInsecure(), channel);
  }
}

/** grpc-js's own statuses carry no content type. */
function contentType(metadata: Metadata | undefined): string {
  return String(metadata?.get('content-type')[0] ?? '');
}
