// Built from src/store/lua by scripts/build-lua.ts: `npm run lua`. Not written by hand.
const acts = String.raw`local function act(who, name, subject, ...)
  if who ~= '' then event('admin.' .. name, subject, 'identity', who, ...) end
end`;
const base = String.raw`local call = redis.call
local P = string.sub(KEYS[1], 1, -5)
local META = KEYS[1]
local HOME = ARGV[1]
local SEEN = tonumber(ARGV[2])
local US = now_us()
local RAW = math.floor(US / 1000)
local LATEST, SHIFT, SHIFTED
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
local counts, scores, doomed = {}, {}, {}
local function count(name, n) counts[name] = (counts[name] or 0) + n end
local function score(key, member, value)
  if not scores[key] then scores[key] = {} end
  scores[key][member] = value
end
local function doom(key) doomed[#doomed + 1] = key end
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
local news = {}
local function event(kind, subject, ...)
  call('XADD', P .. 'events', 'MAXLEN', '~', EVENTS_KEPT, '*', 'kind', kind, 'subject', subject, 'at', NOW, 'by', HOME, ...)
  news[#news + 1] = { kind, subject, ... }
end
local function tell(home, message)
  if home and home ~= '' then call(PUBLISH, P .. 'home:' .. home, message) end
end`;
const bury = String.raw`local function revoke_all(w, reason, message, sent)
  local held = call('HGETALL', held_key(w.id))
  for i = 1, #held, 2 do
    local fence = held[i + 1]
    if string.sub(fence, 1, 1) == '!' then
      score(LEASES, fence .. ' ' .. w.id .. ' ' .. held[i], false)
    else
      local j = job_get(held[i])
      if j.state == 'running' and j.fence == fence then
        if sent then j.delivered = true end
        revoke(j, reason, message, 14)
      end
    end
  end
  call('DEL', held_key(w.id))
  return #held / 2
end
local function bury_worker(w, reason)
  revoke_all(w, 'worker_lost', 'the worker ' .. w.id .. ' is gone: ' .. reason, w.state ~= 'suspect')
  bench(w, 'dead', reason)
  call('ZREM', P .. 'workers', w.id)
  call('ZREM', DEADLINES, '@' .. w.id)
  call('ZADD', P .. 'dead', NOW, w.id)
  call('UNLINK', worker_key(w.id) .. ':labels', worker_key(w.id) .. ':kinds')
  if w.address and call('HGET', ADDRESSES, w.address) == w.id then call('HDEL', ADDRESSES, w.address) end
  event('worker.dead', w.id, 'reason', reason)
end
local function settle_or_leave(w)
  if w.leaving and w.state ~= 'dead' and call('HLEN', held_key(w.id)) == 0 then return bury_worker(w, 'deregistered') end
  settle(w)
end`;
const jobs = String.raw`local rest = { __index = function(j, name)
  if rawget(j, 'whole') then return nil end
  local v = call('HMGET', job_key(j.id), 'handovers', 'retry', 'fatal', 'priority', 'worker', 'delivered')
  local there = { whole = true, handovers = tonumber(v[1] or 0), retry = v[2], fatal = v[3], priority = v[4] or '0', worker = v[5],
    delivered = v[6] == '1', hinted = v[6] == 'n' }
  for field, value in pairs(there) do
    if rawget(j, field) == nil then rawset(j, field, value) end
  end
  return rawget(j, name)
end }
local function job_get(id)
  local v = call('HMGET', job_key(id), 'state', 'fence', 'attempt', 'keep', 'waiter', 'queue', 'total', 'run', 'started', 'done', 'metadata',
    'progress', 'kind', 'method', 'created', 'from')
  return setmetatable({ id = id, state = v[1], fence = v[2], attempt = tonumber(v[3] or 0), keep = v[4], waiter = v[5], queue = v[6], total = v[7],
    run = tonumber(v[8] or 0), started = tonumber(v[9] or 0), done = v[10], metadata = v[11], progress = v[12], kind = v[13] or '',
    method = v[14] or '', created = tonumber(v[15] or 0), from = tonumber(v[16] or v[15] or 0) }, rest)
end
local function runs(family, kind, method)
  if not family or family == 'RUNNER' then return true end
  return kind == '' and (family == 'METHOD' or method == LEGACY_METHOD)
end
local function is_terminal(state)
  return state == 'succeeded' or state == 'failed' or state == 'cancelled' or state == 'expired'
end
local function tell_waiters(j, but)
  if not j.waiter then return end
  for home in string.gmatch(j.waiter, '[^ ]+') do
    if home ~= but then tell(home, 'done ' .. j.id) end
  end
end
local function add_waiter(j)
  local n, there = 0, false
  for home in string.gmatch(j.waiter or '', '[^ ]+') do
    n = n + 1
    there = there or home == HOME
  end
  if there or n >= 4 then return end
  j.waiter = j.waiter and (j.waiter .. ' ' .. HOME) or HOME
  call('HSET', job_key(j.id), 'waiter', j.waiter)
end
local function overdue(j)
  if j.total and NOW >= j.created + tonumber(j.total) then return true end
  return j.queue and j.attempt == 0 and NOW >= math.max(j.from, j.created) + tonumber(j.queue)
end
local function backlog(tombstones)
  local entries = 0
  for p = 0, 3 do entries = entries + call('LLEN', waiting_key(p)) end
  return call('ZCARD', LATER) - (tombstones or tonumber(call('HGET', META, 'tombstones') or 0)) + entries, entries
end
local function enqueue(j, ahead)
  call('HSET', job_key(j.id), 'state', 'waiting')
  call(ahead and 'LPUSH' or 'RPUSH', waiting_key(j.priority), j.id)
  j.state = 'waiting'
end
local function schedule(j, due)
  call('HSET', job_key(j.id), 'state', 'scheduled', 'next', int(due))
  call('ZADD', LATER, due, j.id)
  j.state = 'scheduled'
end
local function dequeue(j)
  if j.state == 'scheduled' then
    call('ZREM', LATER, j.id)
  elseif j.state == 'waiting' then
    local list = waiting_key(j.priority)
    if call('LLEN', list) > EXACT_LIST then count('tombstones', 1) else call('LREM', list, 1, j.id) end
  end
end
local function terminal(j, state, but, accepted)
  local key = job_key(j.id)
  local keep = j.keep
  if state == 'failed' then
    keep = int(math.max(tonumber(keep), BURIED_RETENTION_MS))
    call('PEXPIRE', key .. ':payload', keep)
    if j.metadata then call('PEXPIRE', key .. ':metadata', keep) end
    call('ZADD', P .. 'buried', NOW, j.id)
  else
    doom(key .. ':payload')
    if j.metadata then doom(key .. ':metadata') end
    score(P .. 'finished', j.id, NOW)
  end
  if j.progress then doom(key .. ':progress') end
  if j.attempt > (j.state == 'running' and 1 or 0) then call('PEXPIRE', key .. ':error', keep) end
  if j.queue or j.total then call('ZREM', DEADLINES, j.id) end
  if accepted then
    call('HSET', key, 'state', state, 'finished', NOW_TEXT, 'done', accepted)
  else
    call('HSET', key, 'state', state, 'finished', NOW_TEXT)
  end
  call('PEXPIRE', key, keep)
  j.state = state
  count(state, 1)
  tell_waiters(j, but)
  return keep
end
local function bury_job(j, failure, reason, but)
  local keep = terminal(j, 'failed', but)
  call('SET', job_key(j.id) .. ':error', failure, 'PX', keep)
  event('job.buried', j.id, 'reason', reason, 'attempt', int(j.attempt))
end
local function attempt_failed(j, code, retryable, reason, failure, later_ms, but)
  local max, initial, ceiling, multiplier = string.match(j.retry, '^(%d+) (%d+) (%d+) ([%d.]+)$')
  local fatal = j.fatal and string.find(',' .. j.fatal .. ',', ',' .. code .. ',', 1, true)
  if not retryable or fatal or j.attempt >= tonumber(max) then return bury_job(j, failure, reason, but) end
  call('SET', job_key(j.id) .. ':error', failure, 'PX', math.max(tonumber(j.keep), BURIED_RETENTION_MS))
  count('retried', 1)
  local delay
  if later_ms ~= '' then
    delay = tonumber(later_ms)
  else
    delay = math.min(tonumber(ceiling), tonumber(initial) * tonumber(multiplier) ^ (j.attempt - 1))
    delay = math.floor(delay * (0.9 + 0.2 * (tonumber(j.fence) % 1000) / 1000))
  end
  if delay <= 0 then enqueue(j, true) else schedule(j, NOW + delay) end
end
local function failure_json(code, reason, message)
  return cjson.encode({ code = code, reason = reason, message = message, retryable = true })
end
local function give_back(j, delay)
  j.attempt = math.max(0, j.attempt - 1)
  call('HSET', job_key(j.id), 'attempt', int(j.attempt))
  if j.queue and j.attempt == 0 then
    local due = math.max(j.from, j.created) + tonumber(j.queue)
    if j.total then due = math.min(due, j.created + tonumber(j.total)) end
    call('ZADD', DEADLINES, due, j.id)
  end
  if delay > 0 then schedule(j, NOW + delay) else enqueue(j, true) end
end
local function handover(j, delay, why)
  j.handovers = j.handovers + 1
  call('HSET', job_key(j.id), 'handovers', int(j.handovers))
  if j.handovers < MAX_HANDOVERS then return give_back(j, delay) end
  j.attempt = math.max(0, j.attempt - 1)
  call('HSET', job_key(j.id), 'attempt', int(j.attempt))
  bury_job(j, failure_json(14, 'undeliverable', 'given out ' .. j.handovers .. ' times and never delivered; the last time: ' .. why), 'undeliverable')
end
local function revoke(j, reason, message, code)
  score(LEASES, j.id, false)
  if j.delivered then
    attempt_failed(j, tostring(code), true, reason, failure_json(code, reason, message), '')
  else
    handover(j, 0, message)
  end
end
local function quarantine(j, w)
  call('HSET', held_key(j.worker), j.id, '!' .. j.fence)
  if w.contract == 'METHOD' then score(LEASES, '!' .. j.fence .. ' ' .. j.worker .. ' ' .. j.id, NOW + QUARANTINE_MAX_MS) end
  tell(w.home, 'cancel ' .. j.id .. ' ' .. j.fence .. ' ' .. j.worker)
end
local function confirm(j, ran)
  if not j.delivered then
    if ran then j.started = math.max(j.started, NOW - ran) end
    call('HSET', job_key(j.id), 'delivered', '1', 'started', int(j.started))
  end
  score(LEASES, j.id, math.min(NOW + LEASE_MS, j.started + j.run))
end
local function unhold(worker, job, fence)
  call('HDEL', held_key(worker), job)
  score(LEASES, '!' .. fence .. ' ' .. worker .. ' ' .. job, false)
end`;
const match = String.raw`local fence, paused
local function pool_state()
  if fence then return end
  local v = call('HMGET', META, 'fence', 'paused', 'family', 'tombstones')
  fence = math.max(tonumber(v[1] or 0), SEEN)
  paused = v[2] == '1'
  return v[3], tonumber(v[4] or 0)
end
local assigned = {}
local reply_bytes = 0
local function reply_full() return reply_bytes >= REPLY_BYTES end
local function assignment(j, w)
  if j.hinted then
    j.hinted = false
    call('HSET', job_key(j.id), 'delivered', '0')
  end
  local key = job_key(j.id)
  local waited = int(math.max(0, j.started - math.max(j.created, j.from)))
  local payload, metadata, progress = false, false, false
  if not reply_full() then
    local fresh = rawget(j, 'fresh')
    payload = fresh and fresh.payload or call('GET', key .. ':payload') or ''
    metadata = fresh and fresh.metadata or (j.metadata and call('GET', key .. ':metadata') or '')
    progress = j.progress and call('GET', key .. ':progress') or ''
    reply_bytes = reply_bytes + #payload + #metadata + #progress
  end
  assigned[#assigned + 1] = { j.id, j.fence, w.id, w.link, j.kind, j.method, int(j.attempt), int(j.run), payload, metadata, progress, waited }
end
local function next_fence()
  fence = math.max(fence + 1, US)
  return int(fence)
end
local function lease(j, w, fields)
  j.fence = next_fence()
  j.attempt = j.attempt + 1
  j.state = 'running'
  j.started = NOW
  local taken = call('HSET', held_key(w.id), j.id, j.fence)
  local put = fields or { 'HSET', job_key(j.id) }
  for _, text in ipairs({ 'state', 'running', 'worker', w.id, 'fence', j.fence, 'attempt', int(j.attempt), 'started', NOW_TEXT, 'delivered',
    w.home == HOME and '0' or 'n' }) do
    put[#put + 1] = text
  end
  if not fields then call(unpack(put)) end
  score(LEASES, j.id, NOW + DELIVERY_MS)
  if j.queue then
    if j.total then call('ZADD', DEADLINES, j.created + j.total, j.id) else call('ZREM', DEADLINES, j.id) end
  end
  j.hinted = false
  if w.home == HOME then
    assignment(j, w)
  else
    tell(w.home, 'assign ' .. j.id .. ' ' .. j.fence .. ' ' .. w.id)
  end
  return taken
end
local budget = MATCH_BOUND
local function next_job()
  for p = 3, 0, -1 do
    local list = waiting_key(p)
    while budget > 0 do
      local id = call('LPOP', list)
      if not id then break end
      local j = job_get(id)
      if j.state == 'waiting' then
        if not overdue(j) then return j, list end
        terminal(j, 'expired')
      else
        count('tombstones', -1)
      end
      budget = budget - 1
    end
  end
  return nil
end
local function take_worker()
  while budget > 0 do
    local id = call('LPOP', FREE)
    if not id then return nil end
    budget = budget - 1
    local w = worker_get(id)
    w.listed = false
    if w.state == 'free' and home_alive(w.home) then
      local room = w.slots == 1 and 1 or w.slots - call('HLEN', held_key(id))
      if room > 0 and not w.blocked then return w, room end
    end
    if w.state == 'free' and not home_alive(w.home) then
      suspect(w, 'home_gone')
    elseif w.state then
      write_state(w)
    end
  end
  return nil
end
local function anything_waits()
  return call('EXISTS', waiting_key(3), waiting_key(2), waiting_key(1), waiting_key(0)) > 0
end
local function put_back(w, room)
  if room > 0 then
    call('RPUSH', FREE, w.id)
    w.listed = true
  else
    w.state = 'busy'
    write_state(w)
  end
end
local function give(j, w, room, fields)
  budget = budget - 1
  put_back(w, room - lease(j, w, fields))
end
local function match()
  pool_state()
  if paused then return 0 end
  while budget > 0 and not reply_full() do
    if call('LLEN', FREE) == 0 or not anything_waits() then return 0 end
    local j, list = next_job()
    if not j then break end
    local w, room = take_worker()
    if not w then
      call('LPUSH', list, j.id)
      break
    end
    give(j, w, room)
  end
  if budget > 0 and not reply_full() then return 0 end
  return (call('LLEN', FREE) > 0 and anything_waits()) and 1 or 0
end
local function claim(w, link)
  pool_state()
  if reply_full() or paused or not active(w) or w.blocked or w.home ~= HOME or w.link ~= link then return false end
  w.holds = w.holds or call('HLEN', held_key(w.id))
  if w.slots <= w.holds then return false end
  local j = next_job()
  if not j then return false end
  w.holds = w.holds + lease(j, w)
  budget = budget - 1
  return true
end
local function done(reply, more)
  if fence and ENTERED then
    keep_time()
    call('HSET', META, 'fence', int(fence))
  end
  flush()
  return { reply, assigned, more, news[1] and news or nil }
end`;
const moves = String.raw`local function take_over(w, carried)
  local leases = {}
  local held = call('HGETALL', held_key(w.id))
  for i = 1, #held, 2 do
    local job, f = held[i], held[i + 1]
    if string.sub(f, 1, 1) == '!' then
      leases[#leases + 1] = { job, string.sub(f, 2), 0, 1 }
    else
      local j = job_get(job)
      leases[#leases + 1] = { job, f, j.delivered and 1 or 0, 0 }
      if j.state == 'running' and j.fence == f then
        if w.contract == 'RUNNER' or not (j.delivered or carried) then
          assignment(j, w)
        elseif not j.delivered then
          call('HSET', job_key(job), 'delivered', '1')
          score(LEASES, job, NOW + DELIVERY_MS)
        end
      end
    end
  end
  return leases
end`;
const owners = String.raw`local function foreign(w, by)
  if by == '*' or not w.state or w.state == 'dead' then return false end
  local owner = call('HGET', worker_key(w.id), 'owner')
  return owner and owner ~= by
end
local function own(w, by)
  if by ~= '*' and by ~= '' then
    call('HSET', worker_key(w.id), 'owner', by)
  elseif w.state == 'dead' then
    call('HDEL', worker_key(w.id), 'owner')
  end
end`;
const pools = String.raw`local function drop_pool()
  call('UNLINK', META, ADDRESSES, P .. 'workers', P .. 'dead', FREE, waiting_key(0), waiting_key(1), waiting_key(2), waiting_key(3), LEASES, LATER,
    DEADLINES, P .. 'buried', P .. 'finished', P .. 'homes', P .. 'descriptors', P .. 'events')
  ENTERED, LATEST = false, 0
end
local function is_empty()
  return call('EXISTS', P .. 'workers', P .. 'dead', waiting_key(0), waiting_key(1), waiting_key(2), waiting_key(3), LEASES, LATER, P .. 'buried',
    P .. 'finished') == 0
end
local function drop_expired(key, most)
  local n, page = 0, 1
  while n < most do
    local ids, before = call('ZRANGE', key, n, math.min(n + page, most) - 1), n
    for _, id in ipairs(ids) do
      if call('EXISTS', job_key(id)) == 1 then break end
      n = n + 1
    end
    if n < before + page then break end
    page = 50
  end
  if n > 0 then call('ZREMRANGEBYRANK', key, 0, n - 1) end
  return n
end
local function forget_workers(ids)
  for _, id in ipairs(ids) do
    call('ZREM', P .. 'dead', id)
    local key = worker_key(id)
    if call('HGET', key, 'listed') == '1' then call('LREM', FREE, 0, id) end
    call('UNLINK', key)
  end
end
local function forget_buried(ids)
  for _, id in ipairs(ids) do
    call('ZREM', P .. 'buried', id)
    local key = job_key(id)
    if call('HGET', key, 'state') == 'failed' then call('UNLINK', key, key .. ':payload', key .. ':metadata', key .. ':error') end
  end
end`;
const workers = String.raw`local function worker_get(id)
  local v = call('HMGET', worker_key(id), 'state', 'listed', 'blocked', 'slots', 'home', 'boot', 'link', 'contract', 'drained', 'address', 'leaving')
  return { id = id, state = v[1], listed = v[2] == '1', blocked = v[3] == '1', slots = tonumber(v[4] or 0), home = v[5], boot = v[6],
    link = v[7], contract = v[8], drained = v[9] == '1', address = v[10], leaving = v[11] == '1', written = (v[1] or '') .. (v[2] or '') }
end
local function write_state(w)
  local listed = w.listed and '1' or '0'
  if w.written == w.state .. listed then return end
  w.written = w.state .. listed
  call('HSET', worker_key(w.id), 'state', w.state, 'listed', listed)
end
local function newest_held(w)
  local newest = 0
  for _, f in ipairs(call('HVALS', held_key(w.id))) do newest = math.max(newest, tonumber((string.gsub(f, '!', ''))) or 0) end
  return newest
end
local function may_exceed(w)
  if call('HLEN', held_key(w.id)) > w.slots then call('HSET', worker_key(w.id), 'lowered', int(newest_held(w))) end
end
local function active(w) return w.state == 'free' or w.state == 'busy' end
local function unlist(w)
  if not w.listed then return end
  if call('LLEN', FREE) <= EXACT_LIST then
    call('LREM', FREE, 1, w.id)
    w.listed = false
  end
end
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
local function let_go(w, job)
  if call('HDEL', held_key(w.id), job) == 1 and w.holds then w.holds = w.holds - 1 end
end
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
local function bench(w, state, reason)
  unlist(w)
  w.state = state
  write_state(w)
  call('HSET', worker_key(w.id), 'reason', reason)
end
local function suspect(w, reason)
  keep_time()
  bench(w, 'suspect', reason)
  call('HSET', worker_key(w.id), 'suspected', NOW_TEXT)
  event('worker.suspect', w.id, 'reason', reason)
end
local function restore(w)
  w.state = (w.drained or w.leaving) and 'draining' or 'busy'
  if not w.leaving then call('ZREM', DEADLINES, '@' .. w.id) end
  call('HDEL', worker_key(w.id), 'misses', 'reason')
  if not active(w) then write_state(w) end
  settle(w)
end
local alive = {}
local function home_alive(home)
  if not home then return false end
  if alive[home] == nil then
    local beat = call('ZSCORE', P .. 'homes', home)
    alive[home] = beat ~= false and NOW - tonumber(beat) < HOME_TTL_MS
  end
  return alive[home]
end
local function lives_otherwise(w, contract, boot)
  if not w.state or w.state == 'dead' or (w.contract == 'ATTACHED') == (contract == 'ATTACHED') then return false end
  return w.boot == boot or ((active(w) or w.state == 'draining') and home_alive(w.home))
end`;
export const scripts = {
  accept: {
    args: [],
    each: ['worker', 'link', 'job', 'fence'],
    denyOom: false,
    readOnly: false,
    source: [base, workers, jobs, match, String.raw`local function items() local i, n = -1, #ARGV return function() i = i + 4 if i <= n then return unpack(ARGV, i, i + 3) end end end
local reply = {}
for worker, link, job, fence_ in items() do
  local w = worker_get(worker)
  local j = job_get(job)
  local valid = w.home == HOME and (link == '' or w.link == link) and j.state == 'running' and j.fence == fence_
    and call('HGET', held_key(worker), job) == fence_
  if valid then assignment(j, w) end
  reply[#reply + 1] = valid and 1 or 0
end
return { reply, assigned, 0 }`].join('\n'),
  },
  adopt: {
    args: ['worker', 'boot', 'link'],
    each: [],
    denyOom: false,
    readOnly: false,
    source: [base, workers, jobs, match, moves, String.raw`local worker, boot, link = ARGV[3], ARGV[4], ARGV[5]
local w = worker_get(worker)
if not w.state or w.state == 'dead' or w.boot ~= boot or w.link ~= link then return done({ 'stale', w.link or '0', {} }, 0) end
w.home = HOME
w.link = int(tonumber(w.link) + 1)
call('HSET', worker_key(worker), 'home', HOME, 'link', w.link)
call('HDEL', worker_key(worker), 'misses')
call('ZADD', P .. 'workers', 'GT', NOW, worker)
call('ZADD', P .. 'homes', NOW, HOME)
event('worker.adopted', worker, 'home', HOME)
local leases = take_over(w, false)
if w.state == 'suspect' then restore(w) else settle(w) end
local more = match()
return done({ 'ok', w.link, leases }, more)`].join('\n'),
  },
  attach: {
    args: ['id', 'boot', 'region', 'slots', 'labels', 'kinds', 'version', 'by'],
    each: ['job', 'fence', 'finished'],
    denyOom: false,
    readOnly: false,
    source: [base, workers, owners, jobs, bury, match, String.raw`local id, boot, region, slots, labels, kinds, version, by = ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[9], ARGV[10]
local function items() local i, n = 8, #ARGV return function() i = i + 3 if i <= n then return unpack(ARGV, i, i + 2) end end end
if not ENTERED then return redis.error_reply('NOPOOL the pool does not exist: enter it first') end
local w = worker_get(id)
local key = worker_key(id)
if foreign(w, by) then return done({ 'foreign', '0', '', {}, {} }, 0) end
if lives_otherwise(w, 'ATTACHED', boot) then return done({ 'exists ' .. w.home, w.link, w.state, {}, {} }, 0) end
local settled = call('HGET', META, 'family')
if settled and settled ~= 'RUNNER' then
  local others = call('ZCARD', P .. 'workers') - (call('ZSCORE', P .. 'workers', id) and 1 or 0)
  if others > 0 or backlog() > 0 or call('ZCARD', LEASES) > 0 then return done({ 'family ' .. settled, '0', '', {}, {} }, 0) end
end
if w.state and w.boot ~= boot then
  if call('HGET', key, 'previous') == boot then return done({ 'superseded', w.link, w.state, {}, {} }, 0) end
  if (active(w) or w.state == 'draining') and home_alive(w.home) then return done({ 'exists ' .. w.home, w.link, w.state, {}, {} }, 0) end
end
local known = w.state and w.state ~= 'dead'
if known and w.boot ~= boot then revoke_all(w, 'worker_lost', 'the worker ' .. id .. ' started anew') end
if w.state and w.boot ~= boot then call('HSET', key, 'previous', w.boot) end
if w.address and call('HGET', ADDRESSES, w.address) == id then call('HDEL', ADDRESSES, w.address) end
w.link = int(tonumber(w.link or 0) + 1)
w.boot, w.home, w.slots, w.contract, w.address, w.blocked = boot, HOME, tonumber(slots), 'ATTACHED', false, false
own(w, by)
call('HSET', META, 'family', 'RUNNER')
call('HSET', key, 'contract', 'ATTACHED', 'slots', slots, 'boot', boot, 'home', HOME, 'link', w.link)
call('HDEL', key, 'reason', 'suspected', 'address', 'misses', 'blocked')
if not known then
  call('HSET', key, 'joined', NOW_TEXT)
  call('HDEL', key, 'leaving')
  w.leaving = false
end
if region ~= '' then call('HSET', key, 'region', region) else call('HDEL', key, 'region') end
if version ~= '' then call('HSET', key, 'version', version) else call('HDEL', key, 'version') end
if labels ~= '' then call('SET', key .. ':labels', labels) else call('DEL', key .. ':labels') end
if kinds ~= '' then call('SET', key .. ':kinds', kinds) else call('DEL', key .. ':kinds') end
call('ZADD', P .. 'workers', NOW, id)
call('ZREM', P .. 'dead', id)
if not w.leaving then call('ZREM', DEADLINES, '@' .. id) end
call('ZADD', P .. 'homes', NOW, HOME)
if not known then event('worker.registered', id, 'contract', 'ATTACHED') end
local says = {}
for job, f, finished in items() do says[job .. ' ' .. f] = finished end
local kept, abandon = {}, {}
local held = call('HGETALL', held_key(id))
for i = 1, #held, 2 do
  local job, f = held[i], held[i + 1]
  if string.sub(f, 1, 1) == '!' then
    local bare = string.sub(f, 2)
    if says[job .. ' ' .. bare] == '0' then abandon[#abandon + 1] = { job, bare } else unhold(id, job, bare) end
  else
    local j = job_get(job)
    if says[job .. ' ' .. f] then
      kept[#kept + 1] = { job, f }
      confirm(j)
    else
      if j.delivered then
        call('HSET', job_key(job), 'delivered', '0')
        score(LEASES, job, NOW + DELIVERY_MS)
      end
      assignment(j, w)
    end
  end
  says[job .. ' ' .. f] = nil
end
for name, finished in pairs(says) do
  local job, f = string.match(name, '^([^ ]+) (%d+)$')
  local over = job and call('HGET', job_key(job), 'done') == f
  if job and finished == '0' and not over and string.sub(call('HGET', held_key(id), job) or '', 2) ~= f then
    abandon[#abandon + 1] = { job, f }
    call('HSETNX', held_key(id), job, '!' .. f)
  end
end
may_exceed(w)
w.state = (w.drained or w.leaving) and 'draining' or 'busy'
write_state(w)
settle_or_leave(w)
local more = match()
return done({ 'ok', w.link, w.state, kept, abandon }, more)`].join('\n'),
  },
  audit: {
    args: [],
    each: ['what', 'id', 'other', 'deep'],
    denyOom: false,
    readOnly: true,
    source: [base, workers, jobs, String.raw`local function items() local i, n = -1, #ARGV return function() i = i + 4 if i <= n then return unpack(ARGV, i, i + 3) end end end
local findings, unsure, doubts = {}, {}, {}
local function finding(invariant, subject, what) findings[#findings + 1] = { invariant, subject, what } end
local function holds(condition, invariant, subject, what)
  if not condition then finding(invariant, subject, what) end
end
local counted = {}
local function entries_of(key)
  if counted[key] == nil then
    counted[key] = false
    if call('LLEN', key) <= EXACT_LIST then
      local times = {}
      for _, id in ipairs(call('LRANGE', key, 0, -1)) do times[id] = (times[id] or 0) + 1 end
      counted[key] = times
    end
  end
  return counted[key] or nil
end
local function times_in(key, id, deep)
  local times = entries_of(key)
  if times then return times[id] or 0 end
  if deep == '1' then return #call('LPOS', key, id, 'COUNT', 2) end
  return nil
end
local v = call('HMGET', META, 'fence', 'paused', 'tombstones', 'ticked')
local highest, paused, tombstones, ticked = tonumber(v[1] or 0), v[2] == '1', tonumber(v[3] or 0), v[4] or '0'
local KNOWN = { free = true, busy = true, draining = true, suspect = true, dead = true }
local function audit_worker(id, deep)
  local subject = 'worker ' .. id
  local w = worker_get(id)
  local rolled = call('ZSCORE', P .. 'workers', id)
  local times = times_in(FREE, id, deep)
  if not w.state then
    holds(not rolled, 'L1', subject, 'stands in workers, and has no hash')
    if times == nil then
      unsure[#unsure + 1] = { 'worker', id, 0 }
    else
      holds(times == 0, 'I7', subject, 'stands in the free list, and nobody knows it')
    end
    return
  end
  if not KNOWN[w.state] then return finding('I7', subject, 'is ' .. w.state .. ', which is no state') end
  local held = call('HLEN', held_key(id))
  local died = call('ZSCORE', P .. 'dead', id)
  if w.state == 'dead' then
    holds(died, 'L1', subject, 'is dead and not in dead: it is never forgotten')
    holds(not rolled, 'L1', subject, 'is dead and still in workers')
    holds(held == 0, 'I1', subject, 'is dead and holds ' .. held)
  else
    holds(rolled, 'L1', subject, 'is ' .. w.state .. ' and not in workers: nobody misses it when it is silent')
    holds(not died, 'L1', subject, 'is ' .. w.state .. ' and in dead: it will be forgotten')
  end
  if active(w) then
    holds((w.state == 'free') == (not w.blocked and held < w.slots), 'I7', subject,
      'is ' .. w.state .. ' with ' .. held .. ' of ' .. w.slots .. ' slots taken' .. (w.blocked and ', blocked' or ''))
    holds(not w.drained and not w.leaving, 'I7', subject, 'is ' .. w.state .. ', though it is ' .. (w.drained and 'drained' or 'leaving'))
  end
  if w.state == 'draining' then holds(w.drained or w.leaving, 'L1', subject, 'is draining, and was neither drained nor leaves') end
  holds(w.state ~= 'free' or w.listed, 'I7', subject, 'is free and not listed')
  if times == nil then
    unsure[#unsure + 1] = { 'worker', id, w.listed and 1 or 0 }
  else
    local wanted = w.listed and 1 or 0
    holds(times == wanted, 'I7', subject,
      'stands ' .. (times > 1 and 'twice or more' or times .. ' times') .. ' in the free list, its hash says ' .. wanted)
  end
  local previous = call('HGET', worker_key(id), 'previous')
  holds(not w.boot or previous ~= w.boot, 'I8', subject, 'its boot ' .. (w.boot or '') .. ' is the one before it too')
  if held > w.slots then
    holds(newest_held(w) <= tonumber(call('HGET', worker_key(id), 'lowered') or 0), 'I1', subject,
      'was given more while it held ' .. held .. ' of ' .. w.slots .. ' slots')
  end
end
local function audit_held(worker, job)
  local f = call('HGET', held_key(worker), job)
  if not f then return end
  local subject = 'worker ' .. worker
  if string.sub(f, 1, 1) == '!' then
    if call('HGET', worker_key(worker), 'contract') == 'METHOD' then
      holds(call('ZSCORE', LEASES, f .. ' ' .. worker .. ' ' .. job), 'L1', subject, 'the quarantine of ' .. job .. ' has no end')
    end
    return
  end
  local j = job_get(job)
  if j.state ~= 'running' then
    finding('I1', subject, 'holds ' .. job .. ' under fence ' .. f .. ', which is ' .. (j.state or 'not known'))
  else
    holds(j.fence == f and j.worker == worker, 'I1', subject,
      'holds ' .. job .. ' under fence ' .. f .. ', which runs on ' .. (j.worker or 'nobody') .. ' under ' .. (j.fence or 'none'))
  end
  holds(tonumber(f) and tonumber(f) <= highest, 'I2', subject, 'holds ' .. job .. ' under fence ' .. f .. ', the highest issued is ' .. int(highest))
end
local function audit_waiting(j, subject, deep)
  local list = waiting_key(j.priority)
  local times = times_in(list, j.id, deep)
  if times == nil then
    unsure[#unsure + 1] = { 'job', j.id, 1 }
  else
    holds(times > 0, 'I5', subject, 'waits, and is not in waiting:' .. j.priority)
  end
end
local function audit_running(j, subject)
  local w = worker_get(j.worker or '')
  local f = call('HGET', held_key(j.worker or ''), j.id)
  holds(j.fence and f == j.fence, 'I1', subject,
    'runs on ' .. (j.worker or 'nobody') .. ' under fence ' .. (j.fence or 'none') .. ', which holds ' .. (f or 'nothing') .. ' for it')
  holds(w.state and w.state ~= 'dead', 'I1', subject, 'runs on ' .. (j.worker or 'nobody') .. ', which is ' .. (w.state or 'not known'))
  holds(tonumber(j.fence or '') and tonumber(j.fence) <= highest, 'I2', subject,
    'runs under fence ' .. (j.fence or 'none') .. ', the highest issued is ' .. int(highest))
  holds(j.done ~= j.fence, 'I3', subject, 'runs under fence ' .. (j.fence or 'none') .. ', whose result was accepted')
end
local LIVE = { waiting = audit_waiting, scheduled = function() end, running = audit_running }
local function audit_terminal(j, subject, finished)
  local key = job_key(j.id)
  holds(finished, 'I6', subject, 'is ' .. j.state .. ', and has no time of its end')
  if call('PTTL', key) == -1 then finding('L1', subject, 'is ' .. j.state .. ' and is never forgotten') end
  for part, name in pairs({ payload = key .. ':payload', metadata = key .. ':metadata', result = key .. ':result', error = key .. ':error',
    progress = key .. ':progress' }) do
    if call('PTTL', name) == -1 then finding('L1', subject, 'is ' .. j.state .. ' and its ' .. part .. ' is never forgotten') end
  end
  if j.state == 'succeeded' then holds(call('EXISTS', key .. ':result') == 1, 'I5', subject, 'succeeded, and its result is gone') end
  if j.state == 'failed' and tonumber(finished or 0) > NOW - BURIED_RETENTION_MS then
    holds(call('ZSCORE', P .. 'buried', j.id), 'I5', subject, 'failed, and is not in buried')
  end
end
local function audit_job(id, deep)
  local subject = 'job ' .. id
  local j = job_get(id)
  local leased, due = call('ZSCORE', LEASES, id), call('ZSCORE', LATER, id)
  if not j.state then
    holds(not leased, 'I5', subject, 'stands in leases, and has no hash')
    holds(not due, 'I5', subject, 'stands in later, and has no hash')
    return
  end
  local terminal = is_terminal(j.state)
  if not terminal and not LIVE[j.state] then return finding('I5', subject, 'is ' .. j.state .. ', which is no state') end
  local name = terminal and 'I6' or (j.state == 'running' and 'I1' or 'I5')
  holds((leased ~= false) == (j.state == 'running'), name, subject, 'is ' .. j.state .. (leased and ', and in leases' or ', and not in leases'))
  holds((due ~= false) == (j.state == 'scheduled'), terminal and 'I6' or 'I5', subject,
    'is ' .. j.state .. (due and ', and in later' or ', and not in later'))
  local finished = call('HGET', job_key(id), 'finished')
  if terminal then return audit_terminal(j, subject, finished) end
  holds(not finished, 'I6', subject, 'is ' .. j.state .. ' after its end')
  if call('PTTL', job_key(id)) ~= -1 then finding('I5', subject, 'is ' .. j.state .. ' and will be forgotten') end
  if call('PTTL', job_key(id) .. ':payload') >= 0 then finding('I5', subject, 'is ' .. j.state .. ' and its payload will be forgotten') end
  for part, name in pairs({ metadata = job_key(id) .. ':metadata', progress = job_key(id) .. ':progress' }) do
    if j[part] then holds(call('PTTL', name) == -1, 'I5', subject, 'is ' .. j.state .. ' and its ' .. part .. ' is gone or will be') end
  end
  if j.total or (j.queue and j.attempt == 0) then
    holds(call('ZSCORE', DEADLINES, id), 'L1', subject, 'has a deadline and is not in deadlines: it never expires')
  end
  LIVE[j.state](j, subject, deep)
end
local HEADS = 8
local function first_waiting()
  for p = 3, 0, -1 do
    for _, id in ipairs(call('LRANGE', waiting_key(p), 0, HEADS - 1)) do
      if call('HGET', job_key(id), 'state') == 'waiting' then return id end
    end
    if call('LLEN', waiting_key(p)) > HEADS then return nil end
  end
end
local function first_free()
  for _, id in ipairs(call('LRANGE', FREE, 0, HEADS - 1)) do
    local w = worker_get(id)
    if w.state == 'free' and not w.blocked and home_alive(w.home) and call('HLEN', held_key(id)) < w.slots then return id end
  end
end
local function audit_pool()
  local entries, real, all = 0, 0, true
  local seen = {}
  for p = 0, 3 do
    local times = entries_of(waiting_key(p))
    all = all and times ~= nil
    for id, n in pairs(times or {}) do
      entries = entries + n
      local of = not seen[id] and redis.pcall('HGET', job_key(id), 'state')
      if of == 'waiting' then real = real + 1 end
      if type(of) == 'table' then finding('I5', 'job ' .. id, 'stands in waiting:' .. p .. ', and its key holds something else: the scripts fail') end
      seen[id] = true
    end
  end
  holds(not all or tombstones == entries - real, 'I5', 'pool', tombstones .. ' dead entries are counted in the queues, ' .. (entries - real) .. ' are there')
  local job, worker = first_waiting(), first_free()
  if job and worker and not paused then
    doubts[#doubts + 1] = { 'I9', 'job ' .. job, 'idle ' .. worker, ticked, 'waits while worker ' .. worker .. ' is free' }
  end
end
local function look(audit, subject, ...)
  local well, failed = pcall(audit, ...)
  if not well then finding('I5', subject, 'cannot be read, by no script: ' .. (type(failed) == 'table' and failed.err or tostring(failed))) end
end
local LOOKS = {
  worker = function(id, _, deep) look(audit_worker, 'worker ' .. id, id, deep) end,
  held = function(id, job) look(audit_held, 'worker ' .. id, id, job) end,
  job = function(id, _, deep) look(audit_job, 'job ' .. id, id, deep) end,
  pool = function() look(audit_pool, 'pool') end,
}
function LOOKS.live(most)
  local workers, jobs = {}, {}
  local sorted = { [P .. 'workers'] = workers, [P .. 'dead'] = workers, [LEASES] = jobs, [LATER] = jobs }
  local lists = { [FREE] = workers }
  for p = 0, 3 do lists[waiting_key(p)] = jobs end
  local size = 0
  for key in pairs(sorted) do size = size + call('ZCARD', key) end
  for key in pairs(lists) do size = size + call('LLEN', key) end
  if size > tonumber(most) then
    unsure[#unsure + 1] = { 'live', '', 1 }
    return
  end
  for key, ids in pairs(sorted) do
    for _, id in ipairs(call('ZRANGE', key, 0, -1)) do ids[id] = true end
  end
  for key, ids in pairs(lists) do
    for _, id in ipairs(call('LRANGE', key, 0, -1)) do ids[id] = true end
  end
  for id in pairs(workers) do
    LOOKS.worker(id, '', '1')
    look(function()
      for _, job in ipairs(call('HKEYS', held_key(id))) do LOOKS.held(id, job) end
    end, 'worker ' .. id)
  end
  for id in pairs(jobs) do
    if string.sub(id, 1, 1) ~= '!' then LOOKS.job(id, '', '1') end
  end
end
for what, id, other, deep in items() do LOOKS[what](id, other, deep) end
return { findings, unsure, doubts }`].join('\n'),
  },
  beat: {
    args: ['leaving'],
    each: ['what', 'worker', 'link', 'job', 'fence', 'ran'],
    denyOom: false,
    readOnly: false,
    source: [base, workers, jobs, match, String.raw`local leaving = ARGV[3]
local function items() local i, n = -2, #ARGV return function() i = i + 6 if i <= n then return unpack(ARGV, i, i + 5) end end end
if not ENTERED then return redis.error_reply('NOPOOL the pool does not exist: enter it first') end
if leaving == '1' then
  call('ZADD', P .. 'homes', 0, HOME)
else
  call('ZADD', P .. 'homes', NOW, HOME)
end
local reply = {}
local known = {}
for what, worker, link, job, fence_, ran in items() do
  local w = known[worker] or worker_get(worker)
  known[worker] = w
  local answer = 'ok'
  if what ~= 'call' and (w.home ~= HOME or w.link ~= link) then
    answer = 'not_home'
  elseif what == 'lease' or what == 'call' then
    local j = job_get(job)
    if j.state == 'running' and j.fence == fence_ and call('HGET', held_key(worker), job) == fence_ then
      confirm(j, tonumber(ran))
    else
      answer = 'gone'
      if j.fence == fence_ then
        if j.worker ~= worker then answer = 'foreign' elseif j.state == 'cancelled' then answer = 'cancelled' end
      end
    end
  elseif w.state and w.state ~= 'dead' then
    local at = NOW - tonumber(what)
    call('ZADD', P .. 'workers', 'GT', at, worker)
    local suspected = tonumber(call('HGET', worker_key(worker), 'suspected') or 0)
    if w.state == 'suspect' and (at > suspected or suspected > NOW) then restore(w) end
  else
    answer = 'gone'
  end
  reply[#reply + 1] = answer
end
local more = match()
return done(reply, more)`].join('\n'),
  },
  bury: {
    args: ['worker', 'boot', 'link', 'evidence', 'reason', 'who'],
    each: [],
    denyOom: false,
    readOnly: false,
    source: [base, acts, workers, jobs, bury, match, String.raw`local worker, boot, link, evidence, reason, who = ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8]
local w = worker_get(worker)
if not w.state then return done('unknown', 0) end
if w.state == 'dead' then return done('buried', 0) end
if boot ~= '' then
  local seen = tonumber(call('ZSCORE', P .. 'workers', worker) or 0)
  if w.boot ~= boot or w.link ~= link or seen > NOW - tonumber(evidence) then return done('stale', 0) end
  if NOW < tonumber(call('HGET', META, 'grace') or 0) then return done('stale', 0) end
end
bury_worker(w, reason)
act(who, 'EvictWorker', worker, 'reason', reason)
local more = match()
return done('buried', more)`].join('\n'),
  },
  cancel: {
    args: [],
    each: ['job'],
    denyOom: false,
    readOnly: false,
    source: [base, workers, jobs, match, String.raw`local function items() local i, n = 2, #ARGV return function() i = i + 1 if i <= n then return unpack(ARGV, i, i + 0) end end end
local reply = {}
for job in items() do
  local j = job_get(job)
  reply[#reply + 1] = j.state or ''
  if j.state == 'waiting' or j.state == 'scheduled' then
    dequeue(j)
    terminal(j, 'cancelled')
  elseif j.state == 'running' then
    score(LEASES, job, false)
    quarantine(j, worker_get(j.worker))
    terminal(j, 'cancelled')
  end
end
flush()
return reply`].join('\n'),
  },
  delete_pool: {
    args: ['limit', 'who'],
    each: [],
    denyOom: false,
    readOnly: false,
    source: [base, acts, workers, jobs, pools, match, String.raw`local limit, who = ARGV[3], ARGV[4]
if not ENTERED then return done({ 'unknown', 0 }, 0) end
local workers_ = call('ZCARD', P .. 'workers')
if workers_ > 0 then return done({ 'workers', workers_ }, 0) end
local jobs_ = backlog() + call('ZCARD', LEASES)
if jobs_ > 0 then return done({ 'jobs', jobs_ }, 0) end
limit = tonumber(limit)
local dead = call('ZRANGE', P .. 'dead', 0, limit - 1)
forget_workers(dead)
local buried = call('ZRANGE', P .. 'buried', 0, limit - 1)
forget_buried(buried)
local finished = call('ZRANGE', P .. 'finished', 0, limit - 1)
for _, id in ipairs(finished) do
  local key = job_key(id)
  call('UNLINK', key, key .. ':payload', key .. ':metadata', key .. ':result', key .. ':error', key .. ':progress')
end
if #finished > 0 then call('ZREMRANGEBYRANK', P .. 'finished', 0, #finished - 1) end
if not is_empty() then return done({ 'more', 0 }, 0) end
drop_pool()
news[#news + 1] = { 'pool.deleted', '', 'identity', who }
return done({ 'deleted', 0 }, 0)`].join('\n'),
  },
  deregister: {
    args: ['worker', 'boot', 'timeout', 'by'],
    each: [],
    denyOom: false,
    readOnly: false,
    source: [base, workers, owners, jobs, bury, match, String.raw`local worker, boot, timeout, by = ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local w = worker_get(worker)
if not w.state or w.state == 'dead' then return done({ 'unknown', 0 }, 0) end
if foreign(w, by) then return done({ 'foreign', 0 }, 0) end
if boot ~= '' and w.boot ~= boot then return done({ 'superseded', 0 }, 0) end
local held = call('HLEN', held_key(worker))
if held == 0 then
  bury_worker(w, 'deregistered')
else
  local missed = w.state == 'suspect'
  w.leaving = true
  call('HSET', worker_key(worker), 'leaving', '1')
  bench(w, 'draining', 'deregistered')
  if timeout ~= '' then
    call('ZADD', DEADLINES, NOW + tonumber(timeout), '@' .. worker)
  elseif not missed then
    call('ZREM', DEADLINES, '@' .. worker)
  end
end
local more = match()
return done({ 'ok', held }, more)`].join('\n'),
  },
  describe: {
    args: ['set', 'who'],
    each: [],
    denyOom: true,
    readOnly: false,
    source: [base, acts, String.raw`local set, who = ARGV[3], ARGV[4]
if not ENTERED then return 'unknown' end
call('SET', P .. 'descriptors', set)
act(who, 'PutPoolDescriptors', '')
return '1'`].join('\n'),
  },
  detach: {
    args: ['worker', 'boot', 'link', 'reason', 'grace'],
    each: [],
    denyOom: false,
    readOnly: false,
    source: [base, workers, jobs, bury, match, String.raw`local worker, boot, link, reason, grace = ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local w = worker_get(worker)
if not w.state or w.state == 'dead' or w.boot ~= boot or w.home ~= HOME or w.link ~= link then return done('stale', 0) end
if w.leaving and call('HLEN', held_key(worker)) == 0 then
  bury_worker(w, 'deregistered')
else
  if w.state ~= 'suspect' then suspect(w, reason) end
  call('ZADD', DEADLINES, 'LT', NOW + tonumber(grace), '@' .. worker)
end
local more = match()
return done('ok', more)`].join('\n'),
  },
  drain: {
    args: ['worker', 'on', 'who'],
    each: [],
    denyOom: false,
    readOnly: false,
    source: [base, acts, workers, jobs, match, String.raw`local worker, on, who = ARGV[3], ARGV[4], ARGV[5]
local w = worker_get(worker)
if not w.state or w.state == 'dead' then return done(w.state or '', 0) end
local was = w.drained
w.drained = on == '1'
if w.drained then call('HSET', worker_key(worker), 'drained', '1') else call('HDEL', worker_key(worker), 'drained') end
if w.drained and active(w) then
  bench(w, 'draining', 'drained')
elseif not w.drained and w.state == 'draining' and not w.leaving then
  w.state = 'busy'
  call('HDEL', worker_key(worker), 'reason')
  settle(w)
end
if was ~= w.drained then
  event(w.drained and 'worker.drained' or 'worker.undrained', worker)
  act(who, w.drained and 'DrainWorker' or 'UndrainWorker', worker)
end
local more = match()
return done(w.state, more)`].join('\n'),
  },
  enter: {
    args: [],
    each: [],
    denyOom: true,
    readOnly: false,
    source: [base, String.raw`return call('HSETNX', META, 'created', NOW_TEXT)`].join('\n'),
  },
  finish: {
    args: ['claims'],
    each: ['worker', 'boot', 'job', 'fence', 'link', 'outcome', 'code', 'retryable', 'reason', 'blob', 'delay'],
    denyOom: false,
    readOnly: false,
    source: [base, workers, jobs, bury, match, String.raw`local claims = ARGV[3]
local function items() local i, n = -7, #ARGV return function() i = i + 11 if i <= n then return unpack(ARGV, i, i + 10) end end end
local reply = {}
local freed, links, slots, order = {}, {}, {}, {}
local again = {}
local function free_slot(w, link)
  if not freed[w.id] then
    order[#order + 1] = w.id
    freed[w.id] = w
    links[w.id] = link
    slots[w.id] = 0
  end
  slots[w.id] = slots[w.id] + 1
end
for worker, boot, job, fence_, link, outcome, code, retryable, reason, blob, delay in items() do
  local w = freed[worker] or worker_get(worker)
  local held = w.boot == boot and held_fence(w, job)
  local j = job_get(job)
  local verdict = 'stale'
  if held == fence_ and j.state == 'running' and j.fence == fence_ then
    verdict = 'accepted'
    let_go(w, job)
    score(LEASES, job, false)
    if outcome == 'ok' then
      local keep = terminal(j, 'succeeded', HOME, fence_)
      call('SET', job_key(job) .. ':result', blob, 'PX', keep)
    else
      call('HSET', job_key(job), 'done', fence_)
      attempt_failed(j, code, retryable == '1', reason, blob, delay, HOME)
    end
    free_slot(w, link)
  elseif held == '!' .. fence_ then
    w.holds = nil
    unhold(worker, job, fence_)
    if j.state == 'cancelled' then verdict = 'cancelled' elseif not j.state then verdict = 'gone' end
    free_slot(w, link)
  elseif not j.state then
    verdict = 'gone'
    if held == fence_ then
      w.holds = nil
      unhold(worker, job, fence_)
      free_slot(w, link)
    end
  elseif j.fence == fence_ and j.worker ~= worker then
    verdict = 'foreign'
  elseif j.done == fence_ then
    verdict = 'duplicate'
    again[worker] = w
  elseif j.state == 'cancelled' and j.fence == fence_ then
    verdict = 'cancelled'
  end
  reply[#reply + 1] = { verdict, j.state or '', int(j.attempt), int(j.started), NOW_TEXT, int(j.created) }
end
local waits, left = #order > 0 and anything_waits(), false
for _, id in ipairs(order) do
  local w = freed[id]
  again[id] = nil
  if waits and claims == '1' and not w.leaving and links[id] ~= '' then
    while slots[id] > 0 and claim(w, links[id]) do slots[id] = slots[id] - 1 end
  end
  left = left or w.leaving
  settle_or_leave(w)
end
for id, w in pairs(again) do
  if w.home == HOME then
    local held = call('HGETALL', held_key(id))
    for i = 1, #held, 2 do
      local j = job_get(held[i])
      if j.state == 'running' and j.fence == held[i + 1] and not j.delivered then assignment(j, w) end
    end
  end
end
local more = (waits or left) and match() or 0
return done(reply, more)`].join('\n'),
  },
  forget_home: {
    args: [],
    each: ['home'],
    denyOom: false,
    readOnly: false,
    source: [base, String.raw`local function items() local i, n = 2, #ARGV return function() i = i + 1 if i <= n then return unpack(ARGV, i, i + 0) end end end
local n = 0
for home in items() do
  local beat = call('ZSCORE', P .. 'homes', home)
  if beat and NOW - tonumber(beat) >= HOME_TTL_MS then n = n + call('ZREM', P .. 'homes', home) end
end
return n`].join('\n'),
  },
  match: {
    args: [],
    each: [],
    denyOom: false,
    readOnly: false,
    source: [base, workers, jobs, match, String.raw`local more = match()
return done(0, more)`].join('\n'),
  },
  mine: {
    args: ['offset', 'limit'],
    each: [],
    denyOom: false,
    readOnly: false,
    source: [base, workers, jobs, match, String.raw`local offset, limit = ARGV[3], ARGV[4]
local due = call('ZRANGEBYSCORE', LEASES, '-inf', NOW + DELIVERY_MS, 'LIMIT', offset, limit)
local homes = {}
for _, id in ipairs(due) do
  if string.sub(id, 1, 1) ~= '!' then
    local j = job_get(id)
    if j.state == 'running' and not j.delivered then
      local w = homes[j.worker] or worker_get(j.worker)
      homes[j.worker] = w
      if w.home == HOME and call('HGET', held_key(j.worker), id) == j.fence then assignment(j, w) end
    end
  end
end
return { #due == tonumber(limit) and tonumber(offset) + #due or -1, assigned, 0 }`].join('\n'),
  },
  orphans: {
    args: ['cursor', 'page'],
    each: [],
    denyOom: false,
    readOnly: false,
    source: [base, workers, jobs, match, String.raw`local cursor, page = ARGV[3], ARGV[4]
local grace = tonumber(call('HGET', META, 'grace') or 0)
local page_ = call('ZSCAN', P .. 'workers', cursor, 'COUNT', page)
local found = {}
for i = 1, #page_[2], 2 do
  local w = worker_get(page_[2][i])
  local gone = not home_alive(w.home)
  if w.state and w.state ~= 'dead' and (gone or (NOW >= grace and NOW - tonumber(page_[2][i + 1]) > SILENT_MS)) then
    if w.state ~= 'suspect' then suspect(w, gone and 'home_gone' or 'out_of_sight') end
    if w.contract == 'ATTACHED' then
      call('ZADD', DEADLINES, 'NX', NOW + REATTACH_GRACE_MS, '@' .. w.id)
    else
      found[#found + 1] = { w.id, w.boot, w.link, w.home, int(NOW - tonumber(page_[2][i + 1])) }
    end
  end
end
return done({ page_[1], found }, 0)`].join('\n'),
  },
  pause: {
    args: ['on', 'who'],
    each: [],
    denyOom: false,
    readOnly: false,
    source: [base, acts, workers, jobs, match, String.raw`local on, who = ARGV[3], ARGV[4]
if not ENTERED then return done('unknown', 0) end
local was = call('HGET', META, 'paused') == '1'
if on == '1' then call('HSET', META, 'paused', '1') else call('HDEL', META, 'paused') end
if was ~= (on == '1') then
  event(on == '1' and 'pool.paused' or 'pool.resumed', '')
  act(who, on == '1' and 'PausePool' or 'ResumePool', '')
end
local more = match()
return done(was ~= (on == '1') and '1' or '0', more)`].join('\n'),
  },
  probed: {
    args: ['worker', 'boot', 'link', 'age', 'busy'],
    each: ['what', 'job', 'fence'],
    denyOom: false,
    readOnly: false,
    source: [base, workers, jobs, bury, match, String.raw`local worker, boot, link, age, busy = ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local function items() local i, n = 5, #ARGV return function() i = i + 3 if i <= n then return unpack(ARGV, i, i + 2) end end end
local w = worker_get(worker)
if not w.state or w.state == 'dead' or w.boot ~= boot or w.home ~= HOME or w.link ~= link then return done({ 'stale', w.state or '' }, 0) end
call('ZADD', P .. 'workers', 'GT', NOW - tonumber(age), worker)
call('HDEL', worker_key(worker), 'misses')
for what, job, fence_ in items() do
  local held = call('HGET', held_key(worker), job)
  if held == '!' .. fence_ then
    unhold(worker, job, fence_)
  elseif held == fence_ and what == 'lost' then
    local j = job_get(job)
    call('HDEL', held_key(worker), job)
    if j.state == 'running' and j.fence == fence_ then
      j.delivered = true
      revoke(j, 'attempt_lost', 'the worker ' .. worker .. ' answers and does not run it', 14)
    end
  end
end
local blocked = busy == '1' and call('HLEN', held_key(worker)) == 0
if blocked ~= w.blocked then
  w.blocked = blocked
  if blocked then call('HSET', worker_key(worker), 'blocked', '1') else call('HDEL', worker_key(worker), 'blocked') end
end
if w.state == 'suspect' then restore(w) end
settle_or_leave(w)
local more = match()
return done({ 'ok', w.state }, more)`].join('\n'),
  },
  purge: {
    args: ['scope', 'limit', 'who'],
    each: [],
    denyOom: false,
    readOnly: false,
    source: [base, acts, workers, jobs, pools, match, String.raw`local scope, limit, who = ARGV[3], ARGV[4], ARGV[5]
local n = 0
limit = tonumber(limit)
if scope == 'queued' then
  for p = 0, 3 do
    while n < limit do
      local id = call('LPOP', waiting_key(p))
      if not id then break end
      n = n + 1
      local j = job_get(id)
      if j.state == 'waiting' then terminal(j, 'cancelled') else count('tombstones', -1) end
    end
  end
  if n < limit then
    for _, id in ipairs(call('ZRANGE', LATER, 0, limit - n - 1)) do
      n = n + 1
      call('ZREM', LATER, id)
      local j = job_get(id)
      if j.state == 'scheduled' then terminal(j, 'cancelled') end
    end
  end
else
  local ids = call('ZRANGE', P .. 'buried', 0, limit - 1)
  n = #ids
  forget_buried(ids)
end
if n > 0 then
  event('pool.purged', scope, 'count', n)
  act(who, 'PurgePool', scope, 'count', n)
end
flush()
return n`].join('\n'),
  },
  register: {
    args: ['id', 'boot', 'derived', 'address', 'contract', 'region', 'slots', 'labels', 'kinds', 'version', 'by'],
    each: [],
    denyOom: false,
    readOnly: false,
    source: [base, workers, owners, jobs, bury, match, moves, String.raw`local id, boot, derived, address, contract, region, slots, labels, kinds, version, by = ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[9], ARGV[10], ARGV[11], ARGV[12], ARGV[13]
if not ENTERED then return redis.error_reply('NOPOOL the pool does not exist: enter it first') end
local w = worker_get(id)
local key = worker_key(id)
if foreign(w, by) then return done({ 'foreign', '0', '', 0, {} }, 0) end
if lives_otherwise(w, contract, boot) then return done({ 'attached', w.link, w.state, 0, {} }, 0) end
local family = contract == 'ATTACHED' and 'RUNNER' or contract
local settled = call('HGET', META, 'family')
if not settled and family == 'LEGACY' and call('HGET', META, 'methods') then settled = 'METHOD' end
if settled and settled ~= family then
  local others = call('ZCARD', P .. 'workers') - (call('ZSCORE', P .. 'workers', id) and 1 or 0)
  if others > 0 or backlog() > 0 or call('ZCARD', LEASES) > 0 then return done({ 'family ' .. settled, '0', '', 0, {} }, 0) end
end
if w.state and w.boot ~= boot and derived ~= '1' and call('HGET', key, 'previous') == boot then
  return done({ 'superseded', w.link, w.state, 0, {} }, 0)
end
local at = call('HGET', ADDRESSES, address)
local other = at and at ~= id and worker_get(at)
if other and other.state ~= 'suspect' and foreign(other, by) then return done({ 'taken', '0', '', 0, {} }, 0) end
local known = w.state and w.state ~= 'dead'
local freed = 0
if known and w.boot ~= boot then freed = revoke_all(w, 'worker_lost', 'the worker ' .. id .. ' started anew') end
if other then bury_worker(other, 'superseded') end
if w.address and w.address ~= address and call('HGET', ADDRESSES, w.address) == id then call('HDEL', ADDRESSES, w.address) end
call('HSET', ADDRESSES, address, id)
local moved = known and w.boot == boot and w.home ~= HOME
local carried = moved and home_alive(w.home)
local link = tonumber(w.link or 0)
if not known or w.boot ~= boot or w.home ~= HOME then link = link + 1 end
if w.state and w.boot ~= boot then call('HSET', key, 'previous', w.boot) end
w.slots = tonumber(slots)
may_exceed(w)
w.link, w.boot, w.home, w.contract, w.address = int(link), boot, HOME, contract, address
w.blocked, w.leaving = false, false
own(w, by)
call('HSET', META, 'family', family)
call('HSET', key, 'address', address, 'contract', contract, 'slots', slots, 'boot', boot, 'home', HOME, 'link', w.link)
call('HDEL', key, 'leaving', 'reason', 'suspected', 'misses', 'blocked')
if not known then call('HSET', key, 'joined', NOW_TEXT) end
if region ~= '' then call('HSET', key, 'region', region) else call('HDEL', key, 'region') end
if version ~= '' then call('HSET', key, 'version', version) else call('HDEL', key, 'version') end
if labels ~= '' then call('SET', key .. ':labels', labels) else call('DEL', key .. ':labels') end
if kinds ~= '' then call('SET', key .. ':kinds', kinds) else call('DEL', key .. ':kinds') end
call('ZADD', P .. 'workers', NOW, id)
call('ZREM', P .. 'dead', id)
call('ZREM', DEADLINES, '@' .. id)
call('ZADD', P .. 'homes', NOW, HOME)
if not known then event('worker.registered', id, 'address', address, 'contract', contract) end
local leases = moved and take_over(w, carried) or {}
w.state = w.drained and 'draining' or 'busy'
write_state(w)
settle(w)
local more = match()
return done({ 'ok', w.link, w.state, freed, carried and {} or leases }, more)`].join('\n'),
  },
  release: {
    args: [],
    each: ['worker', 'job', 'fence', 'link', 'blocked', 'reason'],
    denyOom: false,
    readOnly: false,
    source: [base, workers, jobs, bury, match, String.raw`local function items() local i, n = -3, #ARGV return function() i = i + 6 if i <= n then return unpack(ARGV, i, i + 5) end end end
local reply = {}
for worker, job, fence_, link, blocked, reason in items() do
  local w = worker_get(worker)
  local j = job_get(job)
  local hit = 0
  if w.link == link and call('HGET', held_key(worker), job) == fence_ and j.state == 'running' and j.fence == fence_ then
    hit = 1
    call('HDEL', held_key(worker), job)
    score(LEASES, job, false)
    if blocked ~= '0' and w.state then
      w.blocked = true
      call('HSET', worker_key(worker), 'blocked', '1')
    end
    if blocked == '2' then give_back(j, HANDOVER_BACKOFF_MS) else handover(j, HANDOVER_BACKOFF_MS * 2 ^ math.min(j.handovers, 10), reason) end
    if w.state then settle_or_leave(w) end
  end
  reply[#reply + 1] = hit
end
local more = match()
return done(reply, more)`].join('\n'),
  },
  resize: {
    args: ['worker', 'boot', 'link', 'slots'],
    each: [],
    denyOom: false,
    readOnly: false,
    source: [base, workers, jobs, bury, match, String.raw`local worker, boot, link, slots = ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local w = worker_get(worker)
if not w.state or w.state == 'dead' or w.boot ~= boot or w.home ~= HOME or w.link ~= link then return done('stale', 0) end
w.slots = tonumber(slots)
may_exceed(w)
call('HSET', worker_key(worker), 'slots', slots)
settle(w)
local more = match()
return done('ok', more)`].join('\n'),
  },
  retry: {
    args: ['who'],
    each: ['job', 'buried'],
    denyOom: true,
    readOnly: false,
    source: [base, acts, workers, jobs, match, String.raw`local who = ARGV[3]
local function items() local i, n = 2, #ARGV return function() i = i + 2 if i <= n then return unpack(ARGV, i, i + 1) end end end
local reply, retried = {}, 0
local settled = pool_state()
for job, buried in items() do
  local j = job_get(job)
  local score = call('ZSCORE', P .. 'buried', job)
  if not j.state then
    reply[#reply + 1] = 'unknown'
    if score then call('ZREM', P .. 'buried', job) end
  elseif j.state ~= 'failed' or not score or (buried ~= '' and tonumber(buried) ~= tonumber(score)) then
    reply[#reply + 1] = 'not_buried'
  elseif not runs(settled, j.kind, j.method) then
    reply[#reply + 1] = 'family ' .. settled
  else
    local key = job_key(job)
    call('ZREM', P .. 'buried', job)
    call('PERSIST', key)
    call('PERSIST', key .. ':payload')
    if j.metadata then call('PERSIST', key .. ':metadata') end
    call('UNLINK', key .. ':error')
    call('HDEL', key, 'finished', 'next', 'queue', 'total')
    call('HSET', key, 'attempt', '0', 'handovers', '0')
    enqueue(j, false)
    event('job.retried', job)
    reply[#reply + 1] = 'retried'
    retried = retried + 1
  end
end
if retried > 0 then act(who, 'RetryBuried', '', 'count', retried) end
local more = match()
return done(reply, more)`].join('\n'),
  },
  standing: {
    args: [],
    each: ['worker', 'boot', 'link'],
    denyOom: false,
    readOnly: true,
    source: [base, workers, String.raw`local function items() local i, n = 0, #ARGV return function() i = i + 3 if i <= n then return unpack(ARGV, i, i + 2) end end end
local reply = {}
for worker, boot, link in items() do
  local v = call('HMGET', worker_key(worker), 'state', 'boot', 'home', 'link', 'blocked', 'misses')
  local standing = 'idle'
  if v[2] ~= boot or v[3] ~= HOME or v[4] ~= link then
    standing = 'moved'
  else
    for _, fence_ in ipairs(call('HVALS', held_key(worker))) do
      if standing == 'idle' then standing = 'holds' end
      if string.sub(fence_, 1, 1) == '!' then standing = 'unsettled' end
    end
    if v[1] == 'suspect' or v[5] == '1' or (v[6] or '0') ~= '0' then standing = 'unsettled' end
  end
  reply[#reply + 1] = standing
end
return reply`].join('\n'),
  },
  submit: {
    args: ['max_waiting', 'family'],
    each: ['id', 'digest', 'kind', 'method', 'priority', 'start', 'run', 'keep', 'queue', 'total', 'retry', 'fatal', 'waiter', 'payload', 'metadata'],
    denyOom: true,
    readOnly: false,
    source: [base, workers, jobs, match, String.raw`local max_waiting, family = ARGV[3], ARGV[4]
local function items() local i, n = -10, #ARGV return function() i = i + 15 if i <= n then return unpack(ARGV, i, i + 14) end end end
if not ENTERED then return redis.error_reply('NOPOOL the pool does not exist: enter it first') end
local reply = {}
local existing, refused, new = {}, {}, 0
local settled, tombstones = pool_state()
local waiting_now, entries = backlog(tombstones)
local room = math.min(tonumber(max_waiting) - waiting_now, 2 * tonumber(max_waiting) - entries)
local n = 0
local seen_here = {}
local first_priority, one_priority, all_new = nil, true, true
for id, digest, kind, method, priority in items() do
  n = n + 1
  first_priority = first_priority or priority
  one_priority = one_priority and priority == first_priority
  local there = call('HGET', job_key(id), 'digest') or seen_here[id]
  if there then
    all_new = false
    existing[n] = there == digest and 'same' or 'conflict'
  elseif not runs(settled, kind, method) then
    refused[n] = 'family ' .. settled
  elseif new >= room then
    refused[n] = 'full'
  else
    new = new + 1
    seen_here[id] = digest
  end
end
local straight = new > 0 and not paused and one_priority and all_new and entries == 0 and call('LLEN', FREE) > 0
local payloads = { 'MSET' }
n = 0
for id, digest, kind, method, priority, start, run, keep, queue, total, retry, fatal, waiter, payload, metadata in items() do
  n = n + 1
  local key = job_key(id)
  if existing[n] == 'conflict' then
    reply[n] = 'conflict'
  elseif existing[n] == 'same' then
    local j = job_get(id)
    if waiter == '1' and not is_terminal(j.state) then add_waiter(j) end
    if j.state == 'running' and not j.delivered then
      local w = worker_get(j.worker)
      if w.home == HOME then assignment(j, w) end
    end
    reply[n] = 'exists ' .. j.state
  elseif refused[n] then
    reply[n] = refused[n]
  else
    if not settled and kind ~= '' and family ~= '' then
      settled = family
      call('HSET', META, 'family', settled)
    elseif not settled and not runs('LEGACY', kind, method) then
      call('HSET', META, 'methods', '1')
    end
    local fields = { 'HSET', key, 'digest', digest, 'created', NOW_TEXT, 'retry', retry, 'run', run, 'keep', keep }
    local function put(name, value)
      fields[#fields + 1] = name
      fields[#fields + 1] = value
    end
    if kind ~= '' then put('kind', kind) else put('method', method) end
    if priority ~= '0' then put('priority', priority) end
    if queue ~= '' then put('queue', queue) end
    if total ~= '' then put('total', total) end
    if fatal ~= '' then put('fatal', fatal) end
    if waiter == '1' then put('waiter', HOME) end
    if metadata ~= '' then put('metadata', '1') end
    local from = NOW
    if start ~= '0' then
      from = math.max(NOW, NOW + tonumber(start) - RAW)
      put('from', int(NOW + tonumber(start) - RAW))
    end
    local w, room
    if straight and from == NOW then
      w, room = take_worker()
      straight = w ~= nil
    end
    if w then
      local j = { id = id, attempt = 0, run = tonumber(run), kind = kind, method = method, created = NOW, from = from,
        fresh = { payload = payload, metadata = metadata } }
      give(j, w, room, fields)
    else
      put('attempt', '0')
      put('state', from == NOW and 'waiting' or 'scheduled')
    end
    call(unpack(fields))
    if payload ~= '' then
      payloads[#payloads + 1] = key .. ':payload'
      payloads[#payloads + 1] = payload
    end
    if metadata ~= '' then call('SET', key .. ':metadata', metadata) end
    if queue ~= '' or total ~= '' then
      local due = math.huge
      if queue ~= '' and not w then due = from + tonumber(queue) end
      if total ~= '' then due = math.min(due, NOW + tonumber(total)) end
      if due < math.huge then call('ZADD', DEADLINES, due, id) end
    end
    if not w then
      if from == NOW then
        call('RPUSH', waiting_key(priority), id)
      else
        call('HSET', key, 'next', int(from))
        call('ZADD', LATER, from, id)
      end
    end
    count('submitted', 1)
    reply[n] = 'created'
  end
end
if #payloads > 1 then call(unpack(payloads)) end
local more = (straight and entries == 0) and 0 or match()
return done({ NOW_TEXT, reply }, more)`].join('\n'),
  },
  suspect: {
    args: ['worker', 'boot', 'link', 'limit', 'reason'],
    each: [],
    denyOom: false,
    readOnly: false,
    source: [base, workers, jobs, match, String.raw`local worker, boot, link, limit, reason = ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local w = worker_get(worker)
if not w.state or w.state == 'dead' or w.boot ~= boot or w.home ~= HOME or w.link ~= link then return done({ 'stale', 0 }, 0) end
local misses = call('HINCRBY', worker_key(worker), 'misses', 1)
if misses < tonumber(limit) then return done({ 'missed', misses }, 0) end
if w.state ~= 'suspect' then suspect(w, reason) end
return done({ 'suspect', misses }, 0)`].join('\n'),
  },
  tick: {
    args: ['limit', 'finished_kept', 'buried_kept'],
    each: [],
    denyOom: false,
    readOnly: false,
    source: [base, workers, jobs, bury, pools, match, String.raw`local limit, finished_kept, buried_kept = ARGV[3], ARGV[4], ARGV[5]
if not ENTERED then return done('gone', 0) end
if is_empty() and call('HGET', META, 'paused') ~= '1' then
  local idle = tonumber(call('HGET', META, 'idle') or 0)
  if idle == 0 then
    call('HSET', META, 'idle', NOW_TEXT)
  elseif NOW - idle >= POOL_IDLE_MS then
    drop_pool()
    news[#news + 1] = { 'pool.forgotten', '' }
    return done('gone', 0)
  end
else
  call('HDEL', META, 'idle')
end
local FINISHED_TRIMMED = 1000
local last = tonumber(call('HGET', META, 'ticked') or 0)
if last == 0 then
  last = tonumber(call('ZRANGEBYSCORE', P .. 'homes', '(0', '+inf', 'WITHSCORES', 'LIMIT', 0, 1)[2] or 0)
  NOW = math.max(NOW, tonumber(call('ZREVRANGE', P .. 'homes', 0, 0, 'WITHSCORES')[2] or 0))
  NOW_TEXT, SHIFT = int(NOW), NOW - RAW
end
call('HSET', META, 'ticked', NOW_TEXT)
call('HDEL', META, 'clock')
LATEST = NOW
local shifted = tonumber(call('HGET', META, 'shift') or 0)
if SHIFT - shifted > TICK_STALE_MS then event('pool.clock', '', 'back', int(SHIFT - shifted)) end
if last > 0 then SHIFT = math.max(0, SHIFT - math.floor(math.max(0, NOW - last) / 10)) end
if SHIFT > 0 then call('HSET', META, 'shift', int(SHIFT)) elseif shifted > 0 then call('HDEL', META, 'shift') end
local grace = tonumber(call('HGET', META, 'grace') or 0)
if last > 0 and NOW - last > TICK_STALE_MS then
  grace = NOW + OUTAGE_GRACE_MS
  call('HSET', META, 'grace', int(grace))
  event('pool.grace', '', 'gap', int(NOW - last))
end
local function due(key)
  local ids = call('ZRANGEBYSCORE', key, '-inf', NOW, 'LIMIT', 0, limit)
  return ids, #ids == tonumber(limit)
end
local later, more_later = due(LATER)
for _, id in ipairs(later) do
  call('ZREM', LATER, id)
  local j = job_get(id)
  if j.state == 'scheduled' then enqueue(j, false) end
end
local function heard(home)
  return NOW - tonumber(call('ZSCORE', P .. 'homes', home) or 0) < HOME_TTL_MS / 2
end
local more_leases = false
if NOW >= grace then
  local leases
  leases, more_leases = due(LEASES)
  for _, member in ipairs(leases) do
    call('ZREM', LEASES, member)
    if string.sub(member, 1, 1) == '!' then
      local f, worker, job = string.match(member, '^!(%d+) ([^ ]+) (.+)$')
      if call('HGET', held_key(worker), job) == '!' .. f then
        call('HDEL', held_key(worker), job)
        local w = worker_get(worker)
        if w.state then settle_or_leave(w) end
      end
    else
      local j = job_get(member)
      if j.state == 'running' then
        local w = worker_get(j.worker)
        local absent = w.contract == 'ATTACHED' and w.state == 'suspect'
        if NOW >= j.started + j.run and j.delivered then
          quarantine(j, w)
          attempt_failed(j, '4', true, 'run_timeout', failure_json(4, 'run_timeout', 'ran longer than ' .. int(j.run) .. ' ms'), '')
        elseif j.delivered then
          quarantine(j, w)
          attempt_failed(j, '14', true, 'lease_expired', failure_json(14, 'lease_expired', 'its replica stopped vouching for it'), '')
        elseif (NOW < j.started + 2 * HOME_TTL_MS and w.state and not heard(w.home)) or (NOW < j.started + 2 * REATTACH_GRACE_MS and absent) then
          score(LEASES, member, NOW + HOME_TTL_MS / 2)
        else
          call('HDEL', held_key(j.worker), member)
          tell(w.home, 'cancel ' .. member .. ' ' .. j.fence .. ' ' .. j.worker)
          if j.hinted then give_back(j, 0) else handover(j, 0, 'not delivered in time') end
          if w.state then settle_or_leave(w) end
        end
      elseif not j.state then
        for _, worker in ipairs(call('ZRANGE', P .. 'workers', 0, tonumber(limit) - 1)) do
          if call('HDEL', held_key(worker), member) == 1 then settle_or_leave(worker_get(worker)) end
        end
      end
    end
  end
end
local deadlines, more_deadlines = due(DEADLINES)
for _, id in ipairs(deadlines) do
  call('ZREM', DEADLINES, id)
  if string.sub(id, 1, 1) == '@' then
    local w = worker_get(string.sub(id, 2))
    local why = w.leaving and 'drain_timeout' or (w.contract == 'ATTACHED' and w.state == 'suspect' and 'detached')
    if why and w.state ~= 'dead' then
      if NOW < grace then call('ZADD', DEADLINES, grace, id) else bury_worker(w, why) end
    end
  else
    local j = job_get(id)
    if j.state == 'running' and j.total and NOW >= j.created + tonumber(j.total) then
      local w = worker_get(j.worker)
      score(LEASES, id, false)
      quarantine(j, w)
      terminal(j, 'expired')
    elseif j.state == 'waiting' or j.state == 'scheduled' then
      if overdue(j) then
        dequeue(j)
        terminal(j, 'expired')
      elseif j.total then
        call('ZADD', DEADLINES, j.created + tonumber(j.total), id)
      end
    end
  end
end
local forgotten = call('ZRANGEBYSCORE', P .. 'dead', '-inf', NOW - FORGET_MS, 'LIMIT', 0, limit)
forget_workers(forgotten)
flush()
local function over(key, kept, most)
  local n = call('ZCARD', key) - tonumber(kept)
  return math.max(0, math.min(n, most)), n > most
end
local d, more_dead = over(P .. 'dead', DEAD_KEPT, tonumber(limit))
if d > 0 then forget_workers(call('ZRANGE', P .. 'dead', 0, d - 1)) end
local n, more_finished = over(P .. 'finished', finished_kept, FINISHED_TRIMMED)
if n > 0 then call('ZREMRANGEBYRANK', P .. 'finished', 0, n - 1) end
local expired = drop_expired(P .. 'finished', tonumber(limit))
local m, more_buried = over(P .. 'buried', buried_kept, tonumber(limit))
if m > 0 then forget_buried(call('ZRANGE', P .. 'buried', 0, m - 1)) end
local old = call('ZRANGEBYSCORE', P .. 'buried', '-inf', '(' .. int(NOW - BURIED_RETENTION_MS), 'LIMIT', 0, limit)
if #old > 0 then call('ZREMRANGEBYRANK', P .. 'buried', 0, #old - 1) end
local dead = {}
if NOW >= grace then dead = call('ZRANGEBYSCORE', P .. 'homes', '-inf', NOW - HOME_TTL_MS, 'LIMIT', 0, 100) end
local more = match()
local full = #forgotten == tonumber(limit) or #old == tonumber(limit) or expired == tonumber(limit)
return done(dead, (more == 1 or more_later or more_deadlines or more_leases or more_dead or more_finished or more_buried or full) and 1 or 0)`].join('\n'),
  },
  watch: {
    args: [],
    each: ['job'],
    denyOom: false,
    readOnly: false,
    source: [base, workers, jobs, match, String.raw`local function items() local i, n = 2, #ARGV return function() i = i + 1 if i <= n then return unpack(ARGV, i, i + 0) end end end
local reply = {}
for job in items() do
  local j = job_get(job)
  if j.state and not is_terminal(j.state) then add_waiter(j) end
  reply[#reply + 1] = j.state or ''
end
return reply`].join('\n'),
  },
  worker_beat: {
    args: ['worker', 'boot', 'by'],
    each: ['job', 'fence', 'finished', 'progress'],
    denyOom: false,
    readOnly: false,
    source: [base, workers, owners, jobs, match, String.raw`local worker, boot, by = ARGV[3], ARGV[4], ARGV[5]
local function items() local i, n = 2, #ARGV return function() i = i + 4 if i <= n then return unpack(ARGV, i, i + 3) end end end
local w = worker_get(worker)
local known = 'ok'
if not w.state then
  known = 'unknown'
elseif w.state == 'dead' then
  known = 'dead'
elseif foreign(w, by) then
  known = 'foreign'
elseif boot ~= '' and w.boot ~= boot then
  known = 'superseded'
end
local revoked = {}
if known == 'ok' then call('ZADD', P .. 'workers', 'GT', NOW, worker) end
for job, fence_, finished, progress in items() do
  local j = job_get(job)
  local mine = known == 'ok' and j.state == 'running' and j.fence == fence_ and call('HGET', held_key(worker), job) == fence_
  if mine then
    confirm(j)
    if progress ~= '' then
      call('SET', job_key(job) .. ':progress', progress)
      if not j.progress then call('HSET', job_key(job), 'progress', '1') end
    end
  end
  revoked[#revoked + 1] = mine and 0 or (known == 'ok' and j.fence == fence_ and j.worker ~= worker) and 2 or 1
end
flush()
return { { known, revoked }, assigned, 0 }`].join('\n'),
  },
} as const;
