-- What every script begins with: the pool's prefix, the caller, the time (read once), and how numbers become text.
-- KEYS[1] is the pool's meta hash in every script, `muster:{pool}:meta`; all other names are built from its prefix (same slot).
-- ARGV[1] is the calling replica, ARGV[2] the highest fence that it has seen in this pool ('0' for none).
local call = redis.call
local P = string.sub(KEYS[1], 1, -5)
local META = KEYS[1]
local HOME = ARGV[1]
local SEEN = tonumber(ARGV[2])
local US = now_us()

-- The pool's clock, in ms. It follows Redis' clock and never runs back: everything that waits for a time stands in it, so a step back delays nothing.
-- What Redis' clock lost by a step back is added as `shift`. A later step forward takes it off first, and each tick takes a tenth of the time that
-- passed, so that the pool's clock comes back to that of Redis. RAW is Redis' clock, for times that callers name.
local RAW = math.floor(US / 1000)
local LATEST, SHIFT, SHIFTED
-- Does the pool exist (see `enter`)? Of one that does not, no script writes anything.
local ENTERED
do
  local v = call('HMGET', META, 'ticked', 'clock', 'shift', 'created')
  LATEST = math.max(tonumber(v[1] or 0), tonumber(v[2] or 0))
  SHIFTED = tonumber(v[3] or 0)
  SHIFT = SHIFTED
  ENTERED = (v[4] or v[1]) and true or false
end
local ahead = RAW + SHIFT - LATEST
if ahead < 0 or (SHIFT > 0 and ahead > TICK_STALE_MS) then SHIFT = math.max(0, LATEST - RAW) end
local NOW = RAW + SHIFT

-- `..` and tostring keep 14 digits; a fence has 16. Of whole numbers alone: %d is five times as fast as %.0f.
local function int(n) return string.format('%d', n) end
local NOW_TEXT = int(NOW)

local function job_key(id) return P .. 'job:' .. id end
local function worker_key(id) return P .. 'worker:' .. id end
local function held_key(id) return P .. 'held:' .. id end
local FREE = P .. 'free'
local LEASES = P .. 'leases'
local LATER = P .. 'later'
local DEADLINES = P .. 'deadlines'
local ADDRESSES = P .. 'addresses'
local function waiting_key(priority) return P .. 'waiting:' .. priority end

-- What no later line of a script reads is gathered here and written once, by `flush`: one command for a whole batch, where each job would
-- cost one.
local counts, scores, doomed = {}, {}, {}
local function count(name, n) counts[name] = (counts[name] or 0) + n end
-- A member of a sorted set, or (false) none any more. The last word counts.
local function score(key, member, value)
  if not scores[key] then scores[key] = {} end
  scores[key][member] = value
end
local function doom(key) doomed[#doomed + 1] = key end

-- Ticks write how late it is. Where none came for a while, a script that writes times does: the clock may have stepped, and must not run back
-- behind them. With it goes what this step did to `shift`: otherwise the next script would add what this one took off.
local function keep_time()
  if LATEST == 0 or NOW - LATEST <= TICK_STALE_MS then return end
  call('HSET', META, 'clock', NOW_TEXT)
  if SHIFT ~= SHIFTED then
    if SHIFT > 0 then call('HSET', META, 'shift', int(SHIFT)) else call('HDEL', META, 'shift') end
    SHIFTED = SHIFT
  end
  LATEST = NOW
end

local function flush()
  if next(counts) or next(scores) then keep_time() end
  for name, n in pairs(counts) do
    if n ~= 0 then call('HINCRBY', META, name, n) end
  end
  for key, members in pairs(scores) do
    local put, out = { 'ZADD', key }, { 'ZREM', key }
    for member, value in pairs(members) do
      if value then
        put[#put + 1] = int(value)
        put[#put + 1] = member
        if #put > 1000 then
          call(unpack(put))
          put = { 'ZADD', key }
        end
      else
        out[#out + 1] = member
        if #out > 1000 then
          call(unpack(out))
          out = { 'ZREM', key }
        end
      end
    end
    if #put > 2 then call(unpack(put)) end
    if #out > 2 then call(unpack(out)) end
  end
  for i = 1, #doomed, 1000 do call('UNLINK', unpack(doomed, i, math.min(i + 999, #doomed))) end
  counts, scores, doomed = {}, {}, {}
end

-- The events stream: transitions of workers, dead letters, operators' acts. Jobs' ordinary ways are not events: too many.
-- Each is told to the caller too, at the end of `done`'s reply: whoever ran the script logs and counts it.
local news = {}
local function event(kind, subject, ...)
  call('XADD', P .. 'events', 'MAXLEN', '~', EVENTS_KEPT, '*', 'kind', kind, 'subject', subject, 'at', NOW, 'by', HOME, ...)
  news[#news + 1] = { kind, subject, ... }
end

local function tell(home, message)
  if home and home ~= '' then call(PUBLISH, P .. 'home:' .. home, message) end
end
