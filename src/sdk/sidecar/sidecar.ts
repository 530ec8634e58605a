import { type Clock, type Random, systemRandom } from '../../domain/clock.js';
import { toError } from '../../domain/errors.js';
import { attemptHeaders } from '../../domain/headers.js';
import { Code } from '../../domain/job.js';
import { ApiError } from '../api-error.js';
import { sdkClock } from '../clock.js';
import { type Api, connect } from '../connect.js';
import { AttemptError } from '../errors.js';
import type { JobContext } from '../handlers.js';
import { retrying } from '../retrying.js';
import { traceEntries } from '../tracing.js';
import { Worker, type WorkerOptions } from '../worker.js';
import { type Serving, UpstreamHealth } from './health.js';
import { readUpstream } from './outcome.js';
import { NoReflection, readReflection } from './reflection.js';
import { Upstream } from './upstream.js';

export interface SidecarOptions extends Omit<WorkerOptions, 'slots'> {
  /** Where the server beside it is: `host:port`, `unix:path`. */
  upstream: string;
  /** How many calls at once, while the upstream serves. Default 1. */
  slots?: number;
  /** Between two health checks. Default 2 s. */
  healthIntervalMs?: number;
  /** A health check without an answer by then counts as unreachable. Default 3 s. */
  healthTimeoutMs?: number;
  /** What the methods look like, a FileDescriptorSet, instead of what the upstream's reflection says. */
  descriptors?: Buffer;
  /** What the replicas are set to (MAX_RESULT_BYTES): a larger answer is a failure. Default 256 KiB. */
  maxResultBytes?: number;
  /** The upstream is sent the credentials in a job's metadata too: authorization, cookie, and the like. Default: false. */
  jobCredentials?: boolean;
  /** Told what a person may want to know, a line at a time. */
  tell?: (line: string) => void;
}

const HEALTH_INTERVAL_MS = 2_000;
const HEALTH_TIMEOUT_MS = 3_000;
const REFLECTION_TIMEOUT_MS = 5_000;
const MAX_RESULT_BYTES = 262_144;
/** So much above the limit an answer may be to be told its size; beyond, gRPC refuses it on arrival. */
const RECEIVE_SLACK_BYTES = 64 * 1024;

/**
 * A worker for any gRPC server: calls the method that each job names at the upstream, bytes in, bytes out. It takes jobs only while the
 * upstream serves: it attaches when that is so for the first time, and has no slots whenever it is not. Throws TypeError or MusterError for
 * bad options.
 */
export class Sidecar {
  readonly #options: SidecarOptions;
  readonly #upstream: Upstream;
  readonly #health: UpstreamHealth;
  readonly #worker: Worker;
  readonly #api: Api;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #tell: (line: string) => void;
  readonly #end = new AbortController();
  #attaching = false;
  #refuse: (error: unknown) => void = () => undefined;
  readonly #refused = new Promise<never>((_resolve, reject) => {
    this.#refuse = reject;
  });
  #put: Buffer | undefined;

  constructor(options: SidecarOptions) {
    const { upstream, clock = sdkClock, random = systemRandom, maxResultBytes = MAX_RESULT_BYTES, tell = () => undefined } = options;
    this.#options = options;
    // Told to whoever asks for it.
    this.#refused.catch((error: unknown) => this.#tell(toError(error).message));
    this.#clock = clock;
    this.#random = random;
    this.#tell = tell;
    this.#worker = new Worker({ ...options, slots: options.slots ?? 1 }).handleOther((payload, context) => this.#run(payload, context));
    const { target, tls, token, allowPlaintextToken, credentials, channel } = options;
    this.#api = connect(target, { clock, tls, token, allowPlaintextToken, credentials, channel });
    this.#upstream = new Upstream({ target: upstream, clock, maxReceiveBytes: maxResultBytes + RECEIVE_SLACK_BYTES });
    this.#health = new UpstreamHealth({
      upstream: this.#upstream,
      clock,
      intervalMs: options.healthIntervalMs ?? HEALTH_INTERVAL_MS,
      timeoutMs: options.healthTimeoutMs ?? HEALTH_TIMEOUT_MS,
      onChange: (serving) => this.#turn(serving),
    });
    this.#worker
      .on('attached', ({ replica }) => {
        tell(`attached to ${replica} as ${this.#worker.pool}/${this.#worker.id}`);
        // The pool exists from now on; and it may be a new one, if Redis lost its data.
        this.#put = undefined;
        void this.#publish();
      })
      .on('detached', ({ error }) => tell(`detached: ${error.message}; attaching again`))
      .on('error', (error) => tell(error.message));
  }

  get id(): string {
    return this.#worker.id;
  }

  start(): void {
    this.#health.start();
  }

  /** Rejects with ApiError when the replicas refuse it for good (see `Worker.start`). Never resolves. */
  get refused(): Promise<never> {
    return this.#refused;
  }

  /** Takes no more jobs, finishes what it holds, then ends. Idempotent. */
  async drain(): Promise<void> {
    // The health loop goes first: nobody is given slots back from now on.
    await this.#health.stop();
    await this.#worker.drain();
    this.#close();
  }

  /** Drains, and after `graceMs` cancels what still runs: it is given to others. Idempotent. */
  async stop(graceMs = 0): Promise<void> {
    await Promise.all([this.#health.stop(), this.#worker.stop({ graceMs })]);
    this.#close();
  }

  #close(): void {
    if (this.#end.signal.aborted) return;
    this.#end.abort();
    this.#upstream.close();
    this.#api.close();
  }

  #turn(serving: Serving): void {
    const { slots = 1, upstream } = this.#options;
    if (!serving.serving) {
      this.#tell(`${upstream} does not serve: ${serving.why}; no jobs until it does`);
      this.#worker.resize(0);
      return;
    }
    this.#tell(`${upstream} serves`);
    try {
      this.#worker.resize(slots);
    } catch (error) {
      // More than a replica allows that is configured anew.
      return this.#tell(toError(error).message);
    }
    if (!this.#attaching) this.#worker.start({ signals: false }).catch(this.#refuse);
    // It may be another version than the one that was there before.
    else void this.#publish();
    this.#attaching = true;
  }

  async #run(payload: Buffer, { id, attempt, fence, kind, method, metadata, signal }: JobContext): Promise<Buffer> {
    if (method === '') {
      throw new AttemptError(`a sidecar runs methods, and the job names the kind ${kind}`, { code: Code.UNIMPLEMENTED, reason: 'unknown_kind' });
    }
    // To the server beside it this attempt is the caller, not whoever submitted the job.
    const headers = attemptHeaders({
      metadata: { ...metadata, ...traceEntries() },
      jobId: id,
      fence,
      attempt,
      credentials: this.#options.jobCredentials ?? false,
    });
    // The worker keeps the attempt's time, and says by the signal that it is over.
    const answer = await this.#upstream.call({ path: method, bytes: payload, headers, signal });
    // Who lost the connection asks for health first: with the result the slot would be given out again.
    if (!answer.spoke && !signal.aborted) await this.#health.check();
    const { maxResultBytes = MAX_RESULT_BYTES } = this.#options;
    const outcome = readUpstream({ answer, method, aborted: signal.aborted, maxResultBytes });
    if (outcome.ok) return outcome.output;
    const { message, ...rest } = outcome.failure;
    throw new AttemptError(message, rest);
  }

  /** Stores what the methods look like with the pool, unless that is what stands there from us. Jobs run without it. */
  async #publish(): Promise<void> {
    const { signal } = this.#end;
    const { pool } = this.#worker;
    try {
      const set = this.#options.descriptors ?? (await readReflection(this.#upstream, this.#clock, REFLECTION_TIMEOUT_MS));
      if (signal.aborted || this.#put?.equals(set)) return;
      const put = () => this.#api.putPoolDescriptors({ pool, fileDescriptorSet: set }, { signal });
      await retrying(put, { clock: this.#clock, random: this.#random, giveUpMs: Number.POSITIVE_INFINITY, signal });
      this.#put = set;
      this.#tell(`pool ${pool} knows its methods: \`muster get methods --pool ${pool}\``);
    } catch (error) {
      if (!signal.aborted) this.#tell(unpublished(pool, error));
    }
  }
}

function unpublished(pool: string, error: unknown): string {
  if (error instanceof NoReflection) return `${error.message}: \`muster run --json\` needs --descriptors, there or here`;
  const refused = error instanceof ApiError ? 'the descriptors were refused' : 'what the methods look like cannot be read';
  return `pool ${pool}: ${refused}: ${toError(error).message}; jobs run, \`muster run --json\` needs --descriptors`;
}
