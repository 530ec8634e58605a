/** What the operator relies on. `fast`: a crash of the Redis host may lose the last second; `durable`: nothing that was acknowledged. */
export type Durability = 'fast' | 'durable';

/** How Redis keeps what it was told. */
export interface Persistence {
  appendonly: boolean;
  /** undefined: Redis does not tell, as managed services do not. */
  appendfsync: 'always' | 'everysec' | 'no' | undefined;
  /** Did its last write to the append-only file fail? */
  failing: boolean;
}

export interface DurabilityVerdict {
  /** `unknown`: it keeps a file, and does not tell how often it is synced. */
  verdict: 'met' | 'weaker' | 'unknown';
  /** One sentence. */
  what: string;
  /** '' when it is met. */
  remedy: string;
}

const FSYNC = { fast: 'everysec', durable: 'always' } as const;

/** Compares what is relied on with what Redis does. */
export function judgeDurability(asked: Durability, { appendonly, appendfsync, failing }: Persistence): DurabilityVerdict {
  const wanted = FSYNC[asked];
  const remedy = `set appendonly yes and appendfsync ${wanted} in Redis`;
  const otherwise = asked === 'durable' ? `${remedy}, or rely on less with MUSTER_DURABILITY=fast` : remedy;
  if (!appendonly) return { verdict: 'weaker', what: 'Redis keeps no append-only file: a restart of it loses every job', remedy: otherwise };
  if (failing) {
    return { verdict: 'weaker', what: 'Redis cannot write its append-only file', remedy: 'look at its disk and its log, such as for no space left' };
  }
  if (appendfsync === undefined) {
    if (asked === 'fast') return { verdict: 'met', what: 'Redis keeps an append-only file', remedy: '' };
    const what = 'Redis keeps an append-only file and does not tell whether it is synced on every write';
    return { verdict: 'unknown', what, remedy: 'see for yourself that appendfsync is always' };
  }
  if (appendfsync === 'no' || (asked === 'durable' && appendfsync !== 'always')) {
    return { verdict: 'weaker', what: `Redis syncs its append-only file ${LOSES[appendfsync]}`, remedy: otherwise };
  }
  return { verdict: 'met', what: `Redis syncs its append-only file ${LOSES[appendfsync]}`, remedy: '' };
}

const LOSES = {
  always: 'on every write (appendfsync always)',
  everysec: 'once a second (appendfsync everysec): a crash of its host may lose that second',
  no: 'when the system likes to (appendfsync no): a crash of its host may lose half a minute',
};
