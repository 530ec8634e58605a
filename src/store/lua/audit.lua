-- audit: looks for broken invariants of named subjects. Every transition is one script, so what is broken within one call is broken.
-- @args -
-- @each what id other deep
--   what: 'worker' | 'job' | 'held' (the lease that worker `id` has of job `other`) | 'pool' (id, other: '') |
--     'live' (all that the indexes name, in this one moment, if that is no more than `id`; other: '')
--   deep: '1' to search a long list for this one, which costs its length; short ones are always searched
-- @returns {findings, unsure, doubts}: findings: {invariant, subject, what is wrong} each; unsure: {what, id, listed} of those that stand
--   in no short list: is there an entry as `listed` says? 'live' is there when it was too much, and nothing of it was looked at.
--   doubts: {invariant, subject, mark, since, what}: wrong if it stays so
-- @flags read-only
-- @use workers jobs
local findings, unsure, doubts = {}, {}, {}
local function finding(invariant, subject, what) findings[#findings + 1] = { invariant, subject, what } end
local function holds(condition, invariant, subject, what)
  if not condition then finding(invariant, subject, what) end
end

-- How often each id stands in a list: read once a call, and only while the list is short. nil: it is long.
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

-- How often `id` stands there, two for more; nil when it would cost too much to know.
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
  -- What was given since it was too much at last is broken (`may_exceed`).
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
    -- The others say themselves that they have stopped.
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

-- What ends when the job ends, or is kept as long as it.
local function audit_terminal(j, subject, finished)
  local key = job_key(j.id)
  holds(finished, 'I6', subject, 'is ' .. j.state .. ', and has no time of its end')
  if call('PTTL', key) == -1 then finding('L1', subject, 'is ' .. j.state .. ' and is never forgotten') end
  for part, name in pairs({ payload = key .. ':payload', metadata = key .. ':metadata', result = key .. ':result', error = key .. ':error',
    progress = key .. ':progress' }) do
    if call('PTTL', name) == -1 then finding('L1', subject, 'is ' .. j.state .. ' and its ' .. part .. ' is never forgotten') end
  end
  if j.state == 'succeeded' then holds(call('EXISTS', key .. ':result') == 1, 'I5', subject, 'succeeded, and its result is gone') end
  -- A job may ask to be kept longer than the list of dead letters is.
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

-- The first that may be taken, among so few that one `match` reaches them.
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
    -- A tick ends in a match: when one has passed, and the same two still stand there, nobody will take them.
    doubts[#doubts + 1] = { 'I9', 'job ' .. job, 'idle ' .. worker, ticked, 'waits while worker ' .. worker .. ' is free' }
  end
end

-- A key of another type makes the scripts fail, this one too. That is the finding.
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

-- All that is under way. What has ended stands in no index that is read here; a live job that stands in none is not found here.
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
return { findings, unsure, doubts }
