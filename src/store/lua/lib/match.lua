-- match: takes one free worker and one waiting job together, while there are both.
-- An assignment for the caller goes into the reply with all that the worker needs; one for another home is told to it by a hint, which
-- carries no ownership: the lease does, and `accept` asks for it.
local fence, paused
-- Answers with two more fields of the pool, for who needs them anyway: its family, and its tombstones.
local function pool_state()
  if fence then return end
  local v = call('HMGET', META, 'fence', 'paused', 'family', 'tombstones')
  fence = math.max(tonumber(v[1] or 0), SEEN)
  paused = v[2] == '1'
  return v[3], tonumber(v[4] or 0)
end

-- The replies of scripts are bounded by bytes, not only by count: a slow network carries them within the timeout of a call. With
-- REPLY_BYTES in it a reply is full: nothing more is matched (`more`), and an assignment that must be answered goes without its payload,
-- metadata, and progress (false each). The caller asks for those by `accept`. The first one is always whole.
local assigned = {}
local reply_bytes = 0
local function reply_full() return reply_bytes >= REPLY_BYTES end
-- What the home sends to the worker: job, fence, worker, link, kind, method, attempt, run ms, payload, metadata JSON, progress; and how long
-- the job had waited when it was leased, in ms.
local function assignment(j, w)
  -- Its owner has it now, and may send it to the worker.
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

-- Writes the lease of a job, and nothing else does. Returns how many slots it took: 0 when the worker has an earlier attempt under this job
-- ID in quarantine, perhaps of an earlier job, whose place the new one takes.
-- `fields`: the HSET with which the caller is about to create the job: the lease's fields go into it. Without it they are written here.
-- `delivered` is 'n' while only a hint tells the worker's home of the lease, '0' once the home has it, '1' once it has confirmed that it sent it.
-- An undelivered lease is due after DELIVERY_MS, however short its run timeout: that counts from its delivery.
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

-- The next job that really waits, out of its list; drops the tombstones before it. nil: none, or `budget` is used up.
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

-- The first listed worker that may take a job; drops entries that may not. nil: none, or `budget` is used up.
local function take_worker()
  while budget > 0 do
    local id = call('LPOP', FREE)
    if not id then return nil end
    budget = budget - 1
    local w = worker_get(id)
    w.listed = false
    if w.state == 'free' and home_alive(w.home) then
      -- Free is who has room: of one slot it is that one.
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

-- A worker that was taken off the list and given a job: back to the tail while it has room.
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

-- Returns 1 when it stopped at its bound with work left: call `match` again.
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

-- A worker of the caller's just had a slot freed: its next job at once, past the list. false: nothing waits, or it may not.
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

-- Every script that matched ends with this: its own reply, the caller's assignments, `more`, and what it wrote into the events stream,
-- {kind, subject, field, value …} each, if anything.
local function done(reply, more)
  if fence and ENTERED then
    keep_time()
    call('HSET', META, 'fence', int(fence))
  end
  flush()
  return { reply, assigned, more, news[1] and news or nil }
end
