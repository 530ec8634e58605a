import type { Clock, Random } from '../domain/clock.js';
import type { Link } from '../domain/link.js';

/** Rebalancing begins when this replica has more than that times the mean number of links. */
const CROWDED = 1.1;
/** It goes on until there are no more than that. */
const LEVEL = 1.03;
/** One round asks the whole excess to move, and no more than that: the replicas that take them have other work. */
const MOVED_MOST = 500;
/** The moves of one round are spread over that part of it, in so many steps, so that the others are not asked by all at once. */
const SPREAD = 0.7;
const STEPS = 14;
/** A worker that is asked moves within that time. */
const MOVE_WITHIN_MS = 1_000;
/** After its first move a worker is left alone for so long, and for twice as long after each further one. */
const LEFT_ALONE_MS = 1_000;

export interface LevellingOptions {
  links: { readonly size: number; all(): Iterable<Link> };
  clock: Clock;
  random: Random;
  /** The time between two rounds. */
  roundMs: number;
  /** ms after which it is forgotten that a worker was asked; it is never left alone for longer. */
  forgetMs: number;
}

/** Which attached links are to move, so that no replica has many more than the others. */
export class Levelling {
  readonly #options: LevellingOptions;
  /** By pool and id. A worker that knows no other replica comes back each time, and is not to be asked for ever. */
  readonly #asked = new Map<string, { times: number; at: number }>();
  #begun = false;

  constructor(options: LevellingOptions) {
    this.#options = options;
  }

  /**
   * Asks some of this replica's attached links, chosen at random, to move while it has many more than the others. `others`: their numbers of
   * links. Called once a round, whenever those are read anew. The asking is spread over the round. Returns how many are asked.
   */
  round(others: readonly number[]): number {
    const { links, clock, forgetMs } = this.#options;
    const now = clock.monotonic();
    for (const [key, { at }] of this.#asked) if (now - at >= forgetMs) this.#asked.delete(key);
    const mean = (links.size + others.reduce((sum, n) => sum + n, 0)) / (others.length + 1);
    this.#begun = others.length > 0 && links.size > Math.max(mean * (this.#begun ? LEVEL : CROWDED), mean + 1);
    if (!this.#begun) return 0;
    const movable = [...links.all()].filter((link) => link.contract === 'ATTACHED' && !this.#leftAlone(link, now));
    const moving = this.#chosen(movable, Math.min(MOVED_MOST, Math.ceil(links.size - mean)));
    for (const link of moving) this.#asked.set(keyOf(link), { times: (this.#asked.get(keyOf(link))?.times ?? 0) + 1, at: now });
    this.#ask(moving);
    return moving.length;
  }

  #chosen(movable: Link[], most: number): Link[] {
    const chosen: Link[] = [];
    while (chosen.length < most) {
      const at = Math.floor(this.#options.random() * movable.length);
      const link = movable[at];
      const last = movable.pop();
      if (!link || !last) break;
      if (at < movable.length) movable[at] = last;
      chosen.push(link);
    }
    return chosen;
  }

  #ask(moving: readonly Link[]): void {
    const { clock, roundMs } = this.#options;
    const atOnce = Math.ceil(moving.length / STEPS);
    for (let i = 0; i < moving.length; i += atOnce) {
      const ask = () => {
        for (const link of moving.slice(i, i + atOnce)) link.reattach?.('balance', MOVE_WITHIN_MS);
      };
      if (i === 0) ask();
      else clock.after((i / moving.length) * SPREAD * roundMs, ask);
    }
  }

  #leftAlone(link: Link, now: number): boolean {
    const asked = this.#asked.get(keyOf(link));
    return asked !== undefined && now - asked.at < LEFT_ALONE_MS * 2 ** (asked.times - 1);
  }
}

function keyOf({ ref: { pool, id } }: Link): string {
  return `${pool} ${id}`;
}
