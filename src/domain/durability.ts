/** What the operator relies on. `fast`: a crash of the Redis host may lose the last second; `durable`: nothing that was acknowledged. */
export type Durability = 'fast' | 'durable';

/** How Redis keeps what it was told. */
export interface Persistence {
  /** undefined: Redis does not tell, as some managed services do not. */
  appendonly: boolean | undefined;
  /** undefined: Redis does not tell, as most managed services do not. */
  appendfsync: 'always' | 'everysec' | 'no' | undefined;
  /** Did its last write to the append-only file fail? */
  failing: boolean;
  /** Its maxmemory-policy, as it writes it. '': it does not tell. */
  evictionPolicy: string;
}

/**
 * Why that policy forbids a start, and what to set; undefined: it does not. Every policy but noeviction deletes keys of Muster when memory
 * is short: `allkeys-*` any job, `volatile-*` those with an expiry, which are results that are kept, records of replicas, and locks.
 */
export function evictionRefusal(policy: string): string | undefined {
  if (policy === '' || policy === 'noeviction') return undefined;
  const lost = policy.startsWith('volatile-') ? 'results and locks' : 'jobs';
  return `Redis has maxmemory-policy ${policy}, so it deletes ${lost} when its memory is full: set maxmemory-policy noeviction in the Redis of MUSTER_REDIS_URL`;
}

export interface DurabilityVerdict {
  /** `unknown`: Redis does not tell enough to judge it. */
  verdict: 'met' | 'weaker' | 'unknown';
  /** One sentence. */
  what: string;
  /** '' when it is met. */
  remedy: string;
}

const FSYNC = { fast: 'everysec', durable: 'always' } as const;

/** Compares what is relied on with what Redis does. */
export function judgeDurability(asked: Durability, { appendonly, appendfsync, failing }: Omit<Persistence, 'evictionPolicy'>): DurabilityVerdict {
  const wanted = FSYNC[asked];
  const remedy = `set appendonly yes and appendfsync ${wanted} in Redis`;
  const otherwise = asked === 'durable' ? `${remedy}, or rely on less with MUSTER_DURABILITY=fast` : remedy;
  if (appendonly === undefined) {
    return { verdict: 'unknown', what: 'Redis does not tell whether it keeps an append-only file', remedy: unknownRemedy(asked) };
  }
  if (!appendonly) return { verdict: 'weaker', what: 'Redis keeps no append-only file: a restart of it loses every job', remedy: otherwise };
  if (failing) {
    return { verdict: 'weaker', what: 'Redis cannot write its append-only file', remedy: 'look at its disk and its log, such as for no space left' };
  }
  if (appendfsync === undefined) {
    if (asked === 'fast') return { verdict: 'met', what: 'Redis keeps an append-only file', remedy: '' };
    const what = 'Redis keeps an append-only file and does not tell whether it is synced on every write';
    return { verdict: 'unknown', what, remedy: unknownRemedy(asked) };
  }
  if (appendfsync === 'no' || (asked === 'durable' && appendfsync !== 'always')) {
    return { verdict: 'weaker', what: `Redis syncs its append-only file ${LOSES[appendfsync]}`, remedy: otherwise };
  }
  return { verdict: 'met', what: `Redis syncs its append-only file ${LOSES[appendfsync]}`, remedy: '' };
}

/** May a replica not start on that? `unchecked`: the operator has seen to it, where Redis does not tell. */
export function refusesToStart(asked: Durability, { verdict }: DurabilityVerdict, unchecked: boolean): boolean {
  return asked === 'durable' && (verdict === 'weaker' || (verdict === 'unknown' && !unchecked));
}

function unknownRemedy(asked: Durability): string {
  if (asked === 'fast') return 'see for yourself that it does, or let the user of MUSTER_REDIS_URL ask for it (INFO, CONFIG GET)';
  return (
    'let the user of MUSTER_REDIS_URL ask for it (INFO, CONFIG GET); or see for yourself that appendonly is yes and appendfsync always, and set ' +
    'MUSTER_DURABILITY_UNCHECKED=true'
  );
}

const LOSES = {
  always: 'on every write (appendfsync always)',
  everysec: 'once a second (appendfsync everysec): a crash of its host may lose that second',
  no: 'when the system likes to (appendfsync no): a crash of its host may lose half a minute',
};
