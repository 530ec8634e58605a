-- submit: takes jobs into the pool, and matches.
-- @args max_waiting family
--   family: 'RUNNER' when a pool without any family is to become one for jobs that name a kind, else ''
-- @each id digest kind method priority start run keep queue total retry fatal waiter payload metadata
--   kind, method: one of them, the other ''; start: ms since 1970 before which it may not start, '0' for none; run, keep: ms; queue, total: ms, '' for none
--   retry: 'max initial_ms ceiling_ms multiplier'; fatal: codes with commas, '' for none; waiter: '1' when the caller waits for it
--   payload: bytes; metadata: JSON, '' for none
-- @returns {now, statuses}: Redis' time in ms, and for each: created | exists <state> | conflict | full | family <family>
-- @flags deny-oom
-- @use workers jobs match
-- Idempotent by job id and digest: what exists with the same digest is answered with its state, and once more with its assignment
-- if that is undelivered and the caller is its home.
if not ENTERED then return redis.error_reply('NOPOOL the pool does not exist: enter it first') end
local reply = {}
local existing, refused, new = {}, {}, 0
local settled, tombstones = pool_state()
local waiting_now, entries = backlog(tombstones)
-- Tombstones count for nothing in the backlog, but the lists that hold them are bounded too.
local room = math.min(tonumber(max_waiting) - waiting_now, 2 * tonumber(max_waiting) - entries)

-- Every item is judged before the first write.
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

-- Nothing waits before these, they are of one priority, and none was there before: then each goes straight to the worker that it would be matched with, as long as
-- there is one. It saves the way through the list, half of what a submission costs.
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
      -- Whether METHOD or RUNNER, the first worker says. It is no LEGACY one.
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
    -- A time that the caller named is one of Redis' clock: what waits is how far ahead it is.
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
      -- It never waits: no queue deadline.
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
-- All that came went straight to workers, and nothing waited before.
local more = (straight and entries == 0) and 0 or match()
return done({ NOW_TEXT, reply }, more)
