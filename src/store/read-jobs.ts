import type { Failure, JobRecord, JobState, RetryPolicy } from '../domain/job.js';
import { keys } from './keys.js';
import { type Connection, type Read, readAll } from './nodes.js';

const EMPTY = Buffer.alloc(0);

export interface ReadOptions {
  /** With payload, result and progress. */
  bodies: boolean;
}

/** A reply with that many bytes of bodies is full. */
const REPLY_BYTES = 262_144;

/**
 * Jobs as they stand, in the order asked for; undefined where there is none. Bodies come in as many round trips as their bytes ask for: a reply
 * that is too long for the network's speed would be asked for again and again. Rejects as ioredis does.
 */
export async function readJobs(redis: Connection, pool: string, ids: readonly string[], options: ReadOptions): Promise<(JobRecord | undefined)[]> {
  if (!options.bodies || ids.length <= 1) return readSome(redis, pool, ids, options);
  const lengths = await readAll(
    redis,
    ids.flatMap((id): Read[] => [
      ['strlen', keys.result(pool, id)],
      ['strlen', keys.payload(pool, id)],
    ]),
  );
  const records: (JobRecord | undefined)[] = [];
  let part: string[] = [];
  let bytes = 0;
  for (const [i, id] of ids.entries()) {
    const length = Number(lengths[2 * i]) + Number(lengths[2 * i + 1]);
    if (part.length > 0 && bytes + length > REPLY_BYTES) {
      records.push(...(await readSome(redis, pool, part, options)));
      part = [];
      bytes = 0;
    }
    part.push(id);
    bytes += length;
  }
  return [...records, ...(await readSome(redis, pool, part, options))];
}

async function readSome(redis: Connection, pool: string, ids: readonly string[], { bodies }: ReadOptions): Promise<(JobRecord | undefined)[]> {
  const reads = ids.flatMap((id): Read[] => {
    const large = bodies ? [keys.result(pool, id), keys.payload(pool, id), keys.progress(pool, id)] : [];
    return [
      ['hgetall', keys.job(pool, id)],
      ['mgetBuffer', keys.error(pool, id), keys.metadata(pool, id), ...large],
    ];
  });
  const values = await readAll(redis, reads);
  return ids.map((id, i) => toRecord(pool, id, values[2 * i] as Record<string, string>, values[2 * i + 1] as (Buffer | null)[]));
}

function toRecord(pool: string, id: string, hash: Record<string, string>, values: (Buffer | null)[]): JobRecord | undefined {
  if (hash['state'] === undefined) return undefined;
  const [error, metadata, result, payload, progress] = values;
  const state = hash['state'] as JobState;
  const num = (field: string) => Number(hash[field] ?? 0);
  const record: JobRecord = {
    spec: {
      pool,
      id,
      kind: hash['kind'] ?? '',
      method: hash['method'] ?? '',
      payload: payload ?? EMPTY,
      metadata: metadata ? (JSON.parse(metadata.toString()) as Record<string, string>) : {},
      priority: num('priority'),
      notBefore: num('from'),
      queueTimeoutMs: num('queue'),
      runTimeoutMs: num('run'),
      totalTimeoutMs: num('total'),
      retry: toRetry(hash['retry'] ?? '', hash['fatal'] ?? ''),
      retentionMs: num('keep'),
    },
    state,
    attempt: num('attempt'),
    handovers: num('handovers'),
    worker: hash['worker'] ?? '',
    createdAt: num('created'),
    startedAt: num('started'),
    finishedAt: num('finished'),
    nextAt: state === 'scheduled' ? num('next') : 0,
    waitingReason: state === 'scheduled' ? (num('attempt') + num('handovers') > 0 ? 'backoff' : 'not_before') : '',
    progress: progress ?? EMPTY,
  };
  if (state === 'succeeded') record.output = result ?? EMPTY;
  else if (error) record.failure = toFailure(error);
  return record;
}

function toRetry(retry: string, fatal: string): RetryPolicy {
  const [max = 1, initial = 0, ceiling = 0, multiplier = 2] = retry.split(' ').map(Number);
  return {
    maxAttempts: max,
    initialBackoffMs: initial,
    maxBackoffMs: ceiling,
    multiplier,
    fatalCodes: fatal === '' ? [] : fatal.split(',').map(Number),
  };
}

function toFailure(json: Buffer): Failure {
  const { code, message, reason, retryable, details } = JSON.parse(json.toString()) as Omit<Failure, 'details'> & { details?: string };
  return { code, message, reason, retryable, details: details ? Buffer.from(details, 'base64') : EMPTY };
}

/** Which list or set holds the jobs of a state, for paging through it. */
export type JobIndex = { kind: 'list'; key: string } | { kind: 'zset'; key: string; newestFirst: boolean };

export function indexesOf(pool: string, state: JobState): JobIndex[] {
  switch (state) {
    case 'waiting':
      return [3, 2, 1, 0].map((priority) => ({ kind: 'list', key: keys.waiting(pool, priority) }));
    case 'scheduled':
      return [{ kind: 'zset', key: keys.later(pool), newestFirst: false }];
    case 'running':
      return [{ kind: 'zset', key: keys.leases(pool), newestFirst: false }];
    case 'failed':
      return [{ kind: 'zset', key: keys.buried(pool), newestFirst: true }];
    case 'succeeded':
    case 'cancelled':
    case 'expired':
      return [{ kind: 'zset', key: keys.finished(pool), newestFirst: true }];
  }
}

/** Ids out of an index, `count` from `offset` on. */
export async function readIndex(redis: Connection, index: JobIndex, offset: number, count: number): Promise<string[]> {
  const end = offset + count - 1;
  if (index.kind === 'list') return redis.lrange(index.key, offset, end);
  return index.newestFirst ? redis.zrevrange(index.key, String(offset), String(end)) : redis.zrange(index.key, String(offset), String(end));
}
