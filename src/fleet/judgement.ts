import { type IntervalHistogram, monitorEventLoopDelay } from 'node:perf_hooks';
import type { Store } from '../store/store.js';
import type { Judgement } from './ports.js';

const RESOLUTION_MS = 20;

/**
 * Is this replica fit to say of others that they do not answer? Its event loop must have kept up since it was asked last, and Redis must
 * answer it now.
 */
export class SelfJudgement implements Judgement {
  readonly #store: Store;
  readonly #maxLagMs: number;
  readonly #lag: IntervalHistogram;
  #worstMs = 0;

  constructor(store: Store, maxLagMs: number) {
    this.#store = store;
    this.#maxLagMs = maxLagMs;
    this.#lag = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  }

  start(): void {
    this.#lag.enable();
  }

  stop(): void {
    this.#lag.disable();
  }

  /** The worst lag of the event loop in ms since the last reset. */
  lagMs(): number {
    return Math.max(0, this.#lag.max / 1e6 - RESOLUTION_MS);
  }

  /** Begins a new period; answers with the worst of the last one, in ms. Called on a timer, so that one old stall does not silence this replica for good. */
  turn(): number {
    this.#worstMs = this.lagMs();
    this.#lag.reset();
    return this.#worstMs;
  }

  async sound(): Promise<boolean> {
    if (Math.max(this.#worstMs, this.lagMs()) > this.#maxLagMs) return false;
    try {
      await this.#store.ping();
      return true;
    } catch {
      return false;
    }
  }
}
