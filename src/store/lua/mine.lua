-- mine: the undelivered leases of the caller's workers. Asked after any unknown outcome and after the hints' connection was lost.
-- @args offset limit
-- @returns the next offset, or -1 when all were looked at
-- @use workers jobs match
-- Writes nothing but that the home has the lease. An undelivered lease is due within DELIVERY_MS, so only the young end of `leases` is read.
local due = call('ZRANGEBYSCORE', LEASES, '-inf', NOW + DELIVERY_MS, 'LIMIT', offset, limit)
local homes = {}
for _, id in ipairs(due) do
  if string.sub(id, 1, 1) ~= '!' then
    local j = job_get(id)
    if j.state == 'running' and not j.delivered then
      local w = homes[j.worker] or worker_get(j.worker)
      homes[j.worker] = w
      if w.home == HOME and call('HGET', held_key(j.worker), id) == j.fence then assignment(j, w) end
    end
  end
end
return { #due == tonumber(limit) and tonumber(offset) + #due or -1, assigned, 0 }
