-- A worker dies: what it held goes to others, its address is free, it is forgotten after FORGET_MS.
-- `sent`: its link was well, so that what it was given counts as delivered, confirmed or not: it may run there.
local function revoke_all(w, reason, message, sent)
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
  -- What can be long goes with the life that said it. The rest is a few hundred bytes, and DEAD_KEPT of them at most.
  call('UNLINK', worker_key(w.id) .. ':labels', worker_key(w.id) .. ':kinds')
  if w.address and call('HGET', ADDRESSES, w.address) == w.id then call('HDEL', ADDRESSES, w.address) end
  event('worker.dead', w.id, 'reason', reason)
end

-- After a lease ended: a worker that is leaving goes with its last one.
local function settle_or_leave(w)
  if w.leaving and w.state ~= 'dead' and call('HLEN', held_key(w.id)) == 0 then return bury_worker(w, 'deregistered') end
  settle(w)
end
