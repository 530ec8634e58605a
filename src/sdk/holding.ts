import type { Held, Result } from '../grpc/generated/muster/v1/common.js';
import type { AttachRequest } from '../grpc/generated/muster/v1/worker.js';
import { Verdict } from '../grpc/generated/muster/v1/worker.js';
import type { Attempts } from './attempts.js';
import { sizeOf } from './results.js';

type Frame = NonNullable<AttachRequest['frame']>;

interface Unsettled {
  result: Result;
  bytes: number;
  /** On the current stream. */
  sent: boolean;
}

/** A frame's bounds, as the contract says them. */
const ITEMS_MAX = 64;
const BYTES_MAX = 262_144;
/** Of Hello, Beat and Pong. */
export const HELD_MAX = 4_096;

const KNOWN: ReadonlySet<number> = new Set([
  Verdict.VERDICT_ACCEPTED,
  Verdict.VERDICT_DUPLICATE,
  Verdict.VERDICT_STALE,
  Verdict.VERDICT_GONE,
  Verdict.VERDICT_CANCELLED,
]);

const NO_BYTES = Buffer.alloc(0);

/**
 * What an attached worker holds, and what it has to say of it. `next` is asked for one frame at a time, as the stream takes them, so that
 * nothing queues up here but by name. Bounded by the worker's slots: a slot is free again only when its result is settled.
 */
export class Holding {
  private readonly unsettled = new Map<string, Unsettled>();
  private unsent: string[] = [];
  private onWire = 0;
  private readonly stopped = new Map<string, Held>();
  private readonly arrived = new Map<string, Held>();
  /** Leases that were named as arrived, or by the first frame of this stream. */
  private readonly known = new Set<string>();
  /** The progress that was said last of each attempt. */
  private readonly said = new Map<string, Buffer>();
  private pong: string | undefined;
  private resized: number | undefined;
  private leaving = false;
  private beatDue = false;

  constructor(private readonly attempts: Attempts) {}

  /** Neither runs anything nor waits for a settlement. */
  get idle(): boolean {
    return this.attempts.size === 0 && this.unsettled.size === 0;
  }

  get results(): number {
    return this.unsettled.size;
  }

  /** Everything that runs or whose result is not settled. */
  held(): Held[] {
    const held = this.attempts
      .held()
      .filter(({ done }) => !done)
      .map(({ jobId, fence }) => lease(jobId, fence, this.unsettled.has(keyOf(jobId, fence))));
    const running = new Set(held.map(({ jobId, fence }) => keyOf(jobId, fence)));
    for (const [key, { result }] of this.unsettled) if (!running.has(key)) held.push(lease(result.jobId, result.fence, true));
    return held.slice(0, HELD_MAX);
  }

  /** An attempt's end; kept until it is settled. The same again is sent again. */
  ended(result: Result): void {
    const key = keyOf(result.jobId, result.fence);
    this.forget(key);
    const there = this.unsettled.get(key);
    if (there?.sent === false) return;
    if (there?.sent) this.onWire--;
    this.unsettled.set(key, { result, bytes: sizeOf(result), sent: false });
    this.unsent.push(key);
  }

  /** The replica's word on a result. An unknown verdict settles nothing. */
  settled(jobId: string, fence: string, verdict: number): void {
    const key = keyOf(jobId, fence);
    const there = this.unsettled.get(key);
    if (there === undefined || !KNOWN.has(verdict)) return;
    this.unsettled.delete(key);
    if (there.sent) this.onWire--;
  }

  /** That attempt does not run here (any more), and no result of it is to come. */
  isStopped(jobId: string, fence: string): void {
    const key = keyOf(jobId, fence);
    this.forget(key);
    this.stopped.set(key, lease(jobId, fence, true));
  }

  has(jobId: string, fence: string): boolean {
    return this.unsettled.has(keyOf(jobId, fence));
  }

  answer(nonce: string): void {
    this.pong = nonce;
  }

  resize(slots: number): void {
    this.resized = slots;
  }

  leave(): void {
    this.leaving = true;
  }

  /** Attempts older than that (monotonic ms) are named as arrived; with `all` a beat names everything. Answers whether there is news. */
  look(startedBefore: number, all: boolean): boolean {
    for (const { jobId, fence, since } of this.attempts.all()) {
      const key = keyOf(jobId, fence);
      if (since > startedBefore || this.known.has(key)) continue;
      this.known.add(key);
      this.arrived.set(key, lease(jobId, fence, false));
    }
    if (!this.idle && (all || this.attempts.held().some((held) => this.news(held).length > 0))) this.beatDue = true;
    return this.beatDue || this.arrived.size > 0;
  }

  /** A new stream is current, which has been told all that is held: results go out again, and what was to be said of the old one is void. */
  begin(): void {
    this.unsent = [...this.unsettled.keys()];
    for (const each of this.unsettled.values()) each.sent = false;
    this.onWire = 0;
    this.arrived.clear();
    this.said.clear();
    this.pong = undefined;
    this.resized = undefined;
    this.leaving = false;
  }

  /**
   * The next frame that may go out; undefined: nothing. `quiet`: nothing that only the replica of the current stream would know.
   * `aside`: came over it, and waits to be begun.
   */
  next(maxUnsettled: number, quiet: boolean, aside: readonly Pick<Held, 'jobId' | 'fence'>[] = []): Frame | undefined {
    if (this.pong !== undefined) {
      const nonce = this.pong;
      this.pong = undefined;
      const held = [...this.held(), ...aside.map(({ jobId, fence }) => lease(jobId, fence, false))];
      return { $case: 'pong', value: { nonce, held: held.slice(0, HELD_MAX) } };
    }
    if (this.resized !== undefined) {
      const slots = this.resized;
      this.resized = undefined;
      return { $case: 'resize', value: { slots } };
    }
    return this.nextResults(maxUnsettled) ?? this.nextReceived(quiet) ?? this.nextBeat(quiet) ?? this.nextGoodbye();
  }

  private nextResults(maxUnsettled: number): Frame | undefined {
    const results: Result[] = [];
    let bytes = 0;
    while (results.length < ITEMS_MAX && this.onWire < maxUnsettled) {
      const [key] = this.unsent;
      if (key === undefined) break;
      const each = this.unsettled.get(key);
      if (each !== undefined && !each.sent) {
        if (results.length > 0 && bytes + each.bytes > BYTES_MAX) break;
        each.sent = true;
        this.onWire++;
        bytes += each.bytes;
        results.push(each.result);
      }
      this.unsent.shift();
    }
    return results.length === 0 ? undefined : { $case: 'results', value: { results } };
  }

  private nextReceived(quiet: boolean): Frame | undefined {
    const held = [...take(this.stopped, ITEMS_MAX), ...(quiet ? [] : take(this.arrived, ITEMS_MAX))];
    return held.length === 0 ? undefined : { $case: 'received', value: { held } };
  }

  private nextBeat(quiet: boolean): Frame | undefined {
    if (!this.beatDue || quiet) return undefined;
    this.beatDue = false;
    const news = new Map(this.attempts.held().map((held) => [keyOf(held.jobId, held.fence), this.news(held)]));
    let bytes = 0;
    const held = this.held().map((each) => {
      const progress = news.get(keyOf(each.jobId, each.fence)) ?? NO_BYTES;
      if (progress.length === 0) return each;
      // The rest goes with the next beat, which follows at once: together they could be more than a frame holds.
      this.beatDue ||= bytes + progress.length > BYTES_MAX;
      if (this.beatDue) return each;
      bytes += progress.length;
      this.said.set(keyOf(each.jobId, each.fence), progress);
      return { ...each, progress };
    });
    return held.length === 0 ? undefined : { $case: 'beat', value: { held } };
  }

  private nextGoodbye(): Frame | undefined {
    if (!this.leaving) return undefined;
    this.leaving = false;
    return { $case: 'goodbye', value: { drainTimeout: undefined } };
  }

  /** Empty: nothing that was not said before. */
  private news({ jobId, fence, progress }: Held): Buffer {
    return this.said.get(keyOf(jobId, fence)) === progress ? NO_BYTES : progress;
  }

  private forget(key: string): void {
    this.known.delete(key);
    this.arrived.delete(key);
    this.said.delete(key);
  }
}

function take(from: Map<string, Held>, most: number): Held[] {
  const taken: Held[] = [];
  for (const [key, held] of from) {
    if (taken.length === most) break;
    taken.push(held);
    from.delete(key);
  }
  return taken;
}

function lease(jobId: string, fence: string, done: boolean): Held {
  return { jobId, fence, done, progress: NO_BYTES };
}

function keyOf(jobId: string, fence: string): string {
  return `${jobId}/${fence}`;
}
