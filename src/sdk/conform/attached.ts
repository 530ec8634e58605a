import { type ServerDuplexStream, status } from '@grpc/grpc-js';
import type { Clock } from '../../domain/clock.js';
import type { Held } from '../../grpc/generated/muster/v1/common.js';
import { Assignment } from '../../grpc/generated/muster/v1/common.js';
import { type AttachRequest, type AttachResponse, type Hello, Verdict } from '../../grpc/generated/muster/v1/worker.js';
import { toDuration } from '../duration.js';
import { type endOf, keyOf, Results } from './results.js';
import type { Attempt, Lease, Order, Sight, Subject } from './types.js';

export type AttachCall = ServerDuplexStream<AttachRequest, AttachResponse>;

export interface AttachedOptions {
  clock: Clock;
  patienceMs: number;
  /** What Welcome asks for. */
  beatMs: number;
  leaseMs: number;
}

const MAX_UNSETTLED = 64;
const MAX_FRAME_BYTES = 4 * 1024 * 1024;

/** One stream of the worker, as the tester saw it. */
export interface Stream {
  readonly call: AttachCall;
  readonly held: readonly Held[];
  /** Undefined while it is open. */
  ended: 'by the worker' | 'by us' | 'broken' | undefined;
}

/** A worker that opened a stream: the tester is the replica at its other end. */
export class AttachedSubject implements Subject {
  readonly contract = 'ATTACHED';
  readonly slots: number;
  readonly id: string;
  readonly boot: string;
  readonly streams: Stream[] = [];
  /** Every result frame's content in order, with the stream that it came by. */
  readonly arrived: (Lease & { stream: Stream })[] = [];
  /** Of the last beats, what they named. */
  readonly beats: Lease[][] = [];
  /** What Received named as stopped. */
  readonly stopped: Lease[] = [];
  /** Results are settled as they come. */
  settles = true;
  goodbye = false;
  readonly #options: AttachedOptions;
  readonly #results = new Results();
  readonly #pongs = new Map<string, (held: Held[]) => void>();
  readonly #assigned = new Set<string>();
  readonly #settled = new Set<string>();
  /** Frames against the contract; each check looks whether new ones came. */
  readonly breaches: string[] = [];
  #nonce = 0;

  constructor(hello: Hello, options: AttachedOptions) {
    this.#options = options;
    this.slots = hello.worker?.slots || 1;
    this.id = hello.worker?.id ?? '';
    this.boot = hello.worker?.boot ?? '';
  }

  get leaving(): boolean {
    return this.goodbye;
  }

  /** The stream that is used now. */
  get stream(): Stream | undefined {
    return this.streams.findLast(({ ended }) => ended === undefined);
  }

  /** A stream of this life: it takes over from the ones before. */
  take(call: AttachCall, { held }: Hello): void {
    const stream: Stream = { call, held, ended: undefined };
    this.streams.push(stream);
    call.on('data', (request: AttachRequest) => this.#read(stream, request));
    call.on('end', () => this.#over(stream, 'by the worker'));
    call.on('cancelled', () => this.#over(stream, 'broken'));
    call.on('error', () => this.#over(stream, 'broken'));
    const { leaseMs, beatMs } = this.#options;
    this.#write(stream, {
      $case: 'welcome',
      value: {
        replica: 'conform',
        boot: this.boot,
        lease: toDuration(leaseMs),
        beatInterval: toDuration(beatMs),
        maxFrameBytes: MAX_FRAME_BYTES,
        maxUnsettled: MAX_UNSETTLED,
        capabilities: [],
        heartbeatInterval: undefined,
        abandon: [],
        maxResultBytes: 0,
        maxSlots: 0,
      },
    });
  }

  assign({ jobId, fence, kind, work, attempt, runTimeoutMs }: Order): Attempt {
    const runTimeout = runTimeoutMs === 0 ? undefined : toDuration(runTimeoutMs);
    const assignment = Assignment.fromPartial({ jobId, fence, kind, payload: Buffer.from(JSON.stringify(work)), attempt, runTimeout });
    this.#assigned.add(keyOf({ jobId, fence }));
    this.#send({ $case: 'assign', value: { assignments: [assignment] } });
    return { jobId, fence, end: this.#results.of({ jobId, fence }), cut: () => {} };
  }

  async abort(lease: Lease): Promise<void> {
    this.#send({ $case: 'cancel', value: { held: [named(lease)] } });
  }

  revoke(lease: Lease): void {
    this.#send({ $case: 'revoke', value: { held: [named(lease)] } });
  }

  settle(lease: Lease): void {
    const key = keyOf(lease);
    const verdict = this.#settled.has(key) ? Verdict.VERDICT_DUPLICATE : Verdict.VERDICT_ACCEPTED;
    this.#settled.add(key);
    this.#send({ $case: 'settled', value: { settlements: [{ ...lease, verdict }] } });
  }

  hasSettled(lease: Lease): boolean {
    return this.#settled.has(keyOf(lease));
  }

  /** Ends the present stream as a replica does that goes away. */
  cut(): void {
    const { stream } = this;
    if (stream === undefined) return;
    stream.ended = 'by us';
    stream.call.emit('error', { code: status.UNAVAILABLE, details: 'the conformance test cuts this stream: attach again' });
  }

  askToReattach(withinMs: number): void {
    this.#send({ $case: 'reattach', value: { within: toDuration(withinMs), reason: 'balance' } });
  }

  look(): Promise<Sight> {
    const nonce = String(++this.#nonce);
    const { clock, patienceMs } = this.#options;
    const over = new AbortController();
    return new Promise((resolve, reject) => {
      this.#pongs.set(nonce, (held) => {
        over.abort();
        resolve({ workerId: this.id, boot: this.boot, busy: undefined, held: held.map(({ jobId, fence, done }) => ({ jobId, fence, done })) });
      });
      void clock.sleep(patienceMs, over.signal).then(() => {
        this.#pongs.delete(nonce);
        reject(new Error(`no Pong with the nonce of its Ping within ${patienceMs} ms`));
      });
      this.#send({ $case: 'ping', value: { nonce } });
    });
  }

  async gone(): Promise<boolean> {
    return this.stream === undefined;
  }

  close(): void {
    for (const stream of this.streams) {
      if (stream.ended !== undefined) continue;
      stream.ended = 'by us';
      stream.call.end();
    }
  }

  #read(stream: Stream, { frame }: AttachRequest): void {
    switch (frame?.$case) {
      case 'results':
        for (const result of frame.value.results) this.#result(stream, result);
        return;
      case 'pong':
        this.#pongs.get(frame.value.nonce)?.(frame.value.held);
        this.#pongs.delete(frame.value.nonce);
        return;
      case 'beat':
        this.beats.push(frame.value.held.map(({ jobId, fence }) => ({ jobId, fence })));
        return;
      case 'received':
        for (const { jobId, fence, done } of frame.value.held) if (done) this.stopped.push({ jobId, fence });
        return;
      case 'goodbye':
        this.goodbye = true;
        return;
      case 'hello':
        this.breaches.push('a second Hello on one stream');
    }
  }

  #result(stream: Stream, result: Parameters<typeof endOf>[0]): void {
    const { jobId, fence } = result;
    if (!this.#assigned.has(keyOf(result))) this.breaches.push(`a result of (${jobId}, ${fence}), which it was never given`);
    this.arrived.push({ jobId, fence, stream });
    this.#results.add(result);
    if (this.settles) this.settle({ jobId, fence });
  }

  #over(stream: Stream, how: NonNullable<Stream['ended']>): void {
    if (stream.ended !== undefined) return;
    stream.ended = how;
    if (how === 'by the worker') stream.call.end();
  }

  #send(frame: NonNullable<AttachResponse['frame']>): void {
    if (this.stream !== undefined) this.#write(this.stream, frame);
  }

  #write({ call }: Stream, frame: NonNullable<AttachResponse['frame']>): void {
    call.write({ frame });
  }
}

function named(lease: Lease): Held {
  return { ...lease, done: false, progress: Buffer.alloc(0) };
}
