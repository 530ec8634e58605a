import type { Clock, Random } from '../domain/clock.js';
import type { Link } from '../domain/link.js';

/** More than that times the mean number of links is too many. */
const CROWDED = 1.2;
/** The part of what is too many that one round asks to move: the numbers of the others are a round old, and some will come back here. */
const MOVED_AT_ONCE = 1 / 6;
/** Who moves to level out does it before the next round. */
const MOVE_WITHIN_MS = 1_000;
/** After its first move a worker is left alone for so long, and for twice as long after each further one. */
const LEFT_ALONE_MS = 1_000;

export interface LevellingOptions {
  links: { readonly size: number; all(): Iterable<Link> };
  clock: Clock;
  random: Random;
  /** ms after which it is forgotten that a worker was asked; it is never left alone for longer. */
  forgetMs: number;
}

/** Which attached links are to move, so that no replica has many more than the others. */
export class Levelling {
  readonly #options: LevellingOptions;
  /** By pool and id. A worker that knows no other replica comes back each time, and is not to be asked for ever. */
  readonly #asked = new Map<string, { times: number; at: number }>();

  constructor(options: LevellingOptions) {
    this.#options = options;
  }

  /**
   * Some of this replica's attached links, whichever, are asked to move when it has many more than the others. `others`: their numbers of
   * links. Called whenever those are told anew. Returns how many.
   */
  round(others: readonly number[]): number {
    const { links, clock, random, forgetMs } = this.#options;
    const now = clock.monotonic();
    for (const [key, { at }] of this.#asked) if (now - at >= forgetMs) this.#asked.delete(key);
    const mean = (links.size + others.reduce((sum, n) => sum + n, 0)) / (others.length + 1);
    if (others.length === 0 || links.size <= Math.max(mean * CROWDED, mean + 1)) return 0;
    const movable = [...links.all()].filter((link) => link.contract === 'ATTACHED' && !this.#leftAlone(link, now));
    const moving = Math.min(movable.length, Math.ceil((links.size - mean) * MOVED_AT_ONCE));
    for (let n = 0; n < moving; n++) {
      const [link] = movable.splice(Math.floor(random() * movable.length), 1);
      if (!link) break;
      const key = keyOf(link);
      this.#asked.set(key, { times: (this.#asked.get(key)?.times ?? 0) + 1, at: now });
      link.reattach?.('balance', MOVE_WITHIN_MS);
    }
    return moving;
  }

  #leftAlone(link: Link, now: number): boolean {
    const asked = this.#asked.get(keyOf(link));
    return asked !== undefined && now - asked.at < LEFT_ALONE_MS * 2 ** (asked.times - 1);
  }
}

function keyOf({ ref: { pool, id } }: Link): string {
  return `${pool} ${id}`;
}
