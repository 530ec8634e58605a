-- purge: ends the pool's queued jobs in bulk, or forgets its dead letters.
-- @args scope limit who
--   scope: 'queued' | 'buried'; who: the operator, '' for none
-- @returns how many; fewer than limit: that was all
-- @use acts workers jobs pools match
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
  local ids = call('ZRANGE', P .. 'buried', 0, limit - 1)
  n = #ids
  forget_buried(ids)
end
if n > 0 then
  event('pool.purged', scope, 'count', n)
  act(who, 'PurgePool', scope, 'count', n)
end
flush()
return n
