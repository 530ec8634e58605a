-- tick: what is due by the clock. Any replica may call it; one does at a time.
-- @args limit finished_kept buried_kept
--   limit: how many of each sort a call handles
-- @returns {homes}: the homes that are dead (their workers need new ones)
-- @use workers jobs bury match
-- O(1) when nothing is due. Idempotent: what is due is handled once, by its state.
local last = tonumber(call('HGET', META, 'ticked') or 0)
-- The first tick of a pool: since its homes spoke, nobody looked.
if last == 0 then last = tonumber(call('ZRANGEBYSCORE', P .. 'homes', '(0', '+inf', 'WITHSCORES', 'LIMIT', 0, 1)[2] or 0) end
call('HSET', META, 'ticked', NOW_TEXT)
local grace = tonumber(call('HGET', META, 'grace') or 0)

-- Members of leases that are due later than anything written now could be: time ran back, perhaps between two ticks and unseen by `ticked`.
local function far(...)
  local found = {}
  local ahead = call('ZRANGEBYSCORE', LEASES, '(' .. int(NOW + LEASE_MS), '+inf', 'WITHSCORES', ...)
  for i = 1, #ahead, 2 do
    local most = NOW + (string.sub(ahead[i], 1, 1) == '!' and QUARANTINE_MAX_MS or LEASE_MS)
    if tonumber(ahead[i + 1]) > most then found[ahead[i]] = most end
  end
  return found
end

local early = call('ZRANGEBYSCORE', P .. 'homes', '(' .. NOW_TEXT, '+inf')
if next(far('LIMIT', 0, limit)) or #early > 0 or (last > 0 and (NOW - last > TICK_STALE_MS or NOW < last)) then
  -- Nobody ticked, or time ran back: homes and workers get time to speak before anything of theirs expires.
  grace = NOW + OUTAGE_GRACE_MS
  call('HSET', META, 'grace', int(grace))
  for member, most in pairs(far()) do call('ZADD', LEASES, most, member) end
  for _, home in ipairs(early) do call('ZADD', P .. 'homes', NOW, home) end
  for _, worker in ipairs(call('ZRANGEBYSCORE', P .. 'workers', '(' .. NOW_TEXT, '+inf')) do call('ZADD', P .. 'workers', NOW, worker) end
  event('pool.grace', '', 'gap', int(NOW - last))
elseif grace > NOW + OUTAGE_GRACE_MS then
  grace = NOW + OUTAGE_GRACE_MS
  call('HSET', META, 'grace', int(grace))
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

for _, id in ipairs((due(P .. 'dead'))) do
  local died = tonumber(call('ZSCORE', P .. 'dead', id))
  if NOW - died >= FORGET_MS then
    call('ZREM', P .. 'dead', id)
    local key = worker_key(id)
    if call('HGET', key, 'listed') == '1' then call('LREM', FREE, 0, id) end
    call('UNLINK', key, key .. ':labels', key .. ':kinds')
  else
    break
  end
end

flush()
local function trim(key, kept)
  local over = call('ZCARD', key) - tonumber(kept)
  if over > 0 then return call('ZRANGE', key, 0, math.min(over, 1000) - 1) end
  return {}
end
local finished = trim(P .. 'finished', finished_kept)
if #finished > 0 then call('ZREMRANGEBYRANK', P .. 'finished', 0, #finished - 1) end
for _, id in ipairs(trim(P .. 'buried', buried_kept)) do
  call('ZREM', P .. 'buried', id)
  local key = job_key(id)
  -- Its id may be that of a new job by now.
  if call('HGET', key, 'state') == 'failed' then call('UNLINK', key, key .. ':payload', key .. ':metadata', key .. ':error') end
end
call('ZREMRANGEBYSCORE', P .. 'buried', '-inf', '(' .. int(NOW - BURIED_RETENTION_MS))

local dead = {}
if NOW >= grace then dead = call('ZRANGEBYSCORE', P .. 'homes', '-inf', NOW - HOME_TTL_MS, 'LIMIT', 0, 100) end
local more = match()
return done(dead, (more == 1 or more_later or more_deadlines or more_leases) and 1 or 0)
