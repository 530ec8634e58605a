import { MusterError } from '../domain/errors.js';
import type { WorkerRecord, WorkerState } from '../domain/worker.js';
import { PAGE_BYTES } from '../store/nodes.js';
import type { PoolEvent, PoolRecord } from '../store/read-fleet.js';
import type { ReplicaRecord } from '../store/replicas.js';
import type { Store } from '../store/store.js';

export type { PoolEvent, PoolRecord, ReplicaRecord };

/** Workers read at once: one may hold thousands of leases. */
const MAX_READ = 16;

export interface WorkerPage {
  workers: WorkerRecord[];
  /** Empty: that was the last page. */
  next: string;
}

/** What operators and consoles read of the fleet. Reads only; every call is bounded. */
export class FleetQueries {
  readonly #store: Store;

  constructor(store: Store) {
    this.#store = store;
  }

  /** One page; a page may hold fewer than `size`, or none, and not be the last. `pool` empty: all pools, by name. */
  async listWorkers(pool: string, state: WorkerState | undefined, size: number, token: string): Promise<WorkerPage> {
    const pools = pool === '' ? (await this.#store.pools()).sort() : [pool];
    const which = state === 'dead' ? 'dead' : 'workers';
    let { name, offset } = readToken(token, pools[0] ?? '');
    if (pool !== '' && name !== pool) throw notOfThisList();
    // The pool where the page before ended may be gone by now: the list goes on with the next one by name.
    const at = pools.findIndex((other) => other >= name);
    if (at < 0) return { workers: [], next: '' };
    if (pools[at] !== name) [name, offset] = [pools[at] ?? '', 0];
    const ids = await this.#store.readRoll(name, which, offset, size);
    if (pool !== '' && ids.length === 0 && offset === 0) await this.#store.requirePool(pool);
    const workers: WorkerRecord[] = [];
    let used = 0;
    for (let bytes = 0; used < ids.length && bytes < PAGE_BYTES; ) {
      const some = ids.slice(used, used + MAX_READ);
      for (const record of await this.#store.readWorkers(name, some)) {
        if (bytes >= PAGE_BYTES) break;
        used++;
        if (!record || (state !== undefined && record.state !== state)) continue;
        workers.push(record);
        bytes += bytesOf(record);
      }
    }
    offset += used;
    if (used < ids.length || ids.length === size) return { workers, next: `${name}:${offset}` };
    name = pools[at + 1] ?? '';
    return { workers, next: name === '' ? '' : `${name}:0` };
  }

  async getWorker(pool: string, id: string): Promise<WorkerRecord> {
    const [record] = await this.#store.readWorkers(pool, [id]);
    if (!record) throw new MusterError('not_found', 'NO_SUCH_WORKER', `the pool ${pool} has no worker ${id}`);
    return record;
  }

  /** Rejects with `not_found` NO_SUCH_POOL. */
  requirePool(pool: string): Promise<void> {
    return this.#store.requirePool(pool);
  }

  async listPools(): Promise<PoolRecord[]> {
    return this.#store.readPools((await this.#store.pools()).sort());
  }

  /** These pools, in this order; one that nobody has used yet is an empty one. O(1) a pool. */
  readPools(names: readonly string[]): Promise<PoolRecord[]> {
    return this.#store.readPools(names);
  }

  listReplicas(): Promise<ReplicaRecord[]> {
    return this.#store.readReplicas();
  }

  /** What the pool's methods look like. Rejects with `not_found` when nobody has said. */
  async descriptors(pool: string): Promise<Buffer> {
    const set = await this.#store.readDescriptors(pool);
    if (set === null) {
      await this.#store.requirePool(pool);
      throw new MusterError('not_found', 'NO_DESCRIPTORS', `the pool ${pool} has no descriptors: a sidecar puts them, or PutPoolDescriptors`);
    }
    return set;
  }

  /** The one thing that is written here: a note for people, which no transition depends on. `check` is asked about what is new; `who`: the operator. */
  async putDescriptors(pool: string, set: Buffer, check: (set: Buffer) => void, who = ''): Promise<void> {
    // All sidecars of a pool put the same, often at once; to check 1 MiB takes a third of a second.
    if ((await this.#store.readDescriptors(pool))?.equals(set)) return;
    check(set);
    await this.#store.writeDescriptors(pool, set, who);
  }

  /** Events after an id; with '$' only where the stream ends now. */
  events(pool: string, after: string, count: number): Promise<{ last: string; events: PoolEvent[] }> {
    if (after !== '$' && !/^\d{1,20}(-\d{1,20})?$/.test(after)) {
      throw new MusterError('invalid_argument', 'INVALID_FIELD', 'after: must be the id of an event, or empty', { field: 'after' });
    }
    return this.#store.readEvents(pool, after, count);
  }
}

/** On the wire, roughly. */
function bytesOf({ labels, kinds, held }: WorkerRecord): number {
  let bytes = 512;
  for (const [key, value] of Object.entries(labels)) bytes += key.length + value.length + 8;
  for (const kind of kinds) bytes += kind.length + 2;
  for (const { jobId, fence } of held) bytes += jobId.length + fence.length + 8;
  return bytes;
}

function readToken(token: string, first: string): { name: string; offset: number } {
  if (token === '') return { name: first, offset: 0 };
  const match = token.match(/^([a-z0-9-]{1,63}):(\d{1,9})$/);
  if (!match) throw notOfThisList();
  return { name: match[1] ?? '', offset: Number(match[2]) };
}

function notOfThisList(): MusterError {
  return new MusterError('invalid_argument', 'INVALID_FIELD', 'page_token: must be the next_page_token of the page before', { field: 'page_token' });
}
