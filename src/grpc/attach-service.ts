import type { handleBidiStreamingCall } from '@grpc/grpc-js';
import { invalid, MusterError, toError } from '../domain/errors.js';
import { HEARTBEAT } from '../domain/heartbeat.js';
import { ANYBODY, allowPool, speakerOf } from '../domain/identity.js';
import type { LinkEvents } from '../domain/link.js';
import { isId } from '../domain/names.js';
import type { WorkerRef } from '../domain/worker.js';
import type { WorkerManager } from '../fleet/worker-manager.js';
import { AttachedLink, type AttachedOptions } from '../links/attached.js';
import type { LeaseName } from '../store/scripts/workers.js';
import { type AttachCall, GrpcAttachedStream } from './attach-stream.js';
import { toReportedOutcome } from './convert-job.js';
import { checkHeld, toAttachedInfo, type WorkerLimits } from './convert-worker.js';
import type { Held, Result } from './generated/muster/v1/common.js';
import { AttachRequest, type AttachResponse, type Hello } from './generated/muster/v1/worker.js';
import { decoded } from './intake.js';
import type { Pacer } from './pacer.js';
import { boundedMs, toDuration } from './time.js';
import type { Identify } from './unary.js';

export interface AttachServiceOptions {
  manager: WorkerManager;
  events: LinkEvents;
  limits: WorkerLimits & { maxResultBytes: number };
  link: Omit<AttachedOptions, 'maxFrameBytes'>;
  leaseMs: number;
  beatMs: number;
  /** A heartbeat goes down each stream this often. */
  heartbeatMs: number;
  maxFrameBytes: number;
  onError: (error: unknown) => void;
  /** A frame that nobody here knows, from a newer peer. */
  onUnknownFrame: () => void;
  /** undefined: nobody is asked who calls. */
  identify?: Identify;
  pacer: Pacer;
}

const MAX_LIST = 64;
/** What gRPC receives by default. */
const DEFAULT_FRAME_BYTES = 4 * 1024 * 1024;

/** WorkerService.Attach: one stream of one worker after another. */
export function createAttach(options: AttachServiceOptions): handleBidiStreamingCall<AttachRequest, AttachResponse> {
  return (call) => new Attachment(call, options).start();
}

const INSIST_MS = { first: 100, most: 2_000 };

/** opening (nothing heard) → attaching (Hello heard, Redis asked) → attached → over. */
type Stage = 'opening' | 'attaching' | 'attached' | 'over';

class Attachment {
  readonly #call: AttachCall;
  readonly #options: AttachServiceOptions;
  readonly #stream: GrpcAttachedStream;
  #stage: Stage = 'opening';
  /** Whose word the frames are. */
  #by = ANYBODY;
  #link: AttachedLink | undefined;
  readonly #insisted = new Map<string, () => Promise<unknown>>();

  constructor(call: AttachCall, options: AttachServiceOptions) {
    this.#call = call;
    this.#options = options;
    this.#stream = new GrpcAttachedStream(call, options.pacer, (message) => this.#take(message));
  }

  start(): void {
    // A connection that was reset ends too, and is only told to be in the turn after.
    this.#call.on('end', () => queueMicrotask(() => this.#gone(this.#call.cancelled ? 'broken off' : 'ended by the worker', this.#call.cancelled)));
    this.#call.on('error', (error: Error) => this.#gone(error.message));
    this.#call.on('cancelled', () => this.#gone('broken off', true));
  }

  /** A frame that is refused ends the stream: its worker is told why, and comes back. */
  #take(message: Buffer): void {
    if (this.#stage === 'over') return;
    try {
      this.#read(decoded(AttachRequest.decode, message));
    } catch (error) {
      this.#refuse(error);
    }
  }

  #read({ frame }: AttachRequest): void {
    if (frame === undefined) return this.#options.onUnknownFrame();
    if (frame.$case === 'hello') {
      if (this.#stage !== 'opening') throw invalid('hello', 'only the first frame is Hello: open another stream to attach again');
      this.#stage = 'attaching';
      void this.#stream.during(this.#attach(frame.value));
      return;
    }
    const link = this.#link;
    if (this.#stage !== 'attached' || !link) throw invalid(frame.$case, 'the first frame is Hello, and Welcome must have come before any other');
    link.heard();
    switch (frame.$case) {
      case 'results':
        return this.#results(link, frame.value.results);
      case 'beat':
        return this.#ask(this.#beat(link, frame.value.held));
      case 'received':
        return this.#ask(this.#received(link, frame.value.held));
      case 'resize':
        return this.#insist('resize', () => this.#options.manager.resize(link.ref, Math.min(frame.value.slots, this.#options.limits.maxSlots)));
      case 'goodbye': {
        link.leaves();
        return this.#insist('goodbye', () => this.#options.manager.leave(link.ref, boundedMs(frame.value.drainTimeout), this.#by));
      }
      case 'heartbeat':
        return;
      case 'pong':
        return link.pong(Number(frame.value.nonce), checkHeld(frame.value.held, 'pong.held'));
    }
  }

  async #attach(hello: Hello): Promise<void> {
    const { manager, limits, events, link: linkOptions, leaseMs, beatMs, heartbeatMs, maxFrameBytes, identify } = this.#options;
    try {
      const startHeartbeat = () => this.#stream.startHeartbeat(linkOptions.clock, heartbeatMs);
      // Many may wait for their turn before it.
      if (hello.capabilities.includes(HEARTBEAT)) startHeartbeat();
      const worker = toAttachedInfo(hello.worker, limits);
      const identity = identify?.(this.#call.metadata);
      allowPool(identity, worker.pool, 'hello.worker.pool');
      const info = hello.paused ? { ...worker, slots: 0 } : worker;
      const held = checkHeld(hello.held, 'hello.held').map(({ jobId, fence, done }) => ({ jobId, fence, done }));
      this.#by = speakerOf(identity, identify !== undefined);
      const open = (ref: WorkerRef, abandon: LeaseName[]) => {
        const terms = { ...linkOptions, maxFrameBytes: hello.maxFrameBytes || DEFAULT_FRAME_BYTES };
        const link = new AttachedLink(ref, this.#stream, events, terms, held.length);
        this.#link = link;
        this.#stream.welcome(
          {
            replica: manager.replica,
            boot: ref.boot,
            lease: toDuration(leaseMs),
            beatInterval: toDuration(beatMs),
            maxFrameBytes,
            maxUnsettled: linkOptions.maxUnsettled,
            maxResultBytes: limits.maxResultBytes,
            maxSlots: limits.maxSlots,
            capabilities: [HEARTBEAT],
            heartbeatInterval: toDuration(heartbeatMs),
          },
          abandon,
        );
        startHeartbeat();
        return link;
      };
      await manager.attachWorker(info, held, open, () => this.#stage === 'attaching', this.#by);
      if (this.#stage === 'attaching') this.#stage = 'attached';
      // It went while Redis was asked.
      else this.#link?.gone('ended while it attached');
    } catch (error) {
      this.#refuse(error);
    }
  }

  #results(link: AttachedLink, results: Result[]): void {
    if (results.length > MAX_LIST) throw invalid('results', `must be at most ${MAX_LIST} a frame`);
    for (const result of results) {
      const { jobId, fence } = result;
      // No job has such a name. Were the stream ended for it, the worker would bring it again and again.
      if (isId(jobId)) link.result(jobId, fence, toReportedOutcome(result, this.#options.limits));
      else this.#stream.settled(jobId, fence, 'gone');
    }
  }

  async #beat(link: AttachedLink, held: Held[]): Promise<void> {
    const { pool, id, boot } = link.ref;
    const { revoked, foreign } = await this.#options.manager.report({
      pool,
      worker: id,
      boot,
      results: [],
      held: checkHeld(held, 'beat.held'),
      by: this.#by,
    });
    link.guessed(foreign);
    for (const { jobId, fence } of revoked) link.revoke(jobId, fence);
  }

  async #received(link: AttachedLink, held: Held[]): Promise<void> {
    link.guessed(await this.#options.manager.received(link.ref, checkHeld(held, 'received.held')));
  }

  /** What the answer is waited for by nobody: the worker says it again with its next beat. */
  #ask(asking: Promise<unknown>): void {
    this.#stream.during(asking).catch((error: unknown) => {
      if (error instanceof MusterError && (error.code === 'invalid_argument' || error.code === 'permission_denied')) this.#refuse(error);
      else this.#options.onError(error);
    });
  }

  /** What the worker says once: said to Redis until it is done, the worker says otherwise, or the stream is over. */
  #insist(what: 'resize' | 'goodbye', say: () => Promise<unknown>): void {
    this.#insisted.set(what, say);
    const until = async () => {
      for (let waitMs = INSIST_MS.first; this.#insisted.get(what) === say; waitMs = Math.min(2 * waitMs, INSIST_MS.most)) {
        try {
          await say();
          this.#insisted.delete(what);
        } catch (error) {
          // Whatever else Redis says of it, it will say again.
          if (!(error instanceof MusterError) || error.code !== 'unavailable' || this.#stage !== 'attached') throw error;
          this.#options.onError(error);
          await this.#options.link.clock.sleep(waitMs);
        }
      }
    };
    this.#ask(until());
  }

  #refuse(thrown: unknown): void {
    const { onError } = this.#options;
    if (!(thrown instanceof MusterError)) onError(thrown);
    const error = thrown instanceof MusterError ? thrown : new MusterError('internal', 'INTERNAL', toError(thrown).message);
    const link = this.#link;
    this.#stage = 'over';
    this.#stream.end(error);
    link?.gone(`refused: ${error.reason}`);
  }

  /** `reset`: without a word of the worker. */
  #gone(reason: string, reset = false): void {
    if (this.#stage === 'over') return;
    const attached = this.#stage === 'attached';
    this.#stage = 'over';
    if (attached) this.#link?.gone(reason, reset);
    this.#stream.end();
  }
}
