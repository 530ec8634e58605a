/**
 * Every name in Redis, each with its type. Names are for people: `redis-cli` is a supported way to look.
 * All keys of a pool carry it as hash tag, so that they share a slot of a Cluster. The scripts build the same names from the prefix of
 * their KEYS[1] (`lua/lib/base.lua`); test/integration/store holds the two together.
 */
const pool = (name: string) => `muster:{${name}}:`;

export const keys = {
  /** SET: pool names. A pool is added before anything of it is written. */
  pools: 'muster:pools',
  /** STRING: the schema's version. */
  schema: 'muster:schema',
  /** HASH + TTL: one replica: address, version, links, started, draining. */
  replica: (id: string) => `muster:replica:${id}`,
  /** ZSET: replica id → last beat (ms), of the whole cluster. */
  replicas: 'muster:replicas',
  /** STRING + TTL: Redlock. */
  lock: (what: string) => `muster:lock:${what}`,
  /** Channel: every replica looks at its links now. */
  sweep: 'muster:sweep',
  /** STRING: ms of the last sweep that BullMQ fired. */
  swept: 'muster:swept',
  /** BullMQ's own keys. */
  bull: 'muster:{bull}',

  /** Pattern of SCAN: all keys of one pool, or ('*') of all. */
  ofPool: (name: string) => `${pool(name)}*`,
  /** HASH: fence, ticked, grace, paused, family, tombstones, and counters. KEYS[1] of every script. */
  meta: (name: string) => `${pool(name)}meta`,
  /** HASH: one worker. */
  worker: (name: string, id: string) => `${pool(name)}worker:${id}`,
  /** STRING: JSON. */
  workerLabels: (name: string, id: string) => `${pool(name)}worker:${id}:labels`,
  /** STRING: JSON. */
  workerKinds: (name: string, id: string) => `${pool(name)}worker:${id}:kinds`,
  /** HASH: ip:port → which dialed worker is there. */
  addresses: (name: string) => `${pool(name)}addresses`,
  /** ZSET: worker id → its last own sign of life (ms). */
  workers: (name: string) => `${pool(name)}workers`,
  /** ZSET: dead worker id → time of death (ms). */
  dead: (name: string) => `${pool(name)}dead`,
  /** HASH: job id → fence, or !fence in quarantine. Absent when idle. */
  held: (name: string, worker: string) => `${pool(name)}held:${worker}`,
  /** LIST: the free-worker queue. One entry a worker with a free slot, first in first out. */
  free: (name: string) => `${pool(name)}free`,
  /** LIST: waiting job ids, one list a priority (0-3), 3 first. */
  waiting: (name: string, priority: number) => `${pool(name)}waiting:${priority}`,
  /** HASH: one job. */
  job: (name: string, id: string) => `${pool(name)}job:${id}`,
  /** STRING: bytes, until the job ends well. */
  payload: (name: string, id: string) => `${pool(name)}job:${id}:payload`,
  /** STRING: JSON. */
  metadata: (name: string, id: string) => `${pool(name)}job:${id}:metadata`,
  /** STRING: bytes. */
  result: (name: string, id: string) => `${pool(name)}job:${id}:result`,
  /** STRING: JSON of the last failure. */
  error: (name: string, id: string) => `${pool(name)}job:${id}:error`,
  /** STRING: bytes that the worker reported last. */
  progress: (name: string, id: string) => `${pool(name)}job:${id}:progress`,
  /** ZSET: job id → when to look at its lease again (ms); also `!fence worker job` → end of a METHOD worker's quarantine. */
  leases: (name: string) => `${pool(name)}leases`,
  /** ZSET: job id → due time (ms). */
  later: (name: string) => `${pool(name)}later`,
  /** ZSET: job id → its queue or total deadline (ms); also `@worker` → its drain timeout. */
  deadlines: (name: string) => `${pool(name)}deadlines`,
  /** ZSET: dead letter → time of burial (ms). */
  buried: (name: string) => `${pool(name)}buried`,
  /** ZSET: finished job → time (ms), the last ones. */
  finished: (name: string) => `${pool(name)}finished`,
  /** ZSET: replica id → last beat (ms), of the replicas that have workers or waiters here. */
  homes: (name: string) => `${pool(name)}homes`,
  /** STRING: a FileDescriptorSet: what the messages of the pool's methods look like, for people. */
  descriptors: (name: string) => `${pool(name)}descriptors`,
  /** STREAM: the last transitions. */
  events: (name: string) => `${pool(name)}events`,
  /** Channel: hints for one replica: `assign job fence worker`, `cancel job fence worker`, `done job`. */
  home: (name: string, replica: string) => `${pool(name)}home:${replica}`,
} as const;

/** The pool of a key or channel built by this module. */
export function poolOf(key: string): string {
  return key.slice(key.indexOf('{') + 1, key.indexOf('}'));
}

/** Whose hash a key is; undefined for others. */
export function ownerOf(key: string): { pool: string; what: 'worker' | 'job' | 'held'; id: string } | undefined {
  const [, name, what, id] = /^muster:\{([a-z0-9-]+)\}:(worker|job|held):(.+)$/.exec(key) ?? [];
  return name === undefined || id === undefined ? undefined : { pool: name, what: what as 'worker' | 'job' | 'held', id };
}
