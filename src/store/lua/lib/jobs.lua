-- A job's ways but for being matched. state: scheduled | waiting | running | succeeded | failed | cancelled | expired.
-- What every job's way needs is read at once; the rest when it is asked for.
local rest = { __index = function(j, name)
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

-- Can workers of that family run such a job? Of the legacy protocol: RunJob alone; METHOD: methods; RUNNER and attached: both.
local function runs(family, kind, method)
  if not family or family == 'RUNNER' then return true end
  return kind == '' and (family == 'METHOD' or method == LEGACY_METHOD)
end

local function is_terminal(state)
  return state == 'succeeded' or state == 'failed' or state == 'cancelled' or state == 'expired'
end

-- Tells the replicas where somebody waits for this job. The caller of finish learns it from the reply.
local function tell_waiters(j, but)
  if not j.waiter then return end
  for home in string.gmatch(j.waiter, '[^ ]+') do
    if home ~= but then tell(home, 'done ' .. j.id) end
  end
end

-- At most four replicas are remembered; a fifth learns the end by reading again.
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

-- Has its queue or total deadline passed? Tick looks twice a second; a job that is late is given out no more in between.
local function overdue(j)
  if j.total and NOW >= j.created + tonumber(j.total) then return true end
  return j.queue and j.attempt == 0 and NOW >= math.max(j.from, j.created) + tonumber(j.queue)
end

-- Live jobs that wait for a worker or for their time; and how many entries the queues have, tombstones among them.
-- `tombstones`: how many there are, if the caller has read it.
local function backlog(tombstones)
  local entries = 0
  for p = 0, 3 do entries = entries + call('LLEN', waiting_key(p)) end
  return call('ZCARD', LATER) - (tombstones or tonumber(call('HGET', META, 'tombstones') or 0)) + entries, entries
end

-- Into the queue, at its tail, or at its head when it had its turn already.
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

-- Out of the queue without its turn. A short list loses the entry now, a long one keeps it as a tombstone that the match drops.
local function dequeue(j)
  if j.state == 'scheduled' then
    call('ZREM', LATER, j.id)
  elseif j.state == 'waiting' then
    local list = waiting_key(j.priority)
    if call('LLEN', list) > EXACT_LIST then count('tombstones', 1) else call('LREM', list, 1, j.id) end
  end
end

-- The end of a job. A dead letter keeps its payload, for RetryJob; of the others payload and metadata go now.
-- `accepted`: the fence of the result that ended it.
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
  -- The failure of an attempt before goes when the job goes; a dead letter's is written after this.
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

-- A dead letter. `failure` is the JSON of its last failure.
local function bury_job(j, failure, reason, but)
  local keep = terminal(j, 'failed', but)
  call('SET', job_key(j.id) .. ':error', failure, 'PX', keep)
  event('job.buried', j.id, 'reason', reason, 'attempt', int(j.attempt))
end

-- An attempt is spent and did not succeed: again after the backoff, or buried.
-- `later_ms` ('' for none) is a delay that the worker asked for.
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
    -- Spread by a tenth either way, so that a failed batch does not come back as one; by the fence, so that a test can tell it.
    delay = math.floor(delay * (0.9 + 0.2 * (tonumber(j.fence) % 1000) / 1000))
  end
  if delay <= 0 then enqueue(j, true) else schedule(j, NOW + delay) end
end

local function failure_json(code, reason, message)
  return cjson.encode({ code = code, reason = reason, message = message, retryable = true })
end

-- A lease that never became an attempt: back to the head of its queue, or after a pause.
local function give_back(j, delay)
  j.attempt = math.max(0, j.attempt - 1)
  call('HSET', job_key(j.id), 'attempt', int(j.attempt))
  -- It has not started yet: its queue timeout counts again.
  if j.queue and j.attempt == 0 then
    local due = math.max(j.from, j.created) + tonumber(j.queue)
    if j.total then due = math.min(due, j.created + tonumber(j.total)) end
    call('ZADD', DEADLINES, due, j.id)
  end
  if delay > 0 then schedule(j, NOW + delay) else enqueue(j, true) end
end

-- The same, counted; buried as undeliverable at the bound.
local function handover(j, delay, why)
  j.handovers = j.handovers + 1
  call('HSET', job_key(j.id), 'handovers', int(j.handovers))
  if j.handovers < MAX_HANDOVERS then return give_back(j, delay) end
  j.attempt = math.max(0, j.attempt - 1)
  call('HSET', job_key(j.id), 'attempt', int(j.attempt))
  bury_job(j, failure_json(14, 'undeliverable', 'given out ' .. j.handovers .. ' times and never delivered; the last time: ' .. why), 'undeliverable')
end

-- The lease ends without a result. `spent`: the attempt counts.
local function revoke(j, reason, message, code)
  score(LEASES, j.id, false)
  if j.delivered then
    attempt_failed(j, tostring(code), true, reason, failure_json(code, reason, message), '')
  else
    handover(j, 0, message)
  end
end

-- The lease is taken away while the worker may still run it: the slot stays taken, the home is told to stop it.
-- METHOD workers have no FREE to answer: for them the quarantine has an end of its own, a member of leases that no job id can be.
local function quarantine(j, w)
  call('HSET', held_key(j.worker), j.id, '!' .. j.fence)
  if w.contract == 'METHOD' then score(LEASES, '!' .. j.fence .. ' ' .. j.worker .. ' ' .. j.id, NOW + QUARANTINE_MAX_MS) end
  tell(w.home, 'cancel ' .. j.id .. ' ' .. j.fence .. ' ' .. j.worker)
end

-- A lease is delivered: the worker has it, or may have it. `ran`: ms since it was sent, where the caller knows. The run timeout counts from then.
local function confirm(j, ran)
  if not j.delivered then
    if ran then j.started = math.max(j.started, NOW - ran) end
    call('HSET', job_key(j.id), 'delivered', '1', 'started', int(j.started))
  end
  score(LEASES, j.id, math.min(NOW + LEASE_MS, j.started + j.run))
end

-- The slot is free again.
local function unhold(worker, job, fence)
  call('HDEL', held_key(worker), job)
  score(LEASES, '!' .. fence .. ' ' .. worker .. ' ' .. job, false)
end
