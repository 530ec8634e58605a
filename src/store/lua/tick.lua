-- tick: what is due by the clock. Any replica may call it; one does at a time.
-- @args limit finished_kept buried_kept
--   limit: how many of each sort a call handles
-- @returns the homes that are dead (their workers need new ones), or 'gone': there is no such pool any more, take it off the list
-- @use workers jobs bury pools match
-- O(1) when nothing is due. Idempotent: what is due is handled once, by its state.
if not ENTERED then return done('gone', 0) end
-- A pool that had nothing in it for a while goes. Before anything of it is dropped below: what ended since the last tick was something.
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
  -- The first tick of a pool: since its homes spoke, nobody looked, and they may have spoken before the clock stepped back.
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
  -- Nobody ticked: homes and workers get time to speak before anything of theirs expires.
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

-- A home that is well speaks more than twice in that time.
local function heard(home)
  return NOW - tonumber(call('ZSCORE', P .. 'homes', home) or 0) < HOME_TTL_MS / 2
end

-- Leases before deadlines: a job handed back after its queue timeout ends now, and is not given out once more.
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
          -- Its home fell silent before it could confirm, or its stream broke: whoever gets the worker next asks for this lease, and the worker
          -- knows whether it runs.
          score(LEASES, member, NOW + HOME_TTL_MS / 2)
        else
          call('HDEL', held_key(j.worker), member)
          tell(w.home, 'cancel ' .. member .. ' ' .. j.fence .. ' ' .. j.worker)
          -- No home has had this lease, for its hint was lost: no worker was tried, and that does not count against the job.
          if j.hinted then give_back(j, 0) else handover(j, 0, 'not delivered in time') end
          if w.state then settle_or_leave(w) end
        end
      elseif not j.state then
        -- The job's hash is gone although it was leased: by hand, or with lost data. Nothing holds the slot then.
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
    -- A worker that was leaving, or whose stream is gone, and its time is up.
    local w = worker_get(string.sub(id, 2))
    local why = w.leaving and 'drain_timeout' or (w.contract == 'ATTACHED' and w.state == 'suspect' and 'detached')
    if why and w.state ~= 'dead' then
      -- In the grace nobody dies.
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
        -- The queue deadline no longer counts once it has run.
        call('ZADD', DEADLINES, j.created + tonumber(j.total), id)
      end
    end
  end
end

-- What is kept for a while only, oldest first: no more of it in a call than a short script can take, and the next call goes on at once.
local forgotten = call('ZRANGEBYSCORE', P .. 'dead', '-inf', NOW - FORGET_MS, 'LIMIT', 0, limit)
forget_workers(forgotten)

flush()
-- Answers with so many of the oldest that are over `kept`, and whether there are more.
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
return done(dead, (more == 1 or more_later or more_deadlines or more_leases or more_dead or more_finished or more_buried or full) and 1 or 0)
