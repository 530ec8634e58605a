-- The roll. state: free (on the free list) | busy (no room, or blocked) | draining | suspect | dead.
-- listed=1: an entry of this worker stands in the free list, perhaps as a tombstone. Only `take_worker` and `unlist` take it out.
local function worker_get(id)
  local v = call('HMGET', worker_key(id), 'state', 'listed', 'blocked', 'slots', 'home', 'boot', 'link', 'contract', 'drained', 'address', 'leaving')
  return { id = id, state = v[1], listed = v[2] == '1', blocked = v[3] == '1', slots = tonumber(v[4] or 0), home = v[5], boot = v[6],
    link = v[7], contract = v[8], drained = v[9] == '1', address = v[10], leaving = v[11] == '1', written = (v[1] or '') .. (v[2] or '') }
end

-- Where it stands, if that is not what stands in Redis.
local function write_state(w)
  local listed = w.listed and '1' or '0'
  if w.written == w.state .. listed then return end
  w.written = w.state .. listed
  call('HSET', worker_key(w.id), 'state', w.state, 'listed', listed)
end

-- What it holds may be more than it takes from now on: its slots were lowered, or it runs on what was taken away from it. The highest fence
-- that it holds then is written: until there it may be too much, and what is given later may not.
local function newest_held(w)
  local newest = 0
  for _, f in ipairs(call('HVALS', held_key(w.id))) do newest = math.max(newest, tonumber((string.gsub(f, '!', ''))) or 0) end
  return newest
end
local function may_exceed(w)
  if call('HLEN', held_key(w.id)) > w.slots then call('HSET', worker_key(w.id), 'lowered', int(newest_held(w))) end
end

local function active(w) return w.state == 'free' or w.state == 'busy' end

-- Leaving the list early costs O(length): done while it is short; later the entry stays as a tombstone that take_worker drops.
local function unlist(w)
  if not w.listed then return end
  if call('LLEN', FREE) <= EXACT_LIST then
    call('LREM', FREE, 1, w.id)
    w.listed = false
  end
end

-- The fence under which it holds that job, false for none. Of a worker with few slots all that it holds is read: that is its number too.
local FEW_SLOTS = 4
local function held_fence(w, job)
  w.holds = nil
  if w.slots > FEW_SLOTS then return call('HGET', held_key(w.id), job) end
  local held, fence_ = call('HGETALL', held_key(w.id)), false
  for i = 1, #held, 2 do
    if held[i] == job then fence_ = held[i + 1] end
  end
  w.holds = #held / 2
  return fence_
end

-- It holds that job no longer.
local function let_go(w, job)
  if call('HDEL', held_key(w.id), job) == 1 and w.holds then w.holds = w.holds - 1 end
end

-- Puts an active worker where its room says: on the free list, or off it.
local function settle(w)
  if not active(w) then return end
  local state = 'busy'
  if not w.blocked and w.slots > (w.holds or call('HLEN', held_key(w.id))) then
    state = 'free'
    if not w.listed then
      call('RPUSH', FREE, w.id)
      w.listed = true
    end
  else
    unlist(w)
  end
  w.holds = nil
  w.state = state
  write_state(w)
end

-- A worker out of the running: off the list, under its new state.
local function bench(w, state, reason)
  unlist(w)
  w.state = state
  write_state(w)
  call('HSET', worker_key(w.id), 'reason', reason)
end

-- Gets no jobs until a sign of life younger than this moment comes through its home. Its leases stay.
local function suspect(w, reason)
  keep_time()
  bench(w, 'suspect', reason)
  call('HSET', worker_key(w.id), 'suspected', NOW_TEXT)
  event('worker.suspect', w.id, 'reason', reason)
end

-- Back from suspect: draining when it was drained or is leaving.
local function restore(w)
  w.state = (w.drained or w.leaving) and 'draining' or 'busy'
  if not w.leaving then call('ZREM', DEADLINES, '@' .. w.id) end
  call('HDEL', worker_key(w.id), 'misses', 'reason')
  if not active(w) then write_state(w) end
  settle(w)
end

-- One look at each home a call.
local alive = {}
local function home_alive(home)
  if not home then return false end
  if alive[home] == nil then
    local beat = call('ZSCORE', P .. 'homes', home)
    alive[home] = beat ~= false and NOW - tonumber(beat) < HOME_TTL_MS
  end
  return alive[home]
end

-- A worker that is attached, or dialed, keeps to that while it lives: its ID is not for one that is reached the other way. An incarnation never
-- changes it, and what speaks under a boot that can be guessed (an address) gets no lease of an attached worker, nor the other way round.
local function lives_otherwise(w, contract, boot)
  if not w.state or w.state == 'dead' or (w.contract == 'ATTACHED') == (contract == 'ATTACHED') then return false end
  return w.boot == boot or ((active(w) or w.state == 'draining') and home_alive(w.home))
end
