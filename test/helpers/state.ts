import type { Redis } from 'ioredis';

/** One worker as its hash says. */
export interface WorkerView {
  state: string;
  listed: boolean;
  blocked: boolean;
  drained: boolean;
  leaving: boolean;
  slots: number;
  home: string;
  boot: string;
  previous: string;
  link: string;
  contract: string;
  address: string;
  misses: number;
  /** ms; 0 for never. */
  suspected: number;
}

/** One job as its hash says. What belongs to a lease is shown while it runs only, its due time while it is scheduled only. */
export interface JobView {
  state: string;
  attempt: number;
  handovers: number;
  priority: number;
  fence: string;
  worker: string;
  delivered: boolean;
  started: number;
  next: number;
  /** Do these keys exist? */
  payload: boolean;
  result: boolean;
  error: boolean;
  /** Will its hash expire? */
  expires: boolean;
  /** Its hash will expire, and one of its other keys will not. */
  leaks: boolean;
}

export type Scores = Record<string, number>;

/** Everything of one pool but its events and the counters for metrics. Plain data: two states compare by their JSON. */
export interface PoolState {
  fence: string;
  paused: boolean;
  family: string;
  tombstones: number;
  ticked: number;
  clock: number;
  shift: number;
  grace: number;
  workers: Record<string, WorkerView>;
  held: Record<string, Record<string, string>>;
  addresses: Record<string, string>;
  free: string[];
  /** By priority, 0 first. */
  waiting: string[][];
  jobs: Record<string, JobView>;
  leases: Scores;
  later: Scores;
  deadlines: Scores;
  buried: Scores;
  finished: Scores;
  homes: Scores;
  seen: Scores;
  dead: Scores;
}

/** The names that may exist in the pool. Others are not looked for. */
export interface Names {
  workers: readonly string[];
  jobs: readonly string[];
  addresses: readonly string[];
}

const ZSETS = ['leases', 'later', 'deadlines', 'buried', 'finished', 'homes', 'workers', 'dead'] as const;

/** ARGV: prefix, how many workers, how many jobs, their ids, then addresses. Read-only, so the state is of one moment. */
const DUMP = `
local P, nw, nj = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local out = { redis.call('HGETALL', P .. 'meta'), redis.call('LRANGE', P .. 'free', 0, -1) }
for p = 0, 3 do out[#out + 1] = redis.call('LRANGE', P .. 'waiting:' .. p, 0, -1) end
for _, name in ipairs({ ${ZSETS.map((name) => `'${name}'`).join(', ')} }) do
  out[#out + 1] = redis.call('ZRANGE', P .. name, 0, -1, 'WITHSCORES')
end
for i = 4, 3 + nw do
  out[#out + 1] = redis.call('HGETALL', P .. 'worker:' .. ARGV[i])
  out[#out + 1] = redis.call('HGETALL', P .. 'held:' .. ARGV[i])
end
for i = 4 + nw, 3 + nw + nj do
  local key = P .. 'job:' .. ARGV[i]
  local hash = redis.call('HGETALL', key)
  if #hash > 0 then
    for _, part in ipairs({ 'payload', 'result', 'error' }) do
      hash[#hash + 1] = '+' .. part
      hash[#hash + 1] = tostring(redis.call('EXISTS', key .. ':' .. part))
    end
    local expires, leaks = redis.call('PTTL', key) >= 0, false
    for _, part in ipairs({ 'payload', 'metadata', 'result', 'error', 'progress' }) do
      leaks = leaks or (expires and redis.call('PTTL', key .. ':' .. part) == -1)
    end
    for name, value in pairs({ expires = expires, leaks = leaks }) do
      hash[#hash + 1] = '+' .. name
      hash[#hash + 1] = value and '1' or '0'
    end
  end
  out[#out + 1] = hash
end
for i = 4 + nw + nj, #ARGV do out[#out + 1] = redis.call('HGET', P .. 'addresses', ARGV[i]) or '' end
return out`;

/** The whole pool in one call. */
export async function readState(redis: Redis, pool: string, names: Names): Promise<PoolState> {
  const { workers, jobs, addresses } = names;
  const reply = await redis.eval(DUMP, 0, `muster:{${pool}}:`, workers.length, jobs.length, ...workers, ...jobs, ...addresses);
  const parts = (reply as (string | string[])[])[Symbol.iterator]();
  const next = () => parts.next().value ?? [];
  const list = () => [...next()];
  const hash = () => pairs(list());
  const meta = hash();
  const free = list();
  const waiting = [list(), list(), list(), list()];
  const [leases, later, deadlines, buried, finished, homes, seen, dead] = ZSETS.map(() => scores(list()));
  const state: PoolState = {
    fence: meta['fence'] ?? '0',
    paused: meta['paused'] === '1',
    family: meta['family'] ?? '',
    tombstones: Number(meta['tombstones'] ?? 0),
    ticked: Number(meta['ticked'] ?? 0),
    clock: Number(meta['clock'] ?? 0),
    shift: Number(meta['shift'] ?? 0),
    grace: Number(meta['grace'] ?? 0),
    workers: {},
    held: {},
    addresses: {},
    free,
    waiting,
    jobs: {},
    leases: leases ?? {},
    later: later ?? {},
    deadlines: deadlines ?? {},
    buried: buried ?? {},
    finished: finished ?? {},
    homes: homes ?? {},
    seen: seen ?? {},
    dead: dead ?? {},
  };
  for (const id of workers) {
    const worker = hash();
    const held = hash();
    if (worker['state'] !== undefined) state.workers[id] = toWorker(worker);
    if (Object.keys(held).length > 0) state.held[id] = held;
  }
  for (const id of jobs) {
    const job = hash();
    if (job['state'] !== undefined) state.jobs[id] = toJob(job);
  }
  for (const address of addresses) {
    const at = next();
    if (typeof at === 'string' && at !== '') state.addresses[address] = at;
  }
  return state;
}

function pairs(flat: string[]): Record<string, string> {
  const result: Record<string, string> = {};
  for (let i = 0; i + 1 < flat.length; i += 2) result[flat[i] ?? ''] = flat[i + 1] ?? '';
  return result;
}

function scores(flat: string[]): Scores {
  return Object.fromEntries(Object.entries(pairs(flat)).map(([member, score]) => [member, Number(score)]));
}

function toWorker(hash: Record<string, string>): WorkerView {
  const text = (field: string) => hash[field] ?? '';
  return {
    state: text('state'),
    listed: text('listed') === '1',
    blocked: text('blocked') === '1',
    drained: text('drained') === '1',
    leaving: text('leaving') === '1',
    slots: Number(text('slots')),
    home: text('home'),
    boot: text('boot'),
    previous: text('previous'),
    link: text('link'),
    contract: text('contract'),
    address: text('address'),
    misses: Number(text('misses')),
    suspected: Number(text('suspected')),
  };
}

function toJob(hash: Record<string, string>): JobView {
  const running = hash['state'] === 'running';
  const number = (field: string) => Number(hash[field] ?? 0);
  return {
    state: hash['state'] ?? '',
    attempt: number('attempt'),
    handovers: number('handovers'),
    priority: number('priority'),
    fence: running ? (hash['fence'] ?? '') : '',
    worker: running ? (hash['worker'] ?? '') : '',
    delivered: running && hash['delivered'] === '1',
    started: running ? number('started') : 0,
    next: hash['state'] === 'scheduled' ? number('next') : 0,
    payload: hash['+payload'] === '1',
    result: hash['+result'] === '1',
    error: hash['+error'] === '1',
    expires: hash['+expires'] === '1',
    leaks: hash['+leaks'] === '1',
  };
}
