import { status } from '@grpc/grpc-js';
import type { Clock, Random } from '../domain/clock.js';
import { ApiError } from './api-error.js';
import { Backoff } from './backoff.js';
import type { JobHandle } from './client.js';

/** The end of one of many. */
export type Ended<Output> = { index: number; id: string; ok: true; output: Output } | { index: number; id: string; ok: false; error: unknown };

export interface ManyOptions {
  /** So many may be submitted and not yet taken out of the iteration, 1 to 1024. Default 256. */
  window?: number;
}

const WINDOW = 256;
const WINDOW_MAX = 1_024;
const FULL = { firstMs: 250, maxMs: 2_000 };

/**
 * Submits each input and yields each end, in the order in which they end. The source is asked for more only while fewer than `window` are under
 * way or not taken yet: whoever reads slowly, submits slowly. Leaving the loop submits no more; what was submitted goes on.
 */
export async function* many<Input, Output>(
  inputs: Iterable<Input> | AsyncIterable<Input>,
  submit: (input: Input) => Promise<JobHandle<Output>>,
  { window = WINDOW }: ManyOptions,
): AsyncGenerator<Ended<Output>> {
  if (!Number.isInteger(window) || window < 1 || window > WINDOW_MAX)
    throw new TypeError(`window: ${window} is no whole number from 1 to ${WINDOW_MAX}`);
  const source = Symbol.asyncIterator in inputs ? inputs[Symbol.asyncIterator]() : inputs[Symbol.iterator]();
  const ended: Ended<Output>[] = [];
  let wake = () => {};
  let room = () => {};
  let underWay = 0;
  let exhausted = false;
  let left = false;
  let broken: { error: unknown } | undefined;
  const woken = () => new Promise<void>((resolve) => (wake = resolve));
  const run = async (input: Input, index: number) => {
    let id = '';
    try {
      const handle = await submit(input);
      id = handle.id;
      ended.push({ index, id, ok: true, output: await handle.result() });
    } catch (error) {
      ended.push({ index, id, ok: false, error });
    }
    underWay--;
    wake();
  };
  const feed = async () => {
    for (let index = 0; !left; ) {
      if (underWay + ended.length >= window) {
        await new Promise<void>((resolve) => (room = resolve));
        continue;
      }
      const next = await source.next();
      if (next.done) break;
      underWay++;
      void run(next.value, index++);
    }
  };
  void feed()
    .catch((error: unknown) => {
      broken = { error };
    })
    .then(() => {
      exhausted = true;
      wake();
    });
  try {
    for (;;) {
      const end = ended.shift();
      if (end !== undefined) {
        room();
        yield end;
      } else if (broken !== undefined) throw broken.error;
      else if (exhausted && underWay === 0) return;
      else await woken();
    }
  } finally {
    left = true;
    room();
    if (!exhausted) await source.return?.();
  }
}

/** The pauses of all submissions of one client while the replicas have no room: one of them tries after each pause, the others follow it. */
export class WhileFull {
  private readonly backoff: Backoff;
  /** While there is no room: resolves when one may try again. */
  private turn: Promise<void> | undefined;

  constructor(private readonly patience: { clock: Clock; random: Random; giveUpMs: number }) {
    this.backoff = new Backoff(patience.random, FULL);
  }

  /** Submits again while the backlog is full, for as long as the caller has patience. */
  async submit<T>(call: () => Promise<T>): Promise<T> {
    const { clock, giveUpMs } = this.patience;
    const endsAt = clock.monotonic() + giveUpMs;
    for (;;) {
      const turn = this.turn;
      await turn;
      // Another one tries first.
      if (this.turn !== undefined && this.turn !== turn) continue;
      if (turn !== undefined) this.pause();
      try {
        const answer = await call();
        this.backoff.reset();
        this.turn = undefined;
        return answer;
      } catch (error) {
        const full = error instanceof ApiError && error.code === status.RESOURCE_EXHAUSTED && error.reason !== 'WINDOW_FULL';
        if (!full || clock.monotonic() > endsAt) throw error;
        if (this.turn === undefined) this.pause();
      }
    }
  }

  private pause(): void {
    this.turn = this.patience.clock.sleep(this.backoff.nextMs());
  }
}
