import type { Redis } from 'ioredis';
import type { Contract, Family, HeldLease, WorkerRecord, WorkerState } from '../domain/worker.js';
import { keys } from './keys.js';

/** Workers as they stand, in the order asked for; undefined where there is none. One round trip. */
export async function readWorkers(redis: Redis, pool: string, ids: readonly string[]): Promise<(WorkerRecord | undefined)[]> {
  if (ids.length === 0) return [];
  const pipeline = redis.pipeline();
  for (const id of ids) {
    pipeline.hgetall(keys.worker(pool, id));
    pipeline.zscore(keys.workers(pool), id);
    pipeline.hgetall(keys.held(pool, id));
    pipeline.mget(keys.workerLabels(pool, id), keys.workerKinds(pool, id));
  }
  const replies = (await pipeline.exec()) ?? [];
  for (const [error] of replies) if (error) throw error;
  return ids.map((id, i) => {
    const [hash, seen, held, json] = replies.slice(4 * i, 4 * i + 4).map(([, value]) => value);
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
export async function readOwner(redis: Redis, pool: string, id: string): Promise<{ owner: string; state: WorkerState | '' }> {
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
export async function readHeld(redis: Redis, pool: string, workers: readonly string[]): Promise<HeldLease[][]> {
  if (workers.length === 0) return [];
  const pipeline = redis.pipeline();
  for (const worker of workers) pipeline.hgetall(keys.held(pool, worker));
  const replies = (await pipeline.exec()) ?? [];
  return replies.map(([error, held]) => {
    if (error) throw error;
    return toHeld(held as Record<string, string>);
  });
}

export interface PoolRecord {
  name: string;
  family: Family | undefined;
  paused: boolean;
  workers: number;
  free: number;
  waiting: number;
  scheduled: number;
  running: number;
  buried: number;
  succeededTotal: number;
  failedTotal: number;
  retriedTotal: number;
}

export async function readPools(redis: Redis, names: readonly string[]): Promise<PoolRecord[]> {
  const pipeline = redis.pipeline();
  const each = 9;
  for (const name of names) {
    pipeline.hgetall(keys.meta(name));
    pipeline.zcard(keys.workers(name));
    pipeline.llen(keys.free(name));
    for (let priority = 0; priority < 4; priority++) pipeline.llen(keys.waiting(name, priority));
    pipeline.zcard(keys.later(name));
    pipeline.zcard(keys.buried(name));
    pipeline.zcard(keys.leases(name));
  }
  const replies = (await pipeline.exec()) ?? [];
  for (const [error] of replies) if (error) throw error;
  const values = replies.map(([, value]) => value);
  return names.map((name, i) => {
    const [meta, workers, free, w0, w1, w2, w3, later, buried, leases] = values.slice((each + 1) * i, (each + 1) * (i + 1));
    const hash = meta as Record<string, string>;
    const num = (field: string) => Number(hash[field] ?? 0);
    return {
      name,
      family: hash['family'] as Family | undefined,
      paused: hash['paused'] === '1',
      workers: Number(workers),
      free: Number(free),
      waiting: Math.max(0, Number(w0) + Number(w1) + Number(w2) + Number(w3) - num('tombstones')),
      scheduled: Number(later),
      running: Number(leases),
      buried: Number(buried),
      succeededTotal: num('succeeded'),
      failedTotal: num('failed'),
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
export async function readEvents(redis: Redis, pool: string, after: string, count: number): Promise<{ last: string; events: PoolEvent[] }> {
  if (after === '$') {
    const [newest] = await redis.xrevrange(keys.events(pool), '+', '-', 'COUNT', 1);
    return { last: newest?.[0] ?? '0-0', events: [] };
  }
  const entries = await redis.xrange(keys.events(pool), `(${after}`, '+', 'COUNT', count);
  const events = entries.map(([id, flat]) => {
    const fields: Record<string, string> = {};
    for (let i = 0; i < flat.length; i += 2) fields[flat[i] ?? ''] = flat[i + 1] ?? '';
    const { kind = '', subject = '', at = '0', ...rest } = fields;
    return { id, kind, subject, at: Number(at), fields: rest };
  });
  return { last: entries.at(-1)?.[0] ?? after, events };
}
