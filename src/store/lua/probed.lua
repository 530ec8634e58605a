-- probed: what a probe of a worker found, by its home, about the leases that it was asked about.
-- @args worker boot link age busy
--   age: ms since the answer; busy: '1' when it said that it takes no job
-- @each what job fence
--   what: 'lost' (delivered by the caller, no call open, and the worker does not have it) | 'idle' (it does not run that fence)
-- @returns {status, state}: ok | stale (another boot, home or link stands there: nothing was written)
-- @use workers jobs bury match
-- Idempotent: leases are named by their fence.
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
return done({ 'ok', w.state }, more)
