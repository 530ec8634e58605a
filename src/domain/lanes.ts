/**
 * Runs a task for each of many items, and keeps what is slow from delaying the rest. Items share a lane when they are slow together (pools
 * whose keys are on one Redis server). A lane runs a bounded number of tasks at once, and one round at a time.
 */
export class Lanes<T> {
  readonly #laneOf: (item: T) => string;
  readonly #atOnce: number;
  readonly #busy = new Map<string, Promise<void>>();

  constructor(laneOf: (item: T) => string, atOnce: number) {
    this.#laneOf = laneOf;
    this.#atOnce = atOnce;
  }

  /**
   * Starts a round in every lane that has none under way, and resolves when those have ended. Items of busy lanes are left out: the next
   * call has them. `task` must not reject.
   */
  async run(items: Iterable<T>, task: (item: T) => Promise<unknown>): Promise<void> {
    const lanes = new Map<string, T[]>();
    for (const item of items) {
      const lane = this.#laneOf(item);
      if (this.#busy.has(lane)) continue;
      const own = lanes.get(lane);
      if (own) own.push(item);
      else lanes.set(lane, [item]);
    }
    await Promise.all([...lanes].map(([lane, own]) => this.#round(lane, own, task)));
  }

  /** Resolves when every round that is under way has ended. */
  async idle(): Promise<void> {
    await Promise.all(this.#busy.values());
  }

  #round(lane: string, items: T[], task: (item: T) => Promise<unknown>): Promise<void> {
    let next = 0;
    const worker = async () => {
      while (next < items.length) await task(items[next++] as T);
    };
    const round = Promise.all(Array.from({ length: Math.min(this.#atOnce, items.length) }, worker))
      .then(() => undefined)
      .finally(() => this.#busy.delete(lane));
    this.#busy.set(lane, round);
    return round;
  }
}
