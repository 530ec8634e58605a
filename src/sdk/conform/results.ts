import type { Result } from '../../grpc/generated/muster/v1/common.js';
import type { End, Lease } from './types.js';

export type { End } from './types.js';

/** What a Result says, held against the lease that it should be of. */
export function endOf({ jobId, fence, outcome }: Result, lease: Lease): End {
  if (jobId !== lease.jobId || fence !== lease.fence)
    return { how: 'broken', message: `a result of (${jobId}, ${fence}) for (${lease.jobId}, ${lease.fence})` };
  if (outcome === undefined) return { how: 'broken', message: 'a result with neither an output nor a failure' };
  if (outcome.$case === 'output') return { how: 'output', output: Buffer.from(outcome.value).toString() };
  const { code, reason, retryable, message } = outcome.value;
  return { how: 'failure', code, reason, retryable, message };
}

/** Results that come by a way of their own, for those who wait for them. */
export class Results {
  readonly #ends = new Map<string, End>();
  readonly #waiting = new Map<string, ((end: End) => void)[]>();

  add(result: Result): void {
    const key = keyOf(result);
    const end = endOf(result, result);
    this.#ends.set(key, end);
    for (const resolve of this.#waiting.get(key) ?? []) resolve(end);
    this.#waiting.delete(key);
  }

  of(lease: Lease): Promise<End> {
    const key = keyOf(lease);
    const end = this.#ends.get(key);
    if (end !== undefined) return Promise.resolve(end);
    return new Promise((resolve) => {
      this.#waiting.set(key, [...(this.#waiting.get(key) ?? []), resolve]);
    });
  }
}

export function keyOf({ jobId, fence }: Lease): string {
  return `${fence} ${jobId}`;
}
