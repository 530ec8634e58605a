/**
 * Every name in Redis. Names are for people: `redis-cli` is a supported way to look. The comment of each is its entry in docs/redis-schema.md, which
 * scripts/redis-schema.ts writes: the type, and one sentence or two.
 * All keys of a pool carry it as hash tag, so that they share a slot of a Cluster. The scripts build the same names from the prefix of
 * their KEYS[1] (`lua/lib/base.lua`); test/integration/store holds the two together.
 */
const pool = (name: string) => `muster:{${name}}:`;

export const keys = {
  /** SET: pool names, each added before anything of the pool is written. */
  pools: 'muster:pools',
  /** HASH: pool → the identity that named it first; for QUOTA_POOLS. Pools that an admin made, or somebody without credentials, are not in it. */
  creators: 'muster:creators',
  /** STRING: the schema's version; a replica does not start beside one that it cannot work with. */
  schema: 'muster:schema',
  /** HASH + TTL: one replica: address, version, links, started, draining, listens. */
  replica: (id: string) => `muster:replica:${id}`,
  /** ZSET: replica → its last beat (ms), of the whole fleet. */
  replicas: 'muster:replicas',
  /** STRING + TTL: Redlock, around the ticker. */
  lock: (what: string) => `muster:lock:${what}`,
  /** CHANNEL: every replica looks at its links now. */
  sweep: 'muster:sweep',
  /** STRING: time (ms) of the last sweep that BullMQ fired, by the clock of Redis. */
  swept: 'muster:swept',
  /** PREFIX: BullMQ's own keys, which are BullMQ's to describe: health sweeps and checks. */
  bull: 'muster:{bull}',

  /** PATTERN: of SCAN: all keys of one pool, or (`*`) of all. */
  ofPool: (name: string) => `${pool(name)}*`,
  /** HASH: the pool: `created`, `idle`, `fence`, `ticked`, `clock`, `shift`, `grace`, `paused`, `family`, `methods`, `tombstones`, and counters. KEYS[1] of every script. */
  meta: (name: string) => `${pool(name)}meta`,
  /** ABSENT: never written. On a Cluster every script names it too, so that Redis refuses the script while the slot is being moved. */
  moving: (name: string) => `${pool(name)}moving`,
  /** HASH: one worker: address, contract, slots, state, listed, blocked, boot, home, link, misses, drained … */
  worker: (name: string, id: string) => `${pool(name)}worker:${id}`,
  /** STRING: a worker's labels, as JSON. */
  workerLabels: (name: string, id: string) => `${pool(name)}worker:${id}:labels`,
  /** STRING: the kinds that a worker runs, as JSON. */
  workerKinds: (name: string, id: string) => `${pool(name)}worker:${id}:kinds`,
  /** STRING + TTL: Redlock, around a worker's registration. */
  workerLock: (name: string, id: string) => `${pool(name)}lock:${id}`,
  /** HASH: `ip:port` → which dialed worker is there; a newcomer supersedes. */
  addresses: (name: string) => `${pool(name)}addresses`,
  /** ZSET: the roll: worker → its last own sign of life (ms). */
  workers: (name: string) => `${pool(name)}workers`,
  /** ZSET: dead worker → time of death (ms); forgotten after MUSTER_FORGET_MS. */
  dead: (name: string) => `${pool(name)}dead`,
  /** HASH: what a worker holds: job → `fence`, or `!fence` in quarantine. Absent when idle. */
  held: (name: string, worker: string) => `${pool(name)}held:${worker}`,
  /** LIST: the free-worker queue: one entry a worker with a free slot, first in first out. */
  free: (name: string) => `${pool(name)}free`,
  /** LIST: waiting job ids, one list a priority (0-3); 3 goes first. */
  waiting: (name: string, priority: number) => `${pool(name)}waiting:${priority}`,
  /** HASH: one job: spec and state, short fields only. */
  job: (name: string, id: string) => `${pool(name)}job:${id}`,
  /** STRING: a job's payload, until the job ends well. */
  payload: (name: string, id: string) => `${pool(name)}job:${id}:payload`,
  /** STRING: a job's metadata, as JSON. */
  metadata: (name: string, id: string) => `${pool(name)}job:${id}:metadata`,
  /** STRING: the result of a job that succeeded. */
  result: (name: string, id: string) => `${pool(name)}job:${id}:result`,
  /** STRING: a job's last failure, as JSON. */
  error: (name: string, id: string) => `${pool(name)}job:${id}:error`,
  /** STRING: what the worker reported last of a job that runs. */
  progress: (name: string, id: string) => `${pool(name)}job:${id}:progress`,
  /** ZSET: job → when to look at its lease again (ms); also `!fence worker job` → end of a METHOD worker's quarantine. */
  leases: (name: string) => `${pool(name)}leases`,
  /** ZSET: job → due time (ms): delayed start, retry backoff. */
  later: (name: string) => `${pool(name)}later`,
  /** ZSET: job → its queue or total deadline (ms); also `@worker` → its drain timeout. */
  deadlines: (name: string) => `${pool(name)}deadlines`,
  /** ZSET: dead letter → time of burial (ms). */
  buried: (name: string) => `${pool(name)}buried`,
  /** ZSET: the last finished jobs → time (ms). */
  finished: (name: string) => `${pool(name)}finished`,
  /** ZSET: replica → its last beat here (ms), of those that have workers or waiters in the pool. */
  homes: (name: string) => `${pool(name)}homes`,
  /** STRING: the FileDescriptorSet of the pool's methods, which a sidecar stored: what their messages look like, for people. */
  descriptors: (name: string) => `${pool(name)}descriptors`,
  /** STREAM: transitions of workers, dead letters, operators' acts; the last ones. */
  events: (name: string) => `${pool(name)}events`,
  /** CHANNEL: hints for one replica: `assign job fence worker`, `cancel job fence worker`, `done job`. */
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
