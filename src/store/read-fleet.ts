import type { Contract, Family, HeldLease, WorkerRecord, WorkerState } from '../domain/worker.js';
import { keys } from './keys.js';
import { type Connection, type Read, readAll } from './nodes.js';

/** Workers as they stand, in the order asked for; undefined where there is none. One round trip. */
export async function readWorkers(redis: Connection, pool: string, ids: readonly string[]): Promise<(WorkerRecord | undefined)[]> {
  const reads = ids.flatMap((id): Read[] => [
    ['hgetall', keys.worker(pool, id)],
    ['zscore', keys.workers(pool), id],
    ['hgetall', keys.held(pool, id)],
    ['mget', keys.workerLabels(pool, id), keys.workerKinds(pool, id)],
  ]);
  const values = await readAll(redis, reads);
  return ids.map((id, i) => {
    const [hash, seen, held, json] = values.slice(4 * i, 4 * i + 4);
    return toRecord(
      pool,
      id,
      hash as Record<string, string>,
      seen as number | string | null,
      held as Record<string, string>,
      json as (string | null)[],
    );
  });
}

function toRecord(
  pool: string,
  id: string,
  hash: Record<string, string>,
  seen: number | string | null,
  held: Record<string, string>,
  [labels, kinds]: (string | null)[],
): WorkerRecord | undefined {
  if (hash['state'] === undefined) return undefined;
  return {
    pool,
    id,
    address: hash['address'] ?? '',
    contract: (hash['contract'] ?? 'RUNNER') as Contract,
    region: hash['region'] ?? '',
    slots: Number(hash['slots'] ?? 0),
    state: hash['state'] as WorkerState,
    boot: hash['boot'] ?? '',
    home: hash['home'] ?? '',
    link: hash['link'] ?? '0',
    seenAt: Number(seen ?? 0),
    registeredAt: Number(hash['joined'] ?? 0),
    misses: Number(hash['misses'] ?? 0),
    blocked: hash['blocked'] === '1',
    drained: hash['drained'] === '1',
    version: hash['version'] ?? '',
    reason: hash['reason'] ?? '',
    labels: labels ? (JSON.parse(labels) as Record<string, string>) : {},
    kinds: kinds ? (JSON.parse(kinds) as string[]) : [],
    held: toHeld(held),
    owner: hash['owner'] ?? '',
  };
}

/** Whose worker it is, and whether it lives; both '' when there is none, the owner '' when it is nobody's. */
export async function readOwner(redis: Connection, pool: string, id: string): Promise<{ owner: string; state: WorkerState | '' }> {
  const [owner, state] = await redis.hmget(keys.worker(pool, id), 'owner', 'state');
  return { owner: owner ?? '', state: (state ?? '') as WorkerState | '' };
}

export function toHeld(held: Record<string, string>): HeldLease[] {
  return Object.entries(held).map(([jobId, fence]) => {
    const quarantined = fence.startsWith('!');
    return { jobId, fence: quarantined ? fence.slice(1) : fence, quarantined };
  });
}

/** What many workers hold, in the order asked for. One round trip. */
export async function readHeld(redis: Connection, pool: string, workers: readonly string[]): Promise<HeldLease[][]> {
  const hashes = await readAll(
    redis,
    workers.map((worker) => ['hgetall', keys.held(pool, worker)]),
  );
  return hashes.map((held) => toHeld(held as Record<string, string>));
}

export interface PoolRecord {
  name: string;
  family: Family | undefined;
  paused: boolean;
  workers: number;
  /** Not on the roll any more, and not forgotten yet. */
  dead: number;
  free: number;
  waiting: number;
  scheduled: number;
  running: number;
  buried: number;
  submittedTotal: number;
  succeededTotal: number;
  failedTotal: number;
  cancelledTotal: number;
  expiredTotal: number;
  retriedTotal: number;
}

export async function readPools(redis: Connection, names: readonly string[]): Promise<PoolRecord[]> {
  const reads = names.map((name): Read[] => [
    ['hgetall', keys.meta(name)],
    ['zcard', keys.workers(name)],
    ['llen', keys.free(name)],
    ...[0, 1, 2, 3].map((priority): Read => ['llen', keys.waiting(name, priority)]),
    ['zcard', keys.later(name)],
    ['zcard', keys.buried(name)],
    ['zcard', keys.leases(name)],
    ['zcard', keys.dead(name)],
  ]);
  const each = reads[0]?.length ?? 0;
  const values = await readAll(redis, reads.flat());
  return names.map((name, i) => {
    const [meta, workers, free, w0, w1, w2, w3, later, buried, leases, dead] = values.slice(each * i, each * (i + 1));
    const hash = meta as Record<string, string>;
    const num = (field: string) => Number(hash[field] ?? 0);
    return {
      name,
      family: hash['family'] as Family | undefined,
      paused: hash['paused'] === '1',
      workers: Number(workers),
      dead: Number(dead),
      free: Number(free),
      waiting: Math.max(0, Number(w0) + Number(w1) + Number(w2) + Number(w3) - num('tombstones')),
      scheduled: Number(later),
      running: Number(leases),
      buried: Number(buried),
      submittedTotal: num('submitted'),
      succeededTotal: num('succeeded'),
      failedTotal: num('failed'),
      cancelledTotal: num('cancelled'),
      expiredTotal: num('expired'),
      retriedTotal: num('retried'),
    };
  });
}

export interface PoolEvent {
  id: string;
  at: number;
  kind: string;
  subject: string;
  fields: Record<string, string>;
}

/** Events after `after` (an id, or '$' for what comes from now on: then only the newest id is answered). */
export async function readEvents(redis: Connection, pool: string, after: string, count: number): Promise<{ last: string; events: PoolEvent[] }> {
  if (after === '$') {
    const [newest] = await redis.xrevrange(keys.events(pool), '+', '-', 'COUNT', 1);
    return { last: newest?.[0] ?? '0-0', events: [] };
  }
  const entries = await redis.xrange(keys.events(pool), `(${after}`, '+', 'COUNT', count);
  const events = entries.map(([id, flat]) => {
    const fields = Object.fromEntries(Array.from({ length: flat.length / 2 }, (_, i) => [flat[2 * i] ?? '', flat[2 * i + 1] ?? '']));
    const { kind = '', subject = '', at = '0', ...rest } = fields;
    return { id, kind, subject, at: Number(at), fields: rest };
  });
  return { last: entries.at(-1)?.[0] ?? after, events };
}
