import type { Clock } from '../domain/clock.js';
import type { Result } from '../grpc/generated/muster/v1/common.js';

const RESULTS_MAX = 1_024;
const RESULT_BYTES_MAX = 64 * 1024 * 1024;
const FENCES_MAX = 16_384;
/** Twice a lease: by then the job was given to another, and nobody comes for the result. */
const UNFETCHED_MS = 60_000;

interface Entry {
  result: Result;
  bytes: number;
  at: number;
  /** Undefined: nobody asked for it yet. */
  fetched: boolean | undefined;
}

/** The last results, so that a lost answer can be given again. Bounded by number and bytes; the oldest go first. */
export class Remembered {
  private readonly entries = new Map<string, Entry>();
  private bytes = 0;

  constructor(private readonly clock: Clock) {}

  add(key: string, result: Result): void {
    if (this.entries.has(key)) return;
    const { outcome } = result;
    const bytes = outcome?.$case === 'output' ? outcome.value.length : 1_024;
    this.entries.set(key, { result, bytes, at: this.clock.monotonic(), fetched: undefined });
    this.bytes += bytes;
    for (const [oldest, entry] of this.entries) {
      // The newest stays, however large: someone is about to be answered with it.
      if ((this.entries.size <= RESULTS_MAX && this.bytes <= RESULT_BYTES_MAX) || oldest === key) break;
      this.entries.delete(oldest);
      this.bytes -= entry.bytes;
    }
  }

  get(key: string): Result | undefined {
    return this.entries.get(key)?.result;
  }

  /** One of those who asked got it, or one did not; that one did counts. */
  setFetched(key: string, fetched: boolean): void {
    const entry = this.entries.get(key);
    if (entry !== undefined) entry.fetched = fetched || entry.fetched === true;
  }

  unfetched(): { jobId: string; fence: string }[] {
    const since = this.clock.monotonic() - UNFETCHED_MS;
    return [...this.entries.values()]
      .filter(({ fetched, at }) => fetched === false && at > since)
      .map(({ result: { jobId, fence } }) => ({ jobId, fence }));
  }
}

/** The newest fence seen of each job, and whether it was begun. Bounded; the job not seen for longest goes first. */
export class Newest {
  private readonly fences = new Map<string, { fence: bigint; started: boolean }>();

  /** Notes it; false: a newer one was seen. */
  see(jobId: string, fence: string): boolean {
    const value = BigInt(fence);
    const known = this.fences.get(jobId);
    if (known !== undefined && value < known.fence) return false;
    this.fences.delete(jobId);
    this.fences.set(jobId, known?.fence === value ? known : { fence: value, started: false });
    if (this.fences.size > FENCES_MAX) {
      const oldest = this.fences.keys().next();
      if (!oldest.done) this.fences.delete(oldest.value);
    }
    return true;
  }

  of(jobId: string): bigint | undefined {
    return this.fences.get(jobId)?.fence;
  }

  start(jobId: string, fence: string): void {
    const known = this.fences.get(jobId);
    if (known?.fence === BigInt(fence)) known.started = true;
  }

  started(jobId: string, fence: string): boolean {
    const known = this.fences.get(jobId);
    return known?.fence === BigInt(fence) && known.started;
  }
}
