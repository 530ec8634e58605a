import type { Answer } from '../../domain/answer.js';
import type { Clock } from '../../domain/clock.js';
import { Code } from '../../domain/job.js';
import { Loop } from '../../domain/loop.js';
import {
  HealthCheckRequest,
  HealthCheckResponse,
  HealthService,
  HealthCheckResponse_ServingStatus as ServingStatus,
} from '../../grpc/generated/grpc/health/v1/health.js';
import type { Upstream } from './upstream.js';

/** Does the upstream take calls, and if not, why. */
export type Serving = { serving: true } | { serving: false; why: string };

export interface UpstreamHealthOptions {
  upstream: Upstream;
  clock: Clock;
  /** Between two checks. */
  intervalMs: number;
  /** A check without an answer by then counts as unreachable. */
  timeoutMs: number;
  /** Told of the first answer, and of each that is not as the one before. */
  onChange: (serving: Serving) => void;
}

/** Asks the upstream for its health again and again, by grpc.health.v1 for the server as a whole. */
export class UpstreamHealth {
  readonly #options: UpstreamHealthOptions;
  readonly #loop: Loop;
  #last: Serving | undefined;
  #asking: Promise<Serving> | undefined;

  constructor(options: UpstreamHealthOptions) {
    this.#options = options;
    this.#loop = new Loop({ clock: options.clock, everyMs: options.intervalMs, run: () => this.check(), onError: () => undefined });
  }

  start(): void {
    this.#loop.start();
  }

  stop(): Promise<void> {
    return this.#loop.stop();
  }

  /** Asks now, or joins who asks. `onChange` was told when it resolves. Never rejects. */
  check(): Promise<Serving> {
    this.#asking ??= this.#ask().finally(() => {
      this.#asking = undefined;
    });
    return this.#asking;
  }

  async #ask(): Promise<Serving> {
    const { upstream, timeoutMs, onChange } = this.#options;
    const bytes = Buffer.from(HealthCheckRequest.encode({ service: '' }).finish());
    const answer = await upstream.call({ path: HealthService.check.path, bytes, timeoutMs });
    const serving = readHealth(answer);
    if (!answer.spoke) upstream.renew();
    const before = this.#last;
    this.#last = serving;
    if (before?.serving !== serving.serving) onChange(serving);
    return serving;
  }
}

/** A server that does not speak the health protocol, or not of itself as a whole, serves as long as it answers at all. */
export function readHealth({ code, details, bytes, spoke, reach }: Answer): Serving {
  if (code !== Code.OK)
    return spoke ? { serving: true } : { serving: false, why: `${reach === 'sent' ? 'does not answer' : 'unreachable'}: ${details}` };
  try {
    const { status } = HealthCheckResponse.decode(bytes ?? Buffer.alloc(0));
    return status === ServingStatus.SERVING ? { serving: true } : { serving: false, why: ServingStatus[status] ?? `status ${status}` };
  } catch (thrown) {
    return { serving: false, why: `its health cannot be decoded: ${String(thrown)}` };
  }
}
