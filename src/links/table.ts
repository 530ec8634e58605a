import { MusterError } from '../domain/errors.js';
import type { Link } from '../domain/link.js';
import type { WorkerRef } from '../domain/worker.js';

/**
 * The links that this replica holds, by (pool, id). Bounded. Closes nothing: what leaves the table is handed to the caller, who may want
 * its open calls to end first.
 */
export class LinkTable {
  readonly #links = new Map<string, Link>();

  constructor(private readonly maxLinks: number) {}

  get size(): number {
    return this.#links.size;
  }

  get(pool: string, id: string): Link | undefined {
    return this.#links.get(keyOf(pool, id));
  }

  /** Returns the link that it replaces, if it is another one. Throws resource_exhausted TOO_MANY_LINKS, and then nothing has changed. */
  set(link: Link): Link | undefined {
    const key = keyOf(link.ref.pool, link.ref.id);
    const before = this.#links.get(key);
    if (before === undefined && this.#links.size >= this.maxLinks) {
      const message = `this replica holds MAX_LINKS (${this.maxLinks}) links; start more replicas or raise it`;
      throw new MusterError('resource_exhausted', 'TOO_MANY_LINKS', message);
    }
    this.#links.set(key, link);
    return before === link ? undefined : before;
  }

  /** Takes the link out if it is of that boot and link epoch; undefined: another one stands there, or none. */
  remove(ref: WorkerRef): Link | undefined {
    const key = keyOf(ref.pool, ref.id);
    const link = this.#links.get(key);
    if (link === undefined || link.ref.boot !== ref.boot || link.ref.link !== ref.link) return undefined;
    this.#links.delete(key);
    return link;
  }

  /** A snapshot: links may come and go while it is walked. */
  all(): Link[] {
    return [...this.#links.values()];
  }

  /** Takes all out. */
  clear(): Link[] {
    const links = this.all();
    this.#links.clear();
    return links;
  }
}

function keyOf(pool: string, id: string): string {
  return `${pool} ${id}`;
}
