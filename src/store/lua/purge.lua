-- purge: ends the pool's queued jobs in bulk, or forgets its dead letters.
-- @args scope limit who
--   scope: 'queued' | 'buried'; who: the operator, '' for none
-- @returns how many; fewer than limit: that was all
-- @use acts workers jobs match
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
  for _, id in ipairs(call('ZRANGE', P .. 'buried', 0, limit - 1)) do
    n = n + 1
    call('ZREM', P .. 'buried', id)
    local key = job_key(id)
    if call('HGET', key, 'state') == 'failed' then call('UNLINK', key, key .. ':payload', key .. ':metadata', key .. ':error') end
  end
end
if n > 0 then
  event('pool.purged', scope, 'count', n)
  act(who, 'PurgePool', scope, 'count', n)
end
flush()
return n
