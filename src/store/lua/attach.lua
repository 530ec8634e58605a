-- attach: a worker has opened a stream to the caller, which is its home from now on.
-- @args id boot region slots labels kinds version by
--   labels, kinds: JSON, '' for none; by: whose word this is (see `foreign`), and whose the worker is from now on
-- @each job fence finished
--   what the worker says that it holds; finished: '1' when only its result is outstanding
-- @returns {status, link, state, kept, abandon}: ok | superseded | exists <home> | family <family> | foreign (another identity's)
--   kept, abandon: {job, fence} each: leases that go on; attempts that the worker must stop
-- @use workers owners jobs bury match
-- Takes no lock: the link epoch decides. Held and leased: goes on, delivered. Held, not leased and not accepted: abandoned, its slot quarantined until the
-- worker has stopped it. Leased, not held: in the reply once more, same fence. It was written to a stream that this Hello overtook, or that broke.
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
  -- Two lives under one id: the one whose stream is open stays.
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
  -- Its result may have come over the stream before, since this Hello was made.
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
return done({ 'ok', w.link, w.state, kept, abandon }, more)
