-- What every script begins with: the pool's prefix, the caller, the time (read once), and how numbers become text.
-- KEYS[1] is the pool's meta hash in every script, `muster:{pool}:meta`; all other names are built from its prefix (same slot).
-- ARGV[1] is the calling replica, ARGV[2] the highest fence that it has seen in this pool ('0' for none).
local call = redis.call
local P = string.sub(KEYS[1], 1, -5)
local META = KEYS[1]
local HOME = ARGV[1]
local SEEN = tonumber(ARGV[2])
local US = now_us()
local NOW = math.floor(US / 1000)

-- `..` and tostring keep 14 digits; a fence has 16.
local function int(n) return string.format('%.0f', n) end

local function job_key(id) return P .. 'job:' .. id end
local function worker_key(id) return P .. 'worker:' .. id end
local function held_key(id) return P .. 'held:' .. id end
local FREE = P .. 'free'
local LEASES = P .. 'leases'
local LATER = P .. 'later'
local DEADLINES = P .. 'deadlines'
local ADDRESSES = P .. 'addresses'
local function waiting_key(priority) return P .. 'waiting:' .. priority end

-- Counters are summed here and written once, by `flush`.
local counts = {}
local function count(name, n) counts[name] = (counts[name] or 0) + n end
local function flush()
  for name, n in pairs(counts) do
    if n ~= 0 then call('HINCRBY', META, name, n) end
  end
end

-- The events stream: transitions of workers, dead letters, operators' acts. Jobs' ordinary ways are not events: too many.
local function event(kind, subject, ...)
  call('XADD', P .. 'events', 'MAXLEN', '~', EVENTS_KEPT, '*', 'kind', kind, 'subject', subject, 'at', NOW, 'by', HOME, ...)
end

local function tell(home, message)
  if home and home ~= '' then call('PUBLISH', P .. 'home:' .. home, message) end
end
