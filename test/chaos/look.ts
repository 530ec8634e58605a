import type { Redis } from 'ioredis';
import { keys } from '../../src/store/keys.js';
import { HOME_TTL_MS } from './fleet.js';

/** One job as its hash says; undefined: it is not there. */
export interface JobLook {
  state: string;
  attempt: number;
  handovers: number;
  /** Of its present or last lease. */
  fence: number;
  /** Under which its end was accepted; 0: none. */
  done: number;
  /** ms; 0: not yet. */
  finished: number;
  worker: string;
}

export interface PoolLook {
  /** Broken whatever is under way: a script leaves none of it behind. */
  broken: string[];
  /** `job worker`: it waits and the worker is free. Broken if it lasts. */
  idle: string;
  jobs: (JobLook | undefined)[];
}

/** ARGV: prefix, ms after which a silent home is dead, then job ids. Read-only: what it sees is of one moment. */
const LOOK = `
local P, TTL = ARGV[1], tonumber(ARGV[2])
local call = redis.call
local t = call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local broken = {}
local function bad(...) broken[#broken + 1] = table.concat({ ... }, ' ') end
local listed, leased, idle = {}, {}, false
for _, id in ipairs(call('LRANGE', P .. 'free', 0, -1)) do listed[id] = (listed[id] or 0) + 1 end
for _, roll in ipairs({ 'workers', 'dead' }) do
  for _, id in ipairs(call('ZRANGE', P .. roll, 0, -1)) do
    local w = call('HMGET', P .. 'worker:' .. id, 'state', 'listed', 'blocked', 'slots', 'home')
    local state, slots = w[1] or 'missing', tonumber(w[4] or 0)
    local held = call('HGETALL', P .. 'held:' .. id)
    local n = #held / 2
    if n > slots then bad('I1', id, 'holds', n, 'of', slots) end
    if state == 'dead' and n > 0 then bad('dead', id, 'holds', n) end
    for i = 1, #held, 2 do
      if string.sub(held[i + 1], 1, 1) ~= '!' then
        local j = call('HMGET', P .. 'job:' .. held[i], 'state', 'fence', 'worker')
        if leased[held[i]] then bad('I1', held[i], 'is held by', leased[held[i]], 'and', id) end
        leased[held[i]] = id
        if j[1] ~= 'running' or j[2] ~= held[i + 1] or j[3] ~= id then
          bad('lease', held[i], held[i + 1], 'of', id, 'but it is', j[1] or 'gone', j[2] or '', j[3] or '')
        end
        if not call('ZSCORE', P .. 'leases', held[i]) then bad('lease', held[i], 'of', id, 'is never looked at') end
      end
    end
    local active = state == 'free' or state == 'busy'
    local room = active and w[3] ~= '1' and n < slots
    if active and (state == 'free') ~= room then bad('I7', id, 'is', state, 'with', n, 'of', slots) end
    if (listed[id] or 0) ~= (w[2] == '1' and 1 or 0) then bad('I7', id, 'is listed', listed[id] or 0, 'times, listed', w[2] or '') end
    if state == 'free' and w[2] ~= '1' then bad('I7', id, 'is free and not listed') end
    if state == 'free' and now - tonumber(call('ZSCORE', P .. 'homes', w[5] or '') or 0) < TTL then idle = idle or id end
  end
end
for _, member in ipairs(call('ZRANGE', P .. 'leases', 0, -1)) do
  if string.sub(member, 1, 1) ~= '!' and not leased[member] then bad('lease', member, 'is looked at and nobody holds it') end
end
local pair = ''
if idle and call('HGET', P .. 'meta', 'paused') ~= '1' then
  for p = 3, 0, -1 do
    for _, id in ipairs(call('LRANGE', P .. 'waiting:' .. p, 0, -1)) do
      if pair == '' and call('HGET', P .. 'job:' .. id, 'state') == 'waiting' then pair = id .. ' ' .. idle end
    end
  end
end
local jobs = {}
for i = 3, #ARGV do
  jobs[#jobs + 1] = call('HMGET', P .. 'job:' .. ARGV[i], 'state', 'attempt', 'handovers', 'fence', 'done', 'finished', 'worker')
end
return { broken, pair, jobs }`;

/** The pool and those of its jobs in one call. Rejects as ioredis does. */
export async function look(redis: Redis, pool: string, ids: readonly string[]): Promise<PoolLook> {
  const prefix = keys.meta(pool).slice(0, -'meta'.length);
  const [broken, idle, jobs] = (await redis.eval(LOOK, 0, prefix, HOME_TTL_MS, ...ids)) as [string[], string, (string | null)[][]];
  return { broken, idle, jobs: jobs.map(toJob) };
}

function toJob([state, attempt, handovers, fence, done, finished, worker]: (string | null)[]): JobLook | undefined {
  if (!state) return undefined;
  return {
    state,
    attempt: Number(attempt ?? 0),
    handovers: Number(handovers ?? 0),
    fence: Number(fence ?? 0),
    done: Number(done ?? 0),
    finished: Number(finished ?? 0),
    worker: worker ?? '',
  };
}

export const isOver = ({ state }: JobLook): boolean => TERMINAL.has(state);
const TERMINAL: ReadonlySet<string> = new Set(['succeeded', 'failed', 'cancelled', 'expired']);
